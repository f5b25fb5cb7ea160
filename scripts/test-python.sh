#!/bin/sh
# Builds the wheel of the Python package, installs it in a virtual environment, and runs its tests there.
#
# usage: test-python.sh [TEST…]      names of tests, as `python3 -m unittest` takes them; all by default
set -eu
cd "$(dirname "$0")/.."
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)

wheels=$target/wheels/test
rm -rf "$wheels"
status=0
scripts/wheel.sh dev "$wheels" || status=$?
if [ "$status" = 3 ]; then
    echo 'SKIPPED: no wheel can be built: the Python package is not tested'
    exit 0
fi
[ "$status" = 0 ] || exit "$status"
"$target/python/bin/pip" --quiet --disable-pip-version-check install --no-index --force-reinstall "$wheels"/*.whl

# The service is tested where the command was built, as `make test` does first.
CAPSCACHE_COMMAND=${CAPSCACHE_COMMAND:-$target/debug/capscache}
export CAPSCACHE_COMMAND
cd bindings/python/tests
# With names of tests, only these.
if [ $# = 0 ]; then
    if "$target/python/bin/mypy" --version >/dev/null 2>&1 ||
        "$target/python/bin/pip" --quiet --disable-pip-version-check install 'mypy>=1.11,<2'; then
        # The annotations of the installed package agree with each other, and the stubs with the module.
        "$target/python/bin/mypy" --strict --cache-dir "$target/python/mypy" --package capscache
        MYPY_CACHE_DIR=$target/python/mypy "$target/python/bin/stubtest" capscache._native
    else
        echo 'SKIPPED: mypy cannot be installed: annotations of the Python package are not checked'
    fi
fi
# All warnings are errors: what Python deprecates, and files that are not closed.
exec "$target/python/bin/python" -X dev -W error -m unittest "$@"
