#!/bin/sh
# Installs, uses, upgrades and purges the packages of `make packages` in copies of systems that fixtures/roots.sh made.
#
# usage: run.sh PACKAGES SYSTEM…       as root
set -eu

[ $# -ge 2 ] || { echo 'usage: run.sh PACKAGES SYSTEM…' >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo 'SKIPPED: packages are not installed: not root'; exit 0; }
# What is mounted below is mounted for this script alone, and ends with it; so do processes.
if [ -z "${OWN_NAMESPACE-}" ]; then
    OWN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi

here=$(cd "$(dirname "$0")" && pwd)
packages=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
root=$work/root
mounted="$root/proc $root/dev $root/tmp"
# shellcheck disable=SC2064,SC2086 # a list of words, as it is here
trap "umount --lazy $mounted 2>/dev/null || :; rm -rf --one-file-system '$work'" EXIT
emulator=/usr/bin/qemu-system-x86_64
cache=/var/cache/capscache
ours='capscache libcapscache0 libcapscache-dev python3-capscache'

say() { printf '%s: %s\n' "$suite" "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

# same NAME FOUND EXPECTED
same() {
    [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"
    say "$1: $2"
}

in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
dpkg() { in_root dpkg "$@" </dev/null >"$work/dpkg" 2>&1 || { cat "$work/dpkg" >&2; fail "dpkg $*"; }; }
is_there() { [ -e "$root$1" ] || fail "$1 is missing"; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# The names of all files, but those of dpkg, of logs and of the users' database, whose backups appear with the first change.
files() {
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./proc -o -path ./dev -o -path ./tmp \
        -o -path ./sys -o -path ./run \) -prune -o -print) | grep -vE '^\./etc/(passwd|group|shadow|gshadow)-$|/ldconfig/aux-cache$' | sort
}

# The version that the emulator of the system prints.
installed_version() { in_root $emulator --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

# The version and the state of the entry, without a lookup that would refresh it.
state() {
    in_root env CAPSCACHE_ROOT=$cache capscache list >"$work/list" || fail 'capscache list'
    awk -v emulator=$emulator '$1 == emulator { print $2, $NF }' "$work/list"
}

# The version that the Python package gets, from a cache of its own.
python_answer() { in_root python3 -B -c "import capscache; print(capscache.Cache('/var/tmp/python').get('$emulator').version)"; }

# refresh: what the trigger of the packages runs.
refresh() {
    in_root dpkg-trigger --by-package=qemu-system-x86 capscache-refresh
    dpkg --triggers-only --pending
}

# next_version: the same packages with a higher version.
next_version() {
    mkdir "$work/next"
    for package in "$packages"/*.deb; do
        rm -rf "$work/contents"
        dpkg-deb -R "$package" "$work/contents"
        sed -i -E 's/^(Version: .*)/\1+next/; s/(libcapscache0 \(= [^)]*)\)/\1+next)/' "$work/contents/DEBIAN/control"
        dpkg-deb --root-owner-group -Znone -b "$work/contents" "$work/next/${package##*/}" >/dev/null
    done
    rm -rf "$work/contents"
}

install_packages() {
    mkdir -p "$root/tmp/debs"
    cp "$1"/*.deb "$root/tmp/debs"
    # shellcheck disable=SC2046 # a list of words
    dpkg --install $(in_root sh -c 'echo /tmp/debs/*.deb')
    rm -r "$root/tmp/debs"
}

answer() {
    echo >&7
    read -r line <&8 || fail "the client of the library ended"
    echo "$line"
}

on() {
    suite=${1##*/}
    cp -a --reflink=auto "$1" "$root"
    mount -t proc proc "$root/proc"
    # Scripts of packages run as root: the devices are copies, which they may replace.
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for node in null zero full random urandom tty kvm; do
        [ ! -e "/dev/$node" ] || cp -a "/dev/$node" "$root/dev/"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs tmp "$root/tmp"
    mkdir -p "$root/tmp/upgrade" && cp "$root"/packages/upgrade/*.deb "$root/tmp/upgrade"
    rm -r "$root/packages"
    files >"$work/before"

    install_packages "$packages"
    # shellcheck disable=SC2086 # a list of words
    same 'packages' "$(in_root dpkg-query -W -f '${db:Status-Abbrev}' $ours)" 'ii ii ii ii '
    same 'owner of the cache' "$(in_root stat -c '%U:%G %a' $cache)" 'capscache:capscache 755'
    for file in /usr/share/man/man1/capscache-warm.1.gz /usr/share/bash-completion/completions/capscache \
        /usr/share/zsh/vendor-completions/_capscache /usr/share/fish/vendor_completions.d/capscache.fish; do
        is_there "$file"
    done
    [ "$(in_root dpkg -L capscache | grep -cE '/systemd/system/capscache\.(service|socket)$')" = 2 ] || fail 'units are missing'
    in_root systemd-analyze --man=no verify capscache.service capscache.socket >"$work/verify" 2>&1 || :
    ! grep capscache "$work/verify" || fail 'systemd reports the above about the units'
    in_root systemctl --quiet is-enabled capscache.service capscache.socket || fail "the units do not start at boot"

    # Use: as root, who becomes the user of the cache; as another user, through the service.
    in_root capscache warm $emulator >/dev/null
    same 'entry' "$(state)" "$(installed_version) valid"
    [ -z "$(find "$root$cache" ! -user "$(in_root id -u capscache)")" ] || fail 'the cache has files of other users'
    # With the groups of the unit, so that it has the same rights to KVM.
    service=$work/service
    chroot "$root" sh -c 'mkdir -p /run/capscache && chown capscache /run/capscache
        exec setpriv --reuid=capscache --regid=capscache --groups=$(stat -c %g /dev/kvm || id -g capscache) capscache serve --root '$cache >"$service" 2>&1 &
    serving=$!
    deadline=$(($(date +%s) + 60))
    while [ ! -S "$root/run/capscache/io.capscache.Cache" ]; do
        [ "$(date +%s)" -lt $deadline ] || { cat "$service" >&2; fail 'the service does not listen'; }
    done
    same "answer of the service" "$(in_root setpriv --reuid=65534 --regid=65534 --clear-groups \
        env HOME=/nonexistent CAPSCACHE_ROOT=$cache capscache query $emulator machine:q35 | tr '\t' ' ')" 'machine:q35 yes'
    same "answer of the service to Python" "$(in_root setpriv --reuid=65534 --regid=65534 --clear-groups \
        env HOME=/nonexistent python3 -B -c "import capscache
cache = capscache.open('$cache')
print(type(cache).__name__, cache.get('$emulator').query('machine:q35'))")" 'Service True'
    kill $serving && wait $serving || :

    # The Python package, with a cache of root's own.
    for file in py.typed _native.pyi; do is_there "/usr/lib/python3/dist-packages/capscache/$file"; done
    same 'version of the Python package' \
        "$(in_root python3 -B -c 'import importlib.metadata; print(importlib.metadata.version("capscache"))')" \
        "$(in_root dpkg-query -W -f '${Version}' python3-capscache)"
    same 'answer of the Python package' "$(python_answer)" "$(installed_version)"

    # A program that is linked with the library, built from the development package.
    multiarch=$(in_root dpkg --print-architecture | sed 's/amd64/x86_64-linux-gnu/; s/arm64/aarch64-linux-gnu/')
    cc "$here/client.c" -I"$root/usr/include" -L"$root/usr/lib/$multiarch" -lcapscache -o "$root/tmp/client"
    mkfifo "$work/questions" "$work/answers"
    in_root /tmp/client /var/tmp/client $emulator <"$work/questions" >"$work/answers" &
    client=$!
    exec 7>"$work/questions" 8<"$work/answers"
    old=$(installed_version)
    same 'answer of the library' "$(answer)" "$old"

    # Upgrade of the packages: entries stay, and the client that was linked with the old library goes on.
    install_packages "$work/next"
    # shellcheck disable=SC2086 # a list of words
    in_root dpkg-query -W -f '${Version}\n' $ours | grep -qv '+next$' && fail 'not upgraded'
    # ldconfig wrote the loader's cache anew: its time stamp is compared, and nothing is probed.
    in_root env CAPSCACHE_ROOT=$cache capscache status $emulator >"$work/warm" || :
    in_root env CAPSCACHE_ROOT=$cache capscache warm $emulator >>"$work/warm"
    grep -q ' cached$' "$work/warm" || { cat "$work/warm" >&2; fail 'the entry did not outlive an upgrade of capscache'; }
    same 'entry after an upgrade of capscache' "$(state)" "$old valid"
    mapped=$(grep -shoE '/libcapscache\.so\.[0-9.]*( \(deleted\))?' /proc/[0-9]*/maps | sort -u)
    case $mapped in *'(deleted)') ;; *) fail "the running client does not have the replaced library: $mapped" ;; esac
    same 'answer of the replaced library' "$(answer)" "$old"
    same 'answer of the upgraded Python package' "$(python_answer)" "$old"
    same 'answer to a client that starts now' "$(echo | in_root /tmp/client /var/tmp/client $emulator)" "$old"

    # Upgrade of QEMU: the trigger probes again what had an entry.
    before=$(in_root stat -c %i $emulator)
    # shellcheck disable=SC2046 # a list of words
    dpkg --install $(in_root sh -c 'echo /tmp/upgrade/*.deb')
    grep -q 'Processing triggers for capscache' "$work/dpkg" || { cat "$work/dpkg"; fail 'the trigger did not run'; }
    [ "$(in_root stat -c %i $emulator)" != "$before" ] || fail 'QEMU was not replaced'
    same 'entry after an upgrade of QEMU' "$(state)" "$(installed_version) valid"
    same 'answer of the replaced library' "$(answer)" "$(installed_version)"
    same 'answer of the Python package after an upgrade of QEMU' "$(python_answer)" "$(installed_version)"
    exec 7>&- 8<&-
    wait $client
    rm "$work/questions" "$work/answers"
    began=$(milliseconds)
    refresh
    say "the trigger takes $(($(milliseconds) - began)) ms with a valid entry"
    in_root capscache --root $cache invalidate $emulator >/dev/null
    refresh
    found=$(state)
    same 'entry that was never requested' "$found" ''
    in_root capscache warm $emulator >/dev/null

    # An unrelated package does not run it.
    mkdir -p "$work/other/DEBIAN" "$work/other/usr/bin"
    printf 'Package: other\nVersion: 1\nArchitecture: all\nMaintainer: none <none@capscache.invalid>\nDescription: a program\n' \
        >"$work/other/DEBIAN/control"
    touch "$work/other/usr/bin/other"
    dpkg-deb --root-owner-group -b "$work/other" "$root/tmp/other.deb" >/dev/null
    dpkg --install /tmp/other.deb
    ! grep -q 'triggers for capscache' "$work/dpkg" || fail 'a program that is not QEMU runs the trigger'
    dpkg --purge other

    # QEMU removed: its entry goes.
    in_root dpkg --force-depends --remove qemu-system-x86 </dev/null >/dev/null 2>&1
    found=$(state)
    same 'entry after the removal of QEMU' "$found" ''
    # shellcheck disable=SC2046 # a list of words
    dpkg --install $(in_root sh -c 'echo /tmp/upgrade/*.deb')
    in_root capscache warm $emulator >/dev/null

    # Removal keeps the cache, purge removes it.
    # shellcheck disable=SC2086 # a list of words
    dpkg --remove $ours
    [ -n "$(find "$root$cache" -type f)" ] || fail "a removal removes the cache"
    # shellcheck disable=SC2086 # a list of words
    dpkg --purge $ours
    rm -rf "$root/var/tmp/client" "$root/var/tmp/python"
    dpkg --purge other 2>/dev/null || :
    files | grep -v '^\./\(usr\|etc\)/.*qemu\|^\./usr/share/seabios' >"$work/after"
    grep -v '^\./\(usr\|etc\)/.*qemu\|^\./usr/share/seabios' "$work/before" | comm -13 - "$work/after" >"$work/left"
    same 'left after purge' "$(cat "$work/left")" ''
    # shellcheck disable=SC2086 # a list of words
    umount --lazy $mounted
    rm -rf --one-file-system "$root"
}

next_version
for system; do on "$system"; done
