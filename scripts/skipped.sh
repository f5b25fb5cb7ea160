#!/bin/sh
# Reports the tests that have nothing to test on this machine: test runners hide the output of tests that pass.
set -eu
cd "$(dirname "$0")/.."

skipped() { printf 'SKIPPED: %s\n' "$*"; }

{ [ -r /dev/kvm ] && [ -w /dev/kvm ]; } || skipped '/dev/kvm cannot be opened: nothing is probed under KVM'
[ -d "${CAPSCACHE_LIBVIRT_CORPUS:-../shared/libvirt}/corpus" ] || skipped 'no recordings of libvirt: they are not replayed'
[ -d "${CAPSCACHE_LIBVIRT_CORPUS:-../shared/libvirt}/guests" ] || skipped 'no guests of libvirt: addresses are not compared with libvirt'\''s'
[ -d "${CAPSCACHE_LIBVIRT_CORPUS:-../shared/libvirt}/domcaps" ] || skipped 'no domcaps of libvirt: domain capabilities are not compared with libvirt'\''s'
[ -f /usr/share/libvirt/cpu_map/index.xml ] || skipped 'no CPU map of libvirt: CPU models of x86 and ppc64 are not compared'
unshare -m true 2>/dev/null || skipped 'no mount namespace can be made: KVM is not hidden from any emulator'
unshare -r true 2>/dev/null || skipped 'no user namespace can be made: the limits of watches are not tested'
[ "$(id -u)" = 0 ] || skipped 'not root: no calls of other users are tested, and no packages are installed'
for command in bash c++ dpkg doxygen fish go gofmt jq nm perl pkg-config python3 readelf script setpriv strace valgrind zsh; do
    command -v "$command" >/dev/null || skipped "no $command: what needs it is not tested"
done
perl -MJSON::PP -e 1 2>/dev/null || skipped 'no JSON::PP of Perl: the driver in Perl is not tested'
python3 -c 'import yaml' 2>/dev/null || skipped 'no PyYAML: YAML is not compared with what it reads'
