#!/bin/sh
# Installs a release build as packages have it: command, manual, completions, service, C library, Python package. Runs the
# command.
#
# usage: install-tree.sh DESTDIR
# environment: PREFIX     /usr by default
#              LIBDIR     $PREFIX/lib by default
#              PYTHONDIR  where Python finds packages; by default the Python package is left out
#              BUILD      the directory of the release build; target/release by default
set -eu
cd "$(dirname "$0")/.."

[ $# = 1 ] || { echo 'usage: install-tree.sh DESTDIR' >&2; exit 1; }
prefix=${PREFIX:-/usr}
libdir=${LIBDIR:-$prefix/lib}
build=${BUILD:-${CARGO_TARGET_DIR:-target}/release}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
to=$1$prefix

# put MODE FILE PATH
put() { install -D -p -m "$1" "$2" "$3"; }

put 755 "$build/capscache" "$to/bin/capscache"
install -d "$to/share/man/man1"
"$build/capscache" man --dir "$to/share/man/man1"
for completions in bash:bash-completion/completions/capscache zsh:zsh/site-functions/_capscache \
    fish:fish/vendor_completions.d/capscache.fish; do
    file=$to/share/${completions#*:}
    install -d "${file%/*}"
    "$build/capscache" completions "${completions%%:*}" >"$file"
done

for unit in dist/systemd/capscache.*; do put 644 "$unit" "$to/lib/systemd/system/${unit##*/}"; done
for daemon in libvirtd virtqemud; do
    unit=$daemon.service.d/capscache.conf
    put 644 "dist/systemd/$unit" "$to/share/doc/capscache/examples/$unit"
done
put 644 dist/sysusers.d/capscache.conf "$to/lib/sysusers.d/capscache.conf"
put 644 dist/tmpfiles.d/capscache.conf "$to/lib/tmpfiles.d/capscache.conf"

# The name of the ABI is in the file itself: bindings/c/build.rs.
soname=libcapscache.so.0
put 644 "$build/libcapscache_c.so" "$1$libdir/libcapscache.so.$version"
ln -sf "libcapscache.so.$version" "$1$libdir/$soname"
ln -sf "$soname" "$1$libdir/libcapscache.so"
put 644 bindings/c/include/capscache.h "$to/include/capscache.h"
install -d "$1$libdir/pkgconfig"
sed "s|@PREFIX@|$prefix|; s|@LIBDIR@|$libdir|; s|@VERSION@|$version|" dist/pkgconfig/capscache.pc.in \
    >"$1$libdir/pkgconfig/capscache.pc"

[ -n "${PYTHONDIR:-}" ] || exit 0
# The files of the wheel. Of its metadata, those that name the release: the list of files is the package manager's.
for file in bindings/python/python/capscache/*.py bindings/python/python/capscache/*.pyi \
    bindings/python/python/capscache/py.typed; do
    put 644 "$file" "$1$PYTHONDIR/capscache/${file##*/}"
done
put 644 "$build/libcapscache_python.so" "$1$PYTHONDIR/capscache/_native.abi3.so"
project() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" bindings/python/pyproject.toml; }
install -d "$1$PYTHONDIR/capscache-$version.dist-info"
cat >"$1$PYTHONDIR/capscache-$version.dist-info/METADATA" <<EOF
Metadata-Version: 2.4
Name: $(project name)
Version: $version
Summary: $(project description)
License-Expression: $(project license)
Requires-Python: $(project requires-python)
EOF
