#!/bin/sh
# Installs libvirt 11.3 beside the emulators that are here, to compare with: a later release than this
# Debian's own, and what it needs to run without a daemon. Changes the machine: lists the changes, and
# waits for confirmation unless CI=true.
set -eu

say() { printf '%s\n' "install-peers: $*" >&2; }
die() { say "$@"; exit 1; }

WANTED=11.3
PACKAGES="libvirt-daemon-driver-qemu=$WANTED.* libvirt-clients=$WANTED.* tini strace"

is_ready() {
    command -v virsh >/dev/null && command -v tini >/dev/null && command -v strace >/dev/null &&
        [ "$(virsh --version | cut -d. -f1-2)" = "$WANTED" ] && getent passwd libvirt-qemu >/dev/null &&
        ls /usr/lib*/libvirt/connection-driver/libvirt_driver_qemu.so \
            /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so 2>/dev/null | grep -q . &&
        { [ ! -e /dev/kvm ] || setpriv --reuid=libvirt-qemu --regid=kvm --clear-groups sh -c ': <>/dev/kvm' 2>/dev/null; }
}

if is_ready; then exit 0; fi
[ "$(id -u)" = 0 ] || die "this needs root: it installs packages and opens /dev/kvm to the user libvirt-qemu"
. /etc/os-release
[ "${VERSION_CODENAME:-}" = bookworm ] || die "libvirt $WANTED comes from Debian 12's backports, and this is ${PRETTY_NAME:-another system}: install it by other means"

say "this will change the machine:"
say "  - add Debian's backports to /etc/apt/sources.list.d/capscache-backports.list"
say "  - install from there: $PACKAGES"
say "  - make the user libvirt-qemu if there is none, a member of the group kvm, which may open /dev/kvm"
if [ "${CI:-}" != true ]; then
    [ -t 0 ] || die "cannot wait for confirmation: stdin is not a terminal; run it on one, or with CI=true"
    printf 'Go on? [y/N] ' >&2
    read -r answer
    case $answer in [yY]*) ;; *) die "nothing was changed" ;; esac
fi

# From wherever this machine gets its packages.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
[ -n "$mirror" ] || die "apt has no mirror of bookworm"
echo "deb $mirror bookworm-backports main" >/etc/apt/sources.list.d/capscache-backports.list
export DEBIAN_FRONTEND=noninteractive
apt-get -q -y -o DPkg::Lock::Timeout=300 update >&2
# shellcheck disable=SC2086 # a list of words
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends -t bookworm-backports $PACKAGES >&2
getent group kvm >/dev/null || groupadd --system kvm
getent passwd libvirt-qemu >/dev/null ||
    useradd --system --no-create-home --home-dir /var/lib/libvirt --shell /usr/sbin/nologin -g kvm libvirt-qemu
usermod -a -G kvm libvirt-qemu
if [ -e /dev/kvm ]; then
    chgrp kvm /dev/kvm
    chmod g+rw /dev/kvm
fi
is_ready || die "libvirt $WANTED is not ready for use after all: $(virsh --version 2>&1 || true)"
