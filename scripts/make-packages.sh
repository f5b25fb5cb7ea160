#!/bin/sh
# Builds the packages of Debian from this directory into target/packages, and checks them with lintian; builds the RPM packages
# into target/rpm, where rpm is installed, as a check of their description: they have the paths of this host's rpm.
#
# environment: CARGO, CARGO_TARGET_DIR, CARGO_HOME, RUSTUP_HOME
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
rm -rf "$target/packages"
mkdir "$target/packages"
export CARGO_TARGET_DIR="$target" PACKAGES_DIR="$target/packages"
# debhelper sets another home directory.
export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"

# Not -D: cargo and rustc need not be Debian's. The others are checked.
for program in dh:debhelper dh_python3:dh-python; do
    command -v "${program%:*}" >/dev/null || { echo "make-packages: no ${program%:*}: apt-get install ${program#*:}" >&2; exit 1; }
done
dpkg-buildpackage --build=binary --unsigned-changes --unsigned-buildinfo --no-check-builddeps \
    --buildinfo-file="$PACKAGES_DIR/capscache.buildinfo" --buildinfo-option="-u$PACKAGES_DIR" \
    --changes-file="$PACKAGES_DIR/capscache.changes" --changes-option="-u$PACKAGES_DIR"
debian/rules clean

if command -v lintian >/dev/null; then
    # Run as root it warns that it is.
    lintian --fail-on error,warning --allow-root --show-overrides "$PACKAGES_DIR/capscache.changes"
else
    echo 'SKIPPED: no lintian: packages are not checked; get it with: apt-get install lintian'
fi
if command -v rpmbuild >/dev/null; then
    rm -rf "$target/rpm"
    # The names of what is needed to build are those of other distributions.
    rpmbuild -bb --build-in-place --nodeps --define "_topdir $target/rpm" dist/rpm/capscache.spec
    for package in "$target"/rpm/RPMS/*/*.rpm; do
        echo "${package##*/}:"
        rpm --query --package --list "$package"
    done
else
    echo 'SKIPPED: no rpmbuild: the RPM packages are not built; get it with: apt-get install rpm'
fi
ls -l "$PACKAGES_DIR"/*.deb
