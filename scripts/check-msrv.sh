#!/bin/sh
# Checks that packages build with the rust-version of their manifests, with those toolchains that are here or can be installed.
set -eu
cd "$(dirname "$0")/.."

# in_section NAME FILE: the rust-version in a section of a manifest.
in_section() { sed -n "/^\[$1\]/,/^\[/s/^rust-version = \"\(.*\)\"/\1/p" "$2"; }

# check FOLDER ARGUMENT…: builds for the rust-version of the package in the folder.
check() {
    version=$(in_section package "$1/Cargo.toml")
    version=${version:-$(in_section workspace.package Cargo.toml)}
    shift
    if ! rustup run "$version" cargo --version >/dev/null 2>&1 &&
        ! rustup toolchain install "$version" --profile minimal >&2; then
        echo "SKIPPED: check-msrv: no toolchain $version: not checked: $*"
        return
    fi
    echo "check-msrv: $version: $*"
    rustup run "$version" cargo check --locked --target-dir "${CARGO_TARGET_DIR:-target}/msrv" "$@"
}

command -v rustup >/dev/null || {
    echo 'SKIPPED: check-msrv: no rustup: no package is built with its rust-version'
    exit 0
}
check cache-format --package capscache-format
check . --package capscache --no-default-features
check cli --workspace --exclude capscache-bench
