"""The questions of virt-manager and virt-install before they offer a new guest: defaults that this host supports.

    python3 virt_manager.py ROOT [EMULATOR…]

Without emulators all of this host are described, at the same time. What they also need and QEMU does not report: the
operating systems that guests can have (libosinfo), storage pools and networks (libvirt).
"""

import asyncio
import sys

import capscache


def defaults(entry):
    """Defaults of a guest, in the order in which they are chosen."""
    accelerator = entry.best_accelerator
    try:
        machine = entry.machine("q35")
    except capscache.errors.AbsentError:
        machine = entry.machine("virt") if entry.query("machine:virt") else None
    if machine is None and any(entry.machine(name).is_default for name in entry.machines()):
        machine = entry.default_machine()
    firmware = [] if machine is None else [content for _, content in entry.firmware(machine.name)]
    is_yes = entry.query  # None, unknown, is not yes
    return {
        "accelerator": accelerator,
        "machine": machine.name if machine else None,
        "cpu": "host" if accelerator == "kvm" else "max" if is_yes("cpu-model:max") else None,
        "max cpus": machine.max_cpus if machine else None,
        "uefi": any("uefi" in one["interface-types"] for one in firmware),
        "secure boot": any("secure-boot" in one["features"] for one in firmware),
        "video": next((one for one in ("virtio-vga", "VGA", "virtio-gpu-pci") if is_yes(f"device:{one}")), None),
        "spice": is_yes("option:spice"),
        "tpm": next((one for one in ("tpm-crb", "tpm-tis") if is_yes(f"device:{one}")), None),
        # virtiofs: the guest's memory is shared with its daemon.
        "shared folders": is_yes("device:vhost-user-fs-pci") and is_yes("type:memory-backend-memfd"),
    }


async def main():
    root, *emulators = sys.argv[1:]
    async with capscache.AsyncCache(capscache.Cache(root)) as cache:
        emulators = emulators or capscache.find_emulators()
        entries = await asyncio.gather(*map(cache.get, emulators), return_exceptions=True)
    for emulator, entry in zip(emulators, entries):
        if isinstance(entry, capscache.CapscacheError):
            print(f"{emulator}: {entry}", file=sys.stderr)
        elif isinstance(entry, BaseException):
            raise entry
        else:
            print(f"{emulator} ({entry.version}, {entry.arch})")
            for name, value in defaults(entry).items():
                print(f"  {name}: {'unknown' if value is None else value}")


if __name__ == "__main__":
    asyncio.run(main())
