#!/bin/sh
# Packages what is to be published, and checks each package from its archive alone: no file outside of it is needed.
# `cargo package` could build them itself, but keeps the sources of an archive by name and version: a second run with
# the same version would build against the libraries of the first.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-$PWD/target}

# name_of FOLDER: the name in the manifest of a package.
name_of() { sed -n '/^\[package\]/,/^\[/s/^name = "\(.*\)"/\1/p' "$1/Cargo.toml"; }

# A change is packaged before it is committed, hence --allow-dirty.
rm -rf "$target/package"
"$cargo" package --workspace --exclude capscache-bench --exclude capscache-test-support --no-verify --locked --allow-dirty \
    --target-dir "$target"

# The archives become members of a workspace: its lock file and profiles are those of the repository, so that
# dependencies that were checked before are not checked again.
archives=$target/package/archives
mkdir "$archives"
for archive in "$target"/package/*.crate; do
    # With the time of now (-m): all files of an archive have one old time stamp, and cargo goes by those.
    tar -xmf "$archive" -C "$archives"
done
cp Cargo.lock "$archives"
{
    printf '[workspace]\nmembers = ["*"]\nresolver = "3"\n\n[patch.crates-io]\n'
    for folder in "$archives"/*/; do
        printf '%s = { path = "%s" }\n' "$(name_of "$folder")" "$(basename "$folder")"
    done
    printf '\n'
    sed -n '/^\[profile\./,$p' Cargo.toml
} >"$archives/Cargo.toml"

failed=0
for folder in "$archives"/*/; do
    package=$(name_of "$folder")
    for file in Cargo.lock LICENSE-APACHE LICENSE-MIT README.md; do
        [ -f "$folder/$file" ] || {
            echo "check-packages: $package lacks $file" >&2
            failed=1
        }
    done
    echo "check-packages: $package"
    "$cargo" check --quiet --manifest-path "$archives/Cargo.toml" --package "$package" --target-dir "$target" || failed=1
done
exit $failed
