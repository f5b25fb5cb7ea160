#!/bin/sh
# Runs the tests of the format and of the reading library as programs of other hosts, under QEMU's user emulation, and has each
# host read the entries of this one and this one those of each host.
#
# usage: test-hosts.sh [TARGET…]      all by default; a target that cannot be built or run here is skipped
#
# CAPSCACHE names the command that writes the entries of this host; it is built otherwise.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
# Tests of many cases try fewer of them.
export CAPSCACHE_EMULATED=1

# target, prefix of Debian's cross compiler, emulator: what differs between hosts is byte order, word size, the C library.
hosts='
s390x-unknown-linux-gnu        s390x-linux-gnu        qemu-s390x
armv7-unknown-linux-gnueabihf  arm-linux-gnueabihf    qemu-arm
powerpc-unknown-linux-gnu      powerpc-linux-gnu      qemu-ppc
aarch64-unknown-linux-gnu      aarch64-linux-gnu      qemu-aarch64
x86_64-unknown-linux-musl      -                      -
'

skipped() { printf 'SKIPPED: %s\n' "$*"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/cache" "$work/copies"

# Real entries, those of this host. The root is of this user, whatever TMPDIR is.
chmod 700 "$work/cache"
if [ -n "${CAPSCACHE:-}" ]; then
    "$CAPSCACHE" --root "$work/cache" warm --all >&2
else
    "$cargo" run --quiet --locked --package capscache-cli -- --root "$work/cache" warm --all >&2
fi
entries=$(find "$work/cache" -name '*.caps' | paste -sd:)
if [ -n "$entries" ]; then
    export CAPSCACHE_ENTRIES="$entries" CAPSCACHE_COPIES="$work/copies"
else
    skipped 'no emulator was probed: only the golden files are read on other hosts'
fi

# `set -e` has no effect where the result of a function is used, hence the `||`.
test_host() {
    printf 'test-hosts: %s\n' "$1"
    rm -f "$work"/copies/*
    "$cargo" test --locked --target "$1" \
        --package capscache-format --package capscache --no-default-features \
        --lib --test format --test specification || return
    for copy in "$work"/copies/*; do
        [ -e "$copy" ] || continue
        cmp "$copy" "$(find "$work/cache" -name "${copy##*/}")" || return
    done
    # The library: directory, permissions, map, and the inputs of each entry.
    "$cargo" run --quiet --locked --target "$1" --package capscache --no-default-features --example image -- \
        "$work/cache" >"$work/read" || return
    printf 'test-hosts: %s: %s entries written alike, %s read\n' "$1" "$(ls "$work/copies" | wc -l)" "$(grep -c QEMU "$work/read")"
}

wanted=${*:-}
status=0
ran=0
while read -r host prefix emulator; do
    [ -n "$host" ] || continue
    case " ${wanted:-$host} " in *" $host "*) ;; *) continue ;; esac
    if [ "$prefix" != - ]; then
        command -v "$prefix-gcc" >/dev/null || { skipped "$host: no $prefix-gcc"; continue; }
        command -v "$emulator" >/dev/null || { skipped "$host: no $emulator"; continue; }
        variable=CARGO_TARGET_$(printf '%s' "$host" | tr 'a-z-' 'A-Z_')
        export "${variable}_LINKER=$prefix-gcc" "${variable}_RUNNER=$emulator -L /usr/$prefix"
    fi
    scripts/install-deps.sh "target:$host" || { skipped "$host: no standard library of Rust for it"; continue; }
    ran=$((ran + 1))
    test_host "$host" </dev/null || { status=1; echo "test-hosts: $host: failed" >&2; }
done <<EOF
$hosts
EOF
[ "$ran" != 0 ] || skipped 'no other host was tested'
exit $status
