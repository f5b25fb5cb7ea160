#!/bin/sh
# Checks the language of comments, messages and documents for habits that `_typos.toml` cannot express.
#
# usage: check-language.sh [PATH…]      files and folders to check; the whole repository by default
set -eu
cd "$(dirname "$0")/.."

# Paths that are not rewritten yet. It is to become empty.
SKIP="bench cli/src dist libvirt/src libvirt/tests probe/src watcher/src"

all=
[ $# -gt 0 ] || all=yes
found=$(mktemp)
trap 'rm -f "$found"' EXIT

# files PATH…: the text files among them. This script and the list of words name what they forbid.
files() {
    git ls-files -- "$@" | grep -E '\.(rs|md|sh|awk|toml|yml|varlink|service|socket|conf)$|(^|/)(Makefile|run)$' |
        grep -vxF -e scripts/check-language.sh -e _typos.toml
}

check() { awk -f scripts/language.awk "$@" </dev/null; }

# shellcheck disable=SC2046,SC2086 # lists of words
if [ -n "$all" ]; then
    for path in $SKIP; do
        [ -e "$path" ] || { echo "check-language: $path is to be skipped and does not exist" >&2; exit 1; }
        check $(files "$path") >"$found"
        echo "SKIPPED: check-language: $path: $(wc -l <"$found") lines to rewrite"
    done
    exclude=
    for path in $SKIP; do exclude="$exclude :!$path"; done
    set -- . $exclude
fi
# shellcheck disable=SC2046
check $(files "$@") >"$found"
[ ! -s "$found" ] || { cat "$found" >&2; exit 1; }
