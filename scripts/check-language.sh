#!/bin/sh
# Checks the language of comments, messages and documents for habits that `_typos.toml` cannot express.
#
# usage: check-language.sh [PATH…]      files and folders to check; the whole repository by default
set -eu
cd "$(dirname "$0")/.."

found=$(mktemp)
trap 'rm -f "$found"' EXIT

# files PATH…: the text files among them. This script and the list of words name what they forbid.
files() {
    git ls-files -- "$@" | grep -E '\.(rs|go|md|py|pyi|sh|awk|toml|yml|varlink|service|socket|conf)$|(^|/)(Makefile|run)$' |
        grep -vxF -e scripts/check-language.sh -e _typos.toml
}

check() { awk -f scripts/language.awk "$@" </dev/null; }

[ $# -gt 0 ] || set -- .
# shellcheck disable=SC2046
check $(files "$@") >"$found"
[ ! -s "$found" ] || { cat "$found" >&2; exit 1; }
