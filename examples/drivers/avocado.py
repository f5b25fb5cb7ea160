"""The questions of avocado-vt before it runs a test: whether this QEMU has what the test requires. It starts QEMU with
`-device help`, `-device NAME,help`, `-machine help` and queries of the monitor for each of them.

    python3 avocado.py ROOT EMULATOR REQUIREMENT…

Exit status as that of `capscache query`: 0 if all are met, 1 if one is not, 2 on error, 3 if one is unknown, so that a test that is
skipped has a reason.
"""

import sys

import capscache


def main():
    if len(sys.argv) < 3:
        print("usage: avocado.py ROOT EMULATOR REQUIREMENT…", file=sys.stderr)
        return 2
    root, emulator, *requirements = sys.argv[1:]
    with capscache.Cache(root) as cache:
        entry = cache.get(emulator)
        queries = [capscache.Query(text) for text in requirements]
        groups = {group for query in queries for group in entry.groups_for(query)}
        if groups:
            entry = cache.get(emulator, sorted(groups))
    answers = [entry.query(query) for query in queries]
    for query, answer in zip(queries, answers):
        word = {True: "yes", False: "no", None: "unknown"}[answer]
        print(f"{query}: {word} ({entry.explain(query)})")
    return 1 if False in answers else 3 if None in answers else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except capscache.errors.CapscacheError as error:
        print(f"avocado: {error}", file=sys.stderr)
        sys.exit(2)
