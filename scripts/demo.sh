#!/bin/sh
# Builds the command and shows what it does, on the emulators of this machine and under a root that is removed again.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
${CARGO:-cargo} build --release --locked --target-dir "$target"
case $target in
    /*) ;;
    *) target=$PWD/$target ;;
esac
PATH=$target/release:$PATH

root=$(mktemp -d "${TMPDIR:-/tmp}/capscache-demo.XXXXXX")
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

failed=0
# show CODES ARGUMENT…: prints the command, runs it, and notes an exit code that is not among CODES.
show() {
    expected=$1
    shift
    printf '\n$ capscache'
    printf ' %s' "$@"
    printf '\n'
    code=0
    capscache "$@" || code=$?
    case " $expected " in
        *" $code "*) ;;
        *)
            printf 'demo: exit code %s\n' "$code" >&2
            failed=1
            ;;
    esac
}

# The emulator of this machine's own processor; where it is not there, any other.
for emulator in "qemu-system-$(uname -m)" qemu-kvm /usr/libexec/qemu-kvm \
    /usr/bin/qemu-system-* /usr/local/bin/qemu-system-*; do
    if emulator=$(command -v "$emulator"); then break; fi
done

export CAPSCACHE_ROOT="$root"
printf '\n$ export CAPSCACHE_ROOT=%s\n' "$root"
show 0 warm --all
show 0 list
show 0 inspect "$emulator"
# A query exits with 1 for "no" and with 3 for "unknown": answers like any other.
show '0 1 3' query "$emulator" machine:q35 machine:virt cpu-model:EPYC cpu-model:cortex-a57 cpu:max
show '0 1 3' query "$emulator" device:virtio-blk-pci property:virtio-blk-pci.queue-size option:spice
show '0 1 3' query "$emulator" command:blockdev-add 'schema:blockdev-add/arg-type/+file/aio/^io_uring'
show 0 status "$emulator"
exit "$failed"
