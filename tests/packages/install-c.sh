#!/bin/sh
# Builds the example in C with what `make install-c` installed: with the shared library, with the archive, and as a static
# program; all three give the same answers about an emulator of this host.
#
# usage: install-c.sh DESTDIR      installed with the prefix /usr
set -eu

[ $# = 1 ] || { echo 'usage: install-c.sh DESTDIR' >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
installed=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

found=$(find "$installed" -name capscache.pc)
export PKG_CONFIG_PATH="${found%/*}" PKG_CONFIG_SYSROOT_DIR="$installed"
libraries=${found%/pkgconfig/*}

# The emulator of this machine's own processor; where it is not there, any other.
for emulator in "qemu-system-$(uname -m)" /usr/bin/qemu-system-* /usr/libexec/qemu-kvm; do
    if emulator=$(command -v "$emulator"); then break; fi
done
[ -n "$emulator" ] || echo 'SKIPPED: no emulator is here: the programs are built only'

# program NAME ARGUMENT…: builds the example with these arguments of the compiler, and runs it with a cache of its own.
program() {
    name=$1
    shift
    ${CC:-cc} "$here/../../bindings/c/examples/appliance.c" "$@" -o "$work/$name"
    [ -n "$emulator" ] || return 0
    LD_LIBRARY_PATH=$libraries "$work/$name" "$work/cache-$name" "$emulator" >"$work/$name.answers"
    cmp "$work/shared.answers" "$work/$name.answers"
    echo "$name: $(wc -l <"$work/$name.answers") answers"
}

linked() { readelf -dW "$work/$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# shellcheck disable=SC2046 # lists of words, as bindings/c/README.md describes them
{
    program shared $(pkg-config --cflags --libs capscache)
    program archive $(pkg-config --cflags --static --libs capscache | sed 's/-lcapscache/-l:libcapscache.a/')
    program static -static $(pkg-config --cflags --static --libs capscache | sed 's/-lgcc_s/-lgcc_eh/')
}
linked shared | grep -qx 'libcapscache\.so\.0' || { echo 'install-c: the program does not need libcapscache.so.0' >&2; exit 1; }
! linked archive | grep capscache || { echo 'install-c: the program with the archive needs the shared library' >&2; exit 1; }
[ -z "$(linked static)" ] || { echo 'install-c: the static program needs libraries' >&2; exit 1; }
