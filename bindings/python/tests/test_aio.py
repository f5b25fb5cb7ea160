"""The cache in asyncio."""

import asyncio
import subprocess
import sys
import time
import unittest

import capscache
from capscache import errors
from support import AVR, X86_64, Directory


class AsyncTest(Directory):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.directory / "cache"

    def slow(self) -> str:
        """An emulator that takes some time to start."""
        return str(self.write_program("qemu-system-slow", f'#!/bin/sh\nsleep 0.5\nexec {AVR} "$@"\n'))

    def test_two_emulators_are_probed_at_the_same_time(self) -> None:
        async def main() -> None:
            async with capscache.AsyncCache(capscache.Cache(self.root)) as cache:
                avr, x86 = await asyncio.gather(cache.get(AVR), cache.get(X86_64, ["devices"]))
                self.assertEqual((avr.arch, x86.arch, x86.groups), ("avr", "x86_64", ("devices",)))
                self.assertEqual((await cache.status(AVR)).state, "valid")
                self.assertEqual((await cache.lookup(AVR)).arch, "avr")
                self.assertEqual([one.emulator for one in await cache.list()], [AVR, X86_64])
                self.assertIs(await cache.invalidate(AVR), True)
                self.assertEqual((await cache.refresh(AVR)).arch, "avr")
            with self.assertRaisesRegex(ValueError, "the cache is closed"):
                await cache.get(AVR)

        asyncio.run(main())

    def test_the_loop_runs_while_an_emulator_is_probed(self) -> None:
        async def main() -> None:
            cache = capscache.AsyncCache(capscache.Cache(self.root))
            get = asyncio.ensure_future(cache.get(self.slow()))
            ticks = 0
            while not get.done():
                await asyncio.sleep(0.01)
                ticks += 1
            self.assertEqual(get.result().arch, "avr")
            self.assertGreater(ticks, 3)

        asyncio.run(main())

    def test_a_hit_returns_without_a_turn_of_the_loop(self) -> None:
        cache = capscache.Cache(self.root)
        cache.get(AVR)

        async def main() -> None:
            with self.assertRaises(StopIteration) as returned:
                capscache.AsyncCache(cache).get(AVR).send(None)
            self.assertEqual(returned.exception.value.arch, "avr")

        asyncio.run(main())

    def test_cancelling_gives_up_waiting_and_the_probe_goes_on(self) -> None:
        async def main() -> None:
            cache = capscache.AsyncCache(capscache.Cache(self.root))
            slow = self.slow()
            first, second = (asyncio.ensure_future(cache.get(slow)) for _ in range(2))
            await asyncio.sleep(0.05)
            first.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await first
            self.assertEqual((await second).arch, "avr")

        asyncio.run(main())

    def test_a_loop_may_end_before_a_probe(self) -> None:
        cache = capscache.Cache(self.root)
        slow = self.slow()

        async def main() -> None:
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(capscache.AsyncCache(cache).get(slow), 0.05)

        asyncio.run(main())
        deadline = time.monotonic() + 30
        while cache.status(slow).state != "valid" and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(cache.status(slow).state, "valid")

    def test_an_interpreter_may_end_while_the_threads_of_probes_do(self) -> None:
        program = (
            "import asyncio, sys\n"
            "import capscache\n"
            "async def main():\n"
            "    cache = capscache.AsyncCache(capscache.Cache(sys.argv[1]))\n"
            "    waiting = [asyncio.ensure_future(cache.get(emulator)) for emulator in sys.argv[2:]]\n"
            "    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)\n"
            "asyncio.run(main())\n"
        )
        for attempt in range(10):
            root = self.directory / f"cache-{attempt}"
            command = [sys.executable, "-c", program, str(root), AVR, X86_64, self.slow()]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_errors_are_those_of_the_cache(self) -> None:
        async def main() -> None:
            cache = capscache.AsyncCache(capscache.Cache(self.root))
            with self.assertRaises(errors.NotAnEmulatorError):
                await cache.get(self.write_program("qemu-system-x", "#!/bin/sh\nexit 0\n"))
            with self.assertRaises(errors.EmulatorError):
                await cache.get("/nope")

        asyncio.run(main())


if __name__ == "__main__":
    unittest.main()
