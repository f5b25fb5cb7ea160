#!/bin/sh
# Fuzzes each target for the given number of seconds, from the committed corpus, and packs it again.
#
# usage: run.sh SECONDS [--keep-corpus]      leaves the committed corpus as it is
set -eu
cd "$(dirname "$0")"
seconds=$1

for target in open round_trip lines transcript query message domain_xml devaddr run; do
    mkdir -p "corpus/$target"
    tar xzf "corpus/$target.tar.gz" -C "corpus/$target"
    "${CARGO:-cargo}" +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -rss_limit_mb=1024 -malloc_limit_mb=256 -print_final_stats=1
    [ "${2:-}" != --keep-corpus ] || continue
    "${CARGO:-cargo}" +nightly fuzz cmin "$target" -- -max_len=8192
    tar czf "corpus/$target.tar.gz" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "corpus/$target" .
done
