#!/bin/sh
# Prints which modules of a crate import which of their siblings, and fails where such imports form a cycle.
# Code of tests does not count, nor do a module and its own submodules.
#
# usage: check-modules.sh [FOLDER…]      the crates to check; all of the workspace by default
set -eu
cd "$(dirname "$0")/.."

crates() {
    tree=$("${CARGO:-cargo}" tree --workspace --depth 0 --locked --prefix none --format '{p}')
    printf '%s\n' "$tree" | sed -n "s|.*($PWD\(.*\)).*|.\1|p" | sed 's|^\./||' | sort -u
}

# Binaries in src/bin are crates of their own.
modules() {
    find "$1/src" -name '*.rs' -not -path '*/src/bin/*' | LC_ALL=C sort | xargs awk -f scripts/modules.awk
}

# shellcheck disable=SC2046 # a list of words
[ $# -gt 0 ] || set -- $(crates)
[ $# -gt 0 ] || { echo 'check-modules: no crate found' >&2; exit 1; }

failed=0
for crate; do
    [ -d "$crate/src" ] || { echo "check-modules: $crate is not a crate" >&2; exit 1; }
    modules "$crate" || failed=1
done
exit "$failed"
