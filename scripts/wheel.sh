#!/bin/sh
# Builds the wheel of the Python package with maturin, which is installed in a virtual environment: target/python.
#
# usage: wheel.sh PROFILE FOLDER      fails with status 3 if the tools cannot be had
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
environment=$target/python

missing() {
    echo "wheel: $*" >&2
    exit 3
}

command -v python3 >/dev/null || missing 'no python3'
# One of another python3 may remain from an earlier run.
if ! "$environment/bin/python" -c '' 2>/dev/null; then
    rm -rf "$environment"
    python3 -m venv "$environment" || missing 'python3 has no venv'
fi
"$environment/bin/maturin" --version >/dev/null 2>&1 ||
    "$environment/bin/pip" --quiet --disable-pip-version-check install 'maturin>=1.9,<2' ||
    missing 'maturin cannot be installed: is PyPI reachable?'
CARGO=${CARGO:-cargo} "$environment/bin/maturin" build --locked --profile "$1" --interpreter "$environment/bin/python" \
    --manifest-path bindings/python/Cargo.toml --target-dir "$target" --out "$2" >&2
