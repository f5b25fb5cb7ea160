"""Compares a validated hit, and a cache that is opened and answers twenty questions, with the Rust library: in turns, in one
run. The package must be installed, built for release (`make wheel`).

    cargo build --release -p capscache-python --example peer
    python3 hit.py target/release/examples/peer EMULATOR
"""

import statistics
import subprocess
import sys
import tempfile
import time

import capscache

ROUNDS = 40

QUERIES = [
    "machine:q35",
    "cpu:EPYC",
    "cpu-model:EPYC",
    "device:virtio-blk-pci",
    "device:virtio-net-pci",
    "device:vhost-user-fs-pci",
    "property:virtio-blk-pci.queue-size",
    "command:blockdev-add",
    "event:SHUTDOWN",
    "option:spice",
    "schema:blockdev-add/arg-type/+file/aio/^io_uring",
    "version:>=8.2",
]


def questions(entry):
    """Answers the questions that `examples/peer.rs` answers too: the same facts, and QUERIES."""
    entry.version, entry.arch
    for name in ("q35", "pc"):
        machine = entry.machine(name)
        machine.max_cpus, machine.has_hotpluggable_cpus
    entry.cpu_model("max").is_usable
    entry.has_accelerator("tcg")
    for query in QUERIES:
        entry.query(query)


def main():
    _, program, emulator = sys.argv
    with tempfile.TemporaryDirectory() as root:
        cache = capscache.Cache(root)
        cache.get(emulator)

        def hit():
            cache.get(emulator)

        def open_and_answer():
            questions(capscache.Cache(root).get(emulator))

        peer = subprocess.Popen([program, root, emulator, *QUERIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with peer:
            print(f"{'':24} {'Rust':>10} {'Python':>10} {'ratio':>6}   (medians of {ROUNDS} pairs)")
            for kind, call, number in (("hit", hit, 2000), ("open", open_and_answer, 300)):
                pairs = []
                for _ in range(ROUNDS):
                    print(kind, number, file=peer.stdin, flush=True)
                    rust = int(peer.stdout.readline()) / number
                    start = time.perf_counter_ns()
                    for _ in range(number):
                        call()
                    pairs.append((rust, (time.perf_counter_ns() - start) / number))
                rust, python = (statistics.median(side) for side in zip(*pairs))
                ratio = statistics.median(python / rust for rust, python in pairs)
                name = {"hit": "validated hit", "open": "open + twenty questions"}[kind]
                print(f"{name:24} {rust / 1000:7.2f} µs {python / 1000:7.2f} µs {ratio:6.2f}")
            peer.stdin.close()


if __name__ == "__main__":
    main()
