"""Errors: classes to catch, facts to react to."""

import copy
import os
import pickle
import unittest

import capscache
from capscache import errors
from support import Directory


class ErrorsTest(Directory):
    def setUp(self) -> None:
        super().setUp()
        self.cache = capscache.Cache(self.directory / "cache")

    def test_a_program_that_is_not_an_emulator_is_remembered(self) -> None:
        program = str(self.write_program("qemu-system-x", "#!/bin/sh\nexit 0\n"))
        with self.assertRaises(errors.NotAnEmulatorError) as raised:
            self.cache.get(program)
        first = raised.exception
        self.assertEqual((first.path, first.cause, first.age, first.retry_in), (program, "not-an-emulator", None, None))
        with self.assertRaises(errors.ProbeError) as raised:
            self.cache.get(program)
        second = raised.exception
        self.assertIs(type(second), errors.NotAnEmulatorError)
        self.assertEqual(second.cause, "not-an-emulator")
        self.assertLessEqual(second.age + second.retry_in, 61)
        status = self.cache.status(program)
        self.assertEqual((status.state, status.path), ("failed", None))
        self.assertIn("it sent no QMP greeting", status.reason)
        self.assertTrue(str(status).startswith("the last probe failed: "), status)

    def test_an_emulator_that_does_not_exist_has_the_number_of_the_system(self) -> None:
        with self.assertRaises(errors.EmulatorError) as raised:
            self.cache.get("/nope")
        self.assertEqual((raised.exception.path, raised.exception.errno), ("/nope", 2))
        self.assertEqual(str(raised.exception), "cannot stat the emulator /nope: No such file or directory")

    def test_a_root_is_refused_that_is_a_file_or_that_others_can_write(self) -> None:
        file = self.write_program("file", "")
        with self.assertRaises(errors.RootError) as raised:
            capscache.Cache(file)
        self.assertEqual(raised.exception.path, str(file))
        open_to_all = self.directory / "open"
        open_to_all.mkdir()
        os.chmod(open_to_all, 0o777)
        with self.assertRaises(errors.UnsafeError) as raised:
            capscache.Cache(open_to_all)
        self.assertEqual(raised.exception.path, str(open_to_all))

    def test_arguments_that_cannot_be_used_are_value_or_type_errors(self) -> None:
        for call, kind, text in [
            (lambda: self.cache.get("/x", ["nope"]), ValueError, 'group "nope" is unknown'),
            (lambda: self.cache.get("/x", "devices"), TypeError, "Can't extract `str`"),
            (lambda: self.cache.lookup("/x", "slow"), ValueError, 'validation "slow" is unknown'),
            (lambda: capscache.Cache("/x", failure_ttl=-1), ValueError, "failure_ttl: "),
            (lambda: capscache.Cache("/x", start_timeout=float("nan")), ValueError, "start_timeout: "),
            (lambda: capscache.Cache(1), TypeError, ""),
        ]:
            with self.assertRaisesRegex(kind, text):
                call()

    def test_an_error_is_copied_and_pickled_with_its_facts(self) -> None:
        with self.assertRaises(errors.NoEntryError) as raised:
            self.cache.lookup("/nope")
        error = raised.exception
        for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            self.assertIs(type(other), errors.NoEntryError)
            self.assertEqual((str(other), vars(other)), (str(error), vars(error)))

    def test_every_error_of_the_package_is_a_capscache_error_with_a_line_of_documentation(self) -> None:
        for name in errors.__all__:
            kind = getattr(errors, name)
            self.assertTrue(issubclass(kind, errors.CapscacheError), name)
            self.assertIn(name, errors.__doc__)
            self.assertTrue(kind.__doc__, name)


if __name__ == "__main__":
    unittest.main()
