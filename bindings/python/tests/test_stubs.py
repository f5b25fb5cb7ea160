"""The stubs describe the extension module as it is."""

import ast
import importlib.metadata
import inspect
import re
import unittest
from pathlib import Path

import capscache
from capscache import _native


class StubsTest(unittest.TestCase):
    def setUp(self) -> None:
        package = Path(capscache.__file__).parent
        self.assertTrue((package / "py.typed").exists())
        self.stubs = ast.parse((package / "_native.pyi").read_text())

    def test_every_class_function_and_attribute_is_described_and_no_other(self) -> None:
        def names(body: list) -> set:
            defined = {one.name for one in body if isinstance(one, (ast.ClassDef, ast.FunctionDef))}
            return defined | {one.target.id for one in body if isinstance(one, ast.AnnAssign)}

        def public(module_or_class: object) -> set:
            return {name for name in vars(module_or_class) if not name.startswith("_")}

        described = names(self.stubs.body)
        self.assertEqual({name for name in described if not name.startswith("_")}, public(_native))
        for stub in self.stubs.body:
            if isinstance(stub, ast.ClassDef):
                described = {name for name in names(stub.body) if not name.startswith("_")}
                self.assertEqual(described, public(getattr(_native, stub.name)), stub.name)

    def test_parameters_and_documentation_are_those_of_the_module(self) -> None:
        checked = 0
        for stub in self.stubs.body:
            if not isinstance(stub, ast.ClassDef):
                continue
            for method in stub.body:
                if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                    continue
                found = getattr(getattr(_native, stub.name), method.name)
                if found.__doc__:
                    # The stubs may say more than the module.
                    described, real = (re.sub(r"\s+", " ", text) for text in (ast.get_docstring(method), found.__doc__))
                    self.assertEqual(described[:40], real[:40], f"{stub.name}.{method.name}")
                if callable(found):
                    arguments = method.args.args + method.args.kwonlyargs
                    parameters = [name for name in inspect.signature(found).parameters if name not in ("self", "cls")]
                    self.assertEqual([one.arg for one in arguments if one.arg != "self"], parameters, method.name)
                    defaults = len([one for one in method.args.defaults if one is not None])
                    real_defaults = [
                        one for one in inspect.signature(found).parameters.values() if one.default is not one.empty
                    ]
                    self.assertEqual(defaults, len(real_defaults), method.name)
                checked += 1
        self.assertGreater(checked, 40)

    def test_the_version_is_that_of_the_package(self) -> None:
        self.assertRegex(capscache.__version__, r"^\d+\.\d+\.\d+$")
        self.assertEqual(capscache.__version__, importlib.metadata.version("capscache"))
        for name in capscache.__all__:
            self.assertTrue(hasattr(capscache, name), name)


if __name__ == "__main__":
    unittest.main()
