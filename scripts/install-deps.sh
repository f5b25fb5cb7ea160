#!/bin/sh
# Installs those of the named tools that this machine lacks; does nothing, quickly, where all are there.
#
# usage: install-deps.sh TOOL…      TOOL: c++ cargo cargo-c cc clippy cross debhelper debootstrap faketime fish go
#                                       jq libxml2 lintian make perl pkg-config python3 qemu rpm rustfmt strace
#                                       target:TRIPLE tini typos valgrind yaml zsh
set -eu

say() { printf '%s\n' "install-deps: $*" >&2; }
die() { say "$@"; exit 1; }

# Any emulator that the command would find by itself.
have_emulator() (
    IFS=:
    set -f
    for dir in $PATH /usr/libexec; do
        set +f
        for file in "${dir:-.}"/qemu-system-* "${dir:-.}"/qemu-kvm; do
            if [ -f "$file" ] && [ -x "$file" ]; then exit 0; fi
        done
        set -f
    done
    exit 1
)

packages=
components=
targets=
crates=
for tool; do
    case $tool in
        cargo) command -v cargo >/dev/null || die "no cargo here: install a Rust toolchain, https://rustup.rs" ;;
        cc) command -v cc >/dev/null || packages="$packages gcc libc6-dev" ;;
        c++) command -v c++ >/dev/null || packages="$packages g++" ;;
        # Debian 12's is older than the edition of the packages. This is the last one for Rust 1.95.
        cargo-c) cargo cinstall --version >/dev/null 2>&1 || crates="$crates cargo-c@0.10.24" ;;
        # C compilers and C libraries of other hosts, and QEMU to run their programs: scripts/test-hosts.sh.
        cross)
            for host in s390x:s390x-linux-gnu armhf:arm-linux-gnueabihf powerpc:powerpc-linux-gnu arm64:aarch64-linux-gnu; do
                command -v "${host#*:}-gcc" >/dev/null ||
                    packages="$packages gcc-${host#*:} libc6-dev-${host%%:*}-cross"
            done
            command -v qemu-s390x >/dev/null || packages="$packages qemu-user"
            ;;
        # cgo finds the C library with pkg-config.
        go)
            command -v go >/dev/null || packages="$packages golang-go"
            command -v pkg-config >/dev/null || packages="$packages pkg-config"
            ;;
        qemu) have_emulator || packages="$packages qemu-system" ;;
        debootstrap)
            # Only an administrator's PATH may have these directories.
            PATH=$PATH:/usr/sbin:/sbin command -v debootstrap >/dev/null || packages="$packages debootstrap"
            ;;
        libxml2) pkg-config --exists libxml-2.0 2>/dev/null || packages="$packages libxml2-dev pkg-config" ;;
        debhelper) command -v dh_python3 >/dev/null || packages="$packages debhelper dh-python" ;;
        rpm) command -v rpmbuild >/dev/null || packages="$packages rpm" ;;
        # Debian has the environments in a package of their own.
        python3) python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3 python3-venv" ;;
        # Every Debian has perl-base, which lacks JSON::PP.
        perl) perl -MJSON::PP -e 1 2>/dev/null || packages="$packages perl" ;;
        # PyYAML reads what the command writes.
        yaml) python3 -c 'import yaml' 2>/dev/null || packages="$packages python3-yaml" ;;
        faketime | fish | jq | lintian | make | pkg-config | strace | tini | valgrind | zsh)
            command -v "$tool" >/dev/null || packages="$packages $tool"
            ;;
        rustfmt) cargo fmt --version >/dev/null 2>&1 || components="$components rustfmt" ;;
        clippy) cargo clippy --version >/dev/null 2>&1 || components="$components clippy" ;;
        # The standard library of Rust for another host.
        target:*)
            libraries=$("${RUSTC:-rustc}" --print target-libdir --target "${tool#target:}") || die "rustc does not know ${tool#target:}"
            ls "$libraries"/libstd-*.rlib >/dev/null 2>&1 || targets="$targets ${tool#target:}"
            ;;
        typos) command -v typos >/dev/null || crates="$crates typos-cli" ;;
        *) die "unknown tool: $tool" ;;
    esac
done

if [ -n "$components" ]; then
    command -v rustup >/dev/null || die "cargo lacks$components: install it from where your Rust toolchain came from"
    # shellcheck disable=SC2086 # a list of words
    rustup component add $components
fi

if [ -n "$targets" ]; then
    command -v rustup >/dev/null || die "no standard library of Rust for$targets: install it from where your Rust toolchain came from"
    # shellcheck disable=SC2086 # a list of words
    rustup target add $targets >&2
fi

# After the packages: building needs a C compiler.
build_crates() {
    [ -n "$crates" ] || return 0
    say "building$crates"
    # Unoptimized: they run once, and take less time than the compiler would.
    # shellcheck disable=SC2086 # a list of words
    cargo install --locked --debug $crates || say "cannot build$crates: checks that need it are skipped"
}

[ -n "$packages" ] || { build_crates; exit 0; }

command -v apt-get >/dev/null || die "no apt-get here: install by other means what Debian calls$packages"
if [ "$(id -u)" = 0 ]; then
    as_root=
elif ! command -v sudo >/dev/null; then
    die "neither root nor sudo: have an administrator run: apt-get install$packages"
elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
elif [ -t 0 ] && sudo -v; then
    as_root=sudo
else
    die "not root, and sudo refuses: have an administrator run: apt-get install$packages"
fi

# sudo drops the environment, hence env. The lock of a package manager that runs at boot is waited for.
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}

say "installing$packages"
apt update || say "apt-get update failed; continuing with the present package lists"
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends $packages || die "could not install$packages"
build_crates
