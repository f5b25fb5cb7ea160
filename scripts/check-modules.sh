#!/bin/sh
# Prints which modules of a crate import which of their siblings, and fails where such imports make a circle.
# Code of tests does not count, nor do a module and its own submodules.
#
# usage: check-modules.sh [FOLDER…]      the crates to check; all of the workspace by default
set -eu
cd "$(dirname "$0")/.."

# Crates that still have circles. It is to become empty.
SKIP=

crates() {
    tree=$("${CARGO:-cargo}" tree --workspace --depth 0 --locked --prefix none --format '{p}')
    printf '%s\n' "$tree" | sed -n "s|.*($PWD\(.*\)).*|.\1|p" | sed 's|^\./||' | sort -u
}

# Binaries in src/bin are crates of their own.
modules() {
    find "$1/src" -name '*.rs' -not -path '*/src/bin/*' | LC_ALL=C sort | xargs awk -f scripts/modules.awk
}

# shellcheck disable=SC2046 # a list of words
if [ $# -gt 0 ]; then SKIP=; else set -- $(crates); fi
[ $# -gt 0 ] || { echo 'check-modules: no crate found' >&2; exit 1; }

failed=0
for crate; do
    [ -d "$crate/src" ] || { echo "check-modules: $crate is not a crate" >&2; exit 1; }
    case " $SKIP " in
        *" $crate "*)
            if circles=$(modules "$crate" 2>&1 >/dev/null); then circles="$crate: no circle any more: take it off the list"; fi
            printf '%s\n' "$circles" | sed 's|^|SKIPPED: check-modules: |'
            ;;
        *) modules "$crate" || failed=1 ;;
    esac
done
exit "$failed"
