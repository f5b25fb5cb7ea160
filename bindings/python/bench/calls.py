"""Makes calls of the package, as often as it is requested to, and prints how long one took: the counterpart of
bench/src/calls.c for `capscache-bench`.

    python3 calls.py ROOT EMULATOR QUERY…

Each line of the standard input names the work: `hit` is a validated get, `answers` opens the cache and the entry and answers all
queries. Each is followed by a line with the nanoseconds of one.
"""

import sys
import time

import capscache

REPEAT_FOR_NS = 20_000_000


def main():
    _, root, emulator, *queries = sys.argv
    cache = capscache.Cache(root)

    def hit():
        cache.get(emulator)

    def answers():
        entry = capscache.Cache(root).get_unchecked(emulator)
        for query in queries:
            if entry.query(query) is None:
                sys.exit(f"{query} has no answer")

    work = {"hit\n": hit, "answers\n": answers}
    for line in sys.stdin:
        call = work[line]
        began, count, elapsed = time.perf_counter_ns(), 0, 0
        while elapsed < REPEAT_FOR_NS:
            call()
            count += 1
            elapsed = time.perf_counter_ns() - began
        print(elapsed // count, flush=True)


if __name__ == "__main__":
    main()
