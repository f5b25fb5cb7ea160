#!/bin/sh
# Builds the command as one static program, with musl, for hosts whose C library is older than this one's or another; has it
# probe an emulator of this host and answer.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$(uname -m)-unknown-linux-musl
if ! scripts/install-deps.sh "target:$target"; then
    echo "SKIPPED: no standard library of Rust for $target: no static command is built"
    exit 0
fi
"$cargo" build --release --locked --package capscache-cli --target "$target"
capscache=${CARGO_TARGET_DIR:-target}/$target/release/capscache

if readelf -ldW "$capscache" | grep -E 'INTERP|NEEDED'; then
    echo "static: $capscache is not static" >&2
    exit 1
fi

# The emulator of this machine's own processor; where it is not there, any other.
for emulator in "qemu-system-$(uname -m)" /usr/bin/qemu-system-* /usr/libexec/qemu-kvm; do
    if emulator=$(command -v "$emulator"); then break; fi
done
if [ -n "$emulator" ]; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    "$capscache" --root "$root" warm "$emulator"
    "$capscache" --root "$root" query "$emulator" 'version:>=1.0'
    "$capscache" --root "$root" status "$emulator"
    # It fails if this host has a problem, too: its report is what is to be seen.
    "$capscache" --root "$root" doctor || [ $? = 1 ]
else
    echo 'SKIPPED: no emulator is here for the static command to probe'
fi
ls -l "$capscache"
