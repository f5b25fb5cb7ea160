"""The examples in `examples/drivers/`, on real emulators."""

import json
import os
import subprocess
import sys
import unittest

import capscache
from support import AVR, REPOSITORY, X86_64, Directory, kvm_works


class ExamplesTest(Directory):
    def run_example(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        program = REPOSITORY / "examples/drivers" / name
        command = [sys.executable, str(program), str(self.directory / "cache"), *arguments]
        environment = {**os.environ, "XDG_CONFIG_HOME": str(self.directory)}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def write_firmware(self) -> None:
        descriptor = {
            "interface-types": ["uefi"],
            "mapping": {"device": "memory", "filename": "/x"},
            "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
            "features": ["secure-boot"],
        }
        (self.directory / "qemu/firmware").mkdir(parents=True)
        (self.directory / "qemu/firmware/00-test.json").write_text(json.dumps(descriptor))

    def test_nova_reports_what_the_entry_has(self) -> None:
        self.write_firmware()
        run = self.run_example("nova.py", X86_64)
        self.assertEqual((run.stderr, run.returncode), ("", 0))
        found = json.loads(run.stdout)
        entry = capscache.Cache(self.directory / "cache").lookup(X86_64)
        self.assertEqual((found["version"], found["arch"]), (str(entry.version), "x86_64"))
        self.assertEqual(found["machines"][entry.machine("q35").name], entry.machine("q35").max_cpus)
        for trait, query in [
            ("COMPUTE_STORAGE_BUS_VIRTIO", "device:virtio-blk-pci"),
            ("COMPUTE_STORAGE_BUS_SATA", "device:ich9-ahci"),
            ("COMPUTE_NET_VIF_MODEL_E1000E", "device:e1000e"),
            ("COMPUTE_GRAPHICS_MODEL_CIRRUS", "device:cirrus-vga"),
            ("COMPUTE_VIOMMU_MODEL_INTEL", "device:intel-iommu"),
        ]:
            self.assertEqual(trait in found["traits"], entry.query(query), trait)
        self.assertIn("COMPUTE_SECURITY_UEFI_SECURE_BOOT", found["traits"])
        self.assertIn("COMPUTE_SECURITY_TPM_CRB", found["traits"])
        self.assertIn("max", found["usable_cpu_models"])
        if kvm_works():
            self.assertEqual(found["virt_type"], "kvm")
            self.assertIn("host", found["usable_cpu_models"])

    def test_nova_describes_an_emulator_of_another_architecture(self) -> None:
        run = self.run_example("nova.py", AVR)
        self.assertEqual((run.stderr, run.returncode), ("", 0))
        found = json.loads(run.stdout)
        self.assertEqual((found["arch"], found["virt_type"]), ("avr", "qemu"))
        self.assertNotIn("COMPUTE_SECURITY_UEFI_SECURE_BOOT", found["traits"])

    def test_virt_manager_describes_two_emulators_and_an_error(self) -> None:
        self.write_firmware()
        run = self.run_example("virt_manager.py", X86_64, AVR, "/nope")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stderr, "/nope: cannot stat the emulator /nope: No such file or directory\n")
        entry = capscache.Cache(self.directory / "cache").lookup(X86_64)
        lines = run.stdout.splitlines()
        self.assertEqual(lines[0], f"{X86_64} ({entry.version}, x86_64)")
        for line in (f"machine: {entry.machine('q35').name}", "secure boot: True", "video: virtio-vga", "tpm: tpm-crb"):
            self.assertIn(f"  {line}", lines)
        self.assertIn("  tpm: unknown", lines, "AVR has none")

    def test_avocado_answers_requirements_with_reasons(self) -> None:
        run = self.run_example("avocado.py", X86_64, "machine:q35", "property:vmgenid.guid", "version:>=4.2")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertEqual([line.split(" (")[0] for line in run.stdout.splitlines()],
                         ["machine:q35: yes", "property:vmgenid.guid: yes", "version:>=4.2: yes"])
        run = self.run_example("avocado.py", X86_64, "device:virtio-blk-pci", "device:nope")
        self.assertEqual(run.returncode, 1)
        self.assertIn('device:nope: no (the emulator has no type "nope")\n', run.stdout)
        run = self.run_example("avocado.py", AVR, "machine:uno", "cpu:avr6")
        self.assertEqual(run.returncode, 3, run.stdout)
        run = self.run_example("avocado.py", X86_64, "colour:red")
        self.assertEqual(run.returncode, 2)
        self.assertTrue(run.stderr.startswith('avocado: cannot parse the query "colour:red"'), run.stderr)


if __name__ == "__main__":
    unittest.main()
