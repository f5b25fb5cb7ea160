#!/bin/sh
# Packages what is to be published, and builds each package from its archive alone: no file outside of it is needed.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

tree=$("$cargo" tree --workspace --exclude capscache-bench --exclude capscache-test-support --depth 0 --locked --prefix none --format '{p}')
failed=0
for package in $(printf '%s\n' "$tree" | sed -n 's/ .*//p'); do
    files=$("$cargo" package --list --locked --allow-dirty --package "$package")
    for file in Cargo.lock LICENSE-APACHE LICENSE-MIT README.md; do
        printf '%s\n' "$files" | grep -qxF -e "$file" || {
            echo "check-packages: $package lacks $file" >&2
            failed=1
        }
    done
done
[ "$failed" = 0 ] || exit 1

# A change is packaged before it is committed, hence --allow-dirty.
set -- package --workspace --exclude capscache-bench --exclude capscache-test-support --locked --allow-dirty
"$cargo" "$@"
