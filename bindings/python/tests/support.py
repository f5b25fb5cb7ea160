"""Parts of the tests: emulators, caches in temporary directories, programs of this system."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar

import capscache

AVR = "/usr/bin/qemu-system-avr"
"""A small emulator, with which tests are quick."""

X86_64 = "/usr/bin/qemu-system-x86_64"

REPOSITORY = Path(__file__).resolve().parents[3]


def kvm_works() -> bool:
    """Returns True if an emulator of x86_64 runs under KVM here; reports a skip if not."""
    works = platform.machine() == "x86_64" and os.access("/dev/kvm", os.R_OK | os.W_OK)
    if not works:
        print("SKIPPED: KVM does not run x86_64 here, so nothing was probed under it")
    return works


class Directory(unittest.TestCase):
    """A test with a temporary directory."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def write_program(self, name: str, text: str) -> Path:
        """Writes a file that can be executed, as a whole: an emulator that is written while it runs is another one."""
        path = self.directory / name
        new = path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o755)
        new.rename(path)
        return path


class Probed(unittest.TestCase):
    """Tests on the entry of x86_64, which is probed once."""

    root: ClassVar[str]
    entry: ClassVar[capscache.Entry]

    @classmethod
    def setUpClass(cls) -> None:
        cls.root = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.root)
        with capscache.Cache(cls.root) as cache:
            cls.entry = cache.get(X86_64)
