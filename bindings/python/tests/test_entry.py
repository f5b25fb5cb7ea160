"""The answers of an entry, compared with what `capscache export` would print."""

import json
import os
import unittest
from pathlib import Path

import capscache
from capscache import errors
from support import AVR, X86_64, Directory, Probed, kvm_works


class EntryTest(Probed):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.export = json.loads(cls.entry.json())

    def test_an_emulator_is_described_as_in_its_export(self) -> None:
        entry, export = self.entry, self.export
        self.assertEqual(entry.version._asdict(), export["version"])
        self.assertEqual(str(entry.version), "{major}.{minor}.{micro}".format(**export["version"]))
        self.assertGreater(entry.version, (4, 2))
        self.assertEqual(
            (entry.emulator, entry.executable, entry.package, entry.arch),
            (export["emulator"], export["executable"], export["package"], export["arch"]),
        )
        self.assertEqual(entry.best_accelerator, next(iter(export["accelerators"])))
        self.assertEqual(repr(entry), f"<capscache.Entry '{X86_64}' QEMU {entry.version} x86_64>")

    def test_lists_equal_those_of_the_export_and_are_built_once(self) -> None:
        entry, export = self.entry, self.export
        tcg = export["accelerators"]["tcg"]

        def names(objects: list) -> tuple:
            return tuple(one["name"] for one in objects)

        for make, expected in [
            (lambda: entry.machines("tcg"), names(tcg["machines"])),
            (lambda: entry.cpu_models("tcg"), names(tcg["cpu-definitions"])),
            (entry.types, names(export["types"])),
            (entry.commands, tuple(export["commands"])),
            (entry.events, tuple(export["events"])),
            (entry.accelerators_present, tuple(export["accelerators-present"])),
            (lambda: entry.properties("virtio-blk-pci"), names(export["devices"]["virtio-blk-pci"])),
        ]:
            self.assertEqual(make(), expected)
            self.assertIs(make(), make())
        self.assertIn("virtio-blk-pci", entry.devices())
        self.assertIn("memory-backend-memfd", entry.objects())

    def test_every_machine_equals_the_reply_of_qemu(self) -> None:
        for reply in self.export["accelerators"]["tcg"]["machines"]:
            machine = self.entry.machine(reply["name"], "tcg")
            self.assertEqual(machine.name, reply["name"])
            for attribute, key in [
                ("alias", "alias"),
                ("max_cpus", "cpu-max"),
                ("is_deprecated", "deprecated"),
                ("has_hotpluggable_cpus", "hotpluggable-cpus"),
                ("has_numa_memory", "numa-mem-supported"),
                ("has_acpi", "acpi"),
                ("default_cpu_type", "default-cpu-type"),
                ("default_ram_id", "default-ram-id"),
            ]:
                self.assertEqual(getattr(machine, attribute), reply.get(key), f"{machine} {key}")
            self.assertIs(machine.is_default, reply.get("is-default", False))
        q35 = self.entry.machine("q35")
        self.assertEqual((q35.alias, self.entry.machine(q35.name).alias), ("q35", "q35"))
        self.assertIs(self.entry.default_machine("tcg").is_default, True)

    def test_every_cpu_model_equals_the_reply_of_qemu(self) -> None:
        for reply in self.export["accelerators"]["tcg"]["cpu-definitions"]:
            model = self.entry.cpu_model(reply["name"], "tcg")
            features = reply.get("unavailable-features")
            self.assertEqual(model.unavailable_features, None if features is None else tuple(features))
            self.assertEqual(model.is_usable, None if features is None else not features)
            self.assertEqual(model.type_name, reply.get("typename"))
            self.assertEqual(model.alias_of, reply.get("alias-of"))
            self.assertEqual(model.is_migration_safe, reply.get("migration-safe"))
            self.assertEqual((model.is_static, model.is_deprecated), (reply["static"], reply["deprecated"]))

    def test_what_was_not_reported_is_unknown_and_neither_absent_nor_empty(self) -> None:
        with capscache.Cache(self.root) as cache:
            entry = cache.get(AVR)
        with self.assertRaises(errors.UnknownError):
            entry.cpu_models()
        with self.assertRaises(errors.UnknownError):
            entry.cpu_model("avr5")
        with self.assertRaises(errors.AbsentError) as raised:
            entry.default_machine()
        self.assertEqual((raised.exception.what, raised.exception.name), ("machine", "default"))

    def test_a_property_has_its_default_as_a_value_of_python(self) -> None:
        for reply in self.export["devices"]["virtio-blk-pci"]:
            found = self.entry.property("virtio-blk-pci", reply["name"])
            self.assertEqual((found.name, found.type_name), (reply["name"], reply["type"]))
            self.assertEqual(found.description, reply.get("description"))
            self.assertEqual(found.has_default, "default-value" in reply)
            self.assertEqual(found.default, reply.get("default-value"))
            self.assertIs(type(found.default), type(reply.get("default-value")))

    def test_queries_are_true_false_or_none(self) -> None:
        for text, answer in [
            ("machine:q35", True),
            ("machine:nope", False),
            ("property:vmgenid.guid", None),
            ("version:>=4.2", True),
            ("version:<4.2", False),
        ]:
            self.assertIs(self.entry.query(text), answer, text)
            self.assertIs(self.entry.query(capscache.Query(text)), answer, text)
        self.assertEqual(self.entry.groups_for("property:vmgenid.guid"), ("devices",))
        self.assertEqual(self.entry.explain("device:nope"), 'the emulator has no type "nope"')

    def test_flags_are_those_of_a_release_of_libvirt(self) -> None:
        self.assertIs(self.entry.query(capscache.Query("flag:virtio-gpu", libvirt="11.3")), True)
        self.assertIs(self.entry.query(capscache.Query("flag:nvme", libvirt="12.8.0")), True)
        reason = self.entry.explain(capscache.Query("flag:virtio-gpu", libvirt="9.0"))
        self.assertEqual(reason, "libvirt 9.0 would set the flag for what the emulator reports")
        self.assertEqual(self.entry.groups_for("flag:virtio-gpu"), ())
        with self.assertRaisesRegex(errors.InvalidQueryError, "libvirt 11.3 does not have it, and 12.8 does"):
            capscache.Query("flag:nvme", libvirt="11.3")
        with self.assertRaisesRegex(ValueError, "known are 9.0, 10.0, 11.3, 12.8"):
            capscache.Query("machine:q35", libvirt="8.0")
        flag = capscache.Query("flag:virtio-gpu", libvirt="11.3")
        self.assertEqual(flag, capscache.Query("flag:virtio-gpu", libvirt="11.3.0"))
        self.assertNotEqual(flag, capscache.Query("flag:virtio-gpu", libvirt="9.0"))

    def test_cpu_types_have_the_properties_that_were_queried_of_objects(self) -> None:
        objects = self.export["objects"]["max-x86_64-cpu"]
        self.assertEqual(self.entry.properties("max-x86_64-cpu"), tuple(one["name"] for one in objects))
        self.assertEqual(self.entry.property("max-x86_64-cpu", "pmu").type_name, "bool")
        self.assertIs(self.entry.query("property:max-x86_64-cpu.pmu"), True)
        self.assertEqual(self.entry.groups_for("property:max-x86_64-cpu.no-such"), ())

    def test_queries_are_compared_by_their_meaning(self) -> None:
        query = capscache.Query("cpu:EPYC@kvm")
        self.assertEqual(query, capscache.Query("cpu:EPYC@kvm"))
        self.assertNotEqual(query, capscache.Query("cpu:EPYC"))
        self.assertEqual(len({query, capscache.Query("cpu:EPYC@kvm")}), 1)
        self.assertEqual((str(query), repr(query)), ("cpu:EPYC@kvm", 'capscache.Query("cpu:EPYC@kvm")'))

    def test_accelerators_work_or_have_a_reason(self) -> None:
        self.assertIs(self.entry.has_accelerator("tcg"), True)
        self.assertIsNone(self.entry.accelerator_reason("tcg"))
        self.assertIs(self.entry.has_accelerator("hvf"), False)
        self.assertEqual(self.entry.accelerator_reason("hvf"), "it cannot run under hvf, which is not built in")
        if kvm_works():
            self.assertEqual(self.entry.best_accelerator, "kvm")
            self.assertEqual(self.entry.cpu_model("host").is_usable, True)

    def test_what_has_no_value_raises_an_error_with_its_facts(self) -> None:
        entry = self.entry
        for call, kind, facts in [
            (lambda: entry.machine("nope"), errors.AbsentError, {"what": "machine", "name": "nope"}),
            (lambda: entry.cpu_model("nope"), errors.AbsentError, {"what": "CPU model", "name": "nope"}),
            (lambda: entry.machines("hvf"), errors.AbsentError, {"what": "accelerator", "name": "hvf"}),
            (lambda: entry.properties("nope"), errors.AbsentError, {"what": "object", "name": "nope"}),
            (
                lambda: entry.property("vmgenid", "guid"),
                errors.NotProbedError,
                {"what": "device", "name": "vmgenid", "group": "devices"},
            ),
        ]:
            with self.assertRaises(LookupError) as raised:
                call()
            self.assertIs(type(raised.exception), kind)
            self.assertEqual(vars(raised.exception), facts)
        with self.assertRaises(errors.InvalidQueryError):
            entry.query("colour:red")
        with self.assertRaisesRegex(ValueError, 'accelerator "xen" is unknown: names are kvm, hvf, tcg, qtest'):
            entry.machine("q35", "xen")
        with self.assertRaisesRegex(TypeError, "a query is text or a capscache.Query"):
            entry.query(1)

    def test_an_entry_is_opened_in_a_file_that_is_passed(self) -> None:
        (file,) = [file for file in Path(self.root).rglob("*") if file.is_file() and file.stat().st_size > 10_000]
        with open(file, "rb") as opened:
            entry = capscache.Entry.in_file(f"/proc/self/fd/{opened.fileno()}")
        self.assertEqual(entry.json(), self.entry.json())
        with self.assertRaises(errors.DamagedError):
            capscache.Entry.in_file("/dev/null")
        with self.assertRaises(errors.EntryError) as raised:
            capscache.Entry.in_file("/nope")
        self.assertEqual((raised.exception.action, raised.exception.errno), ("read", 2))


class FirmwareTest(Directory):
    def test_firmware_is_found_for_a_machine_as_its_descriptor_says(self) -> None:
        descriptor = {
            "description": "test",
            "interface-types": ["uefi"],
            "mapping": {"device": "memory", "filename": "/x"},
            "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
            "features": ["secure-boot", "requires-smm"],
            "tags": [],
        }
        configuration = self.directory / "qemu/firmware"
        configuration.mkdir(parents=True)
        file = configuration / "00-test.json"
        file.write_text(json.dumps(descriptor))
        before = os.environ.get("XDG_CONFIG_HOME")
        os.environ["XDG_CONFIG_HOME"] = str(self.directory)
        try:
            entry = capscache.Cache(self.directory / "cache").get(X86_64)
            self.assertEqual(entry.firmware("q35")[0], (str(file), descriptor))
            self.assertNotIn(str(file), [path for path, _ in entry.firmware("pc")])
            self.assertIs(entry.query("firmware:uefi,secure-boot"), True)
            self.assertEqual(entry.explain("firmware:uefi,secure-boot"), str(file))
            self.assertIs(entry.query("firmware:uefi,no-such"), False)
            # Entries do not contain it.
            file.write_text("")
            self.assertNotEqual(entry.explain("firmware:uefi,secure-boot"), str(file))
        finally:
            if before is None:
                del os.environ["XDG_CONFIG_HOME"]
            else:
                os.environ["XDG_CONFIG_HOME"] = before


if __name__ == "__main__":
    unittest.main()
