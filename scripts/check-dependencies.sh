#!/bin/sh
# Holds the dependency rules: what must not be in the tree of a package is not there.
set -eu
cd "$(dirname "$0")/.."

# tree ARGUMENT…: the names in a dependency tree, one a line. Fails where cargo does.
tree() {
    out=$("${CARGO:-cargo}" tree --locked --prefix none --format '{p}' "$@")
    printf '%s\n' "$out" | sed 's/ .*//'
}

# contains NAME ARGUMENT…
contains() {
    name=$1
    shift
    names=$(tree "$@") || exit 2
    printf '%s\n' "$names" | grep -qxF -e "$name"
}

failed=0
absent() {
    if contains "$@"; then
        name=$1
        shift
        echo "check-dependencies: $name must not be in: cargo tree $*" >&2
        failed=1
    fi
}

# First that these checks can fail at all: the probe does have tokio.
contains tokio -p capscache-probe || {
    echo "check-dependencies: tokio not found where it must be; the checks below would prove nothing" >&2
    exit 1
}

absent tokio -p capscache-format
absent tokio -e normal -p capscache --no-default-features
# What tokio's `process` and `signal` features bring: the library installs no signal handler (docs/adr/0003).
absent signal-hook-registry -e normal -p capscache --all-features
# Nothing runs beside the calls of the library, so there is nothing to be woken.
absent notify -e normal -p capscache --all-features
# The language of queries is for all who read: it probes nothing.
absent capscache-probe -e normal -p capscache-query
# Addresses are computed away from any hypervisor: no processes, no files, no runtime.
absent capscache-probe -e normal -p capscache-devaddr
absent capscache -e normal -p capscache-devaddr
absent rustix -e normal -p capscache-devaddr
absent capscache-format -e normal -p capscache-domain
# Guests are started from the answers of an entry: neither the cache's files nor a probe is needed, and no handler of signals.
absent capscache -e normal -p capscache-run
absent capscache-probe -e normal -p capscache-run
absent signal-hook-registry -e normal -p capscache-run
absent anyhow -e normal -p capscache-run
# What programs in C load: no async runtime where nothing is probed, and the header is not written when the library is built.
absent tokio -e normal -p capscache-c --no-default-features
absent cbindgen -e normal,build -p capscache-c
# The Python package has its client of the service in Python: a wheel without the watcher, the server and their dependencies.
absent capscache-service -e normal -p capscache-python
# The service is a library: its errors are types, and it parses no command lines.
absent anyhow -e normal -p capscache-service
absent clap -e normal -p capscache-service
exit "$failed"
