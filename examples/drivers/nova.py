"""The questions of OpenStack's nova at the start of a compute node: what it reads from libvirt's domain capabilities, and
reports to placement as traits (os-traits).

    python3 nova.py ROOT EMULATOR

Not in QEMU's answers, and so not here: the number of guests that SEV can encrypt (CPUID of the host), devices of the host
that guests can have (sysfs), and whether the host's `swtpm` can emulate a TPM.
"""

import json
import sys

import capscache

# Devices of QEMU; of several, one suffices.
DEVICES = {
    "COMPUTE_GRAPHICS_MODEL_BOCHS": ["bochs-display"],
    "COMPUTE_GRAPHICS_MODEL_CIRRUS": ["cirrus-vga"],
    "COMPUTE_GRAPHICS_MODEL_QXL": ["qxl-vga"],
    "COMPUTE_GRAPHICS_MODEL_VGA": ["VGA"],
    "COMPUTE_GRAPHICS_MODEL_VIRTIO": ["virtio-vga", "virtio-gpu-pci", "virtio-gpu-ccw"],
    "COMPUTE_GRAPHICS_MODEL_VMVGA": ["vmware-svga"],
    "COMPUTE_NET_VIF_MODEL_E1000": ["e1000"],
    "COMPUTE_NET_VIF_MODEL_E1000E": ["e1000e"],
    "COMPUTE_NET_VIF_MODEL_RTL8139": ["rtl8139"],
    "COMPUTE_NET_VIF_MODEL_VIRTIO": ["virtio-net-pci", "virtio-net-ccw"],
    "COMPUTE_STORAGE_BUS_FDC": ["floppy"],
    "COMPUTE_STORAGE_BUS_IDE": ["piix3-ide", "piix4-ide"],
    "COMPUTE_STORAGE_BUS_SATA": ["ich9-ahci"],
    "COMPUTE_STORAGE_BUS_SCSI": ["virtio-scsi-pci", "virtio-scsi-ccw"],
    "COMPUTE_STORAGE_BUS_USB": ["usb-storage"],
    "COMPUTE_STORAGE_BUS_VIRTIO": ["virtio-blk-pci", "virtio-blk-ccw"],
    "COMPUTE_VIOMMU_MODEL_INTEL": ["intel-iommu"],
    "COMPUTE_VIOMMU_MODEL_VIRTIO": ["virtio-iommu-pci"],
}

# Features of the CPU, by QEMU's names.
FEATURES = {
    "HW_CPU_X86_AESNI": "aes",
    "HW_CPU_X86_AVX": "avx",
    "HW_CPU_X86_AVX2": "avx2",
    "HW_CPU_X86_AVX512F": "avx512f",
    "HW_CPU_X86_FMA3": "fma",
    "HW_CPU_X86_SSE42": "sse4.2",
    "HW_CPU_X86_SVM": "svm",
    "HW_CPU_X86_VMX": "vmx",
}


def device_traits(entry):
    """Traits of devices that QEMU can create."""
    return [
        trait
        for trait, devices in DEVICES.items()
        if any(entry.query(f"device:{device}") for device in devices)
    ]


def cpu_traits(export):
    """Traits of the CPU that a guest can have here under KVM: those of `-cpu host`."""
    expansions = export["accelerators"].get("kvm", {}).get("host-cpu") or []
    for expansion in expansions:
        if expansion["arguments"]["type"] == "full" and expansion["return"] is not None:
            properties = expansion["return"]["model"]["props"]
            return [trait for trait, feature in FEATURES.items() if properties.get(feature) is True]
    return []


def security_traits(entry, export):
    """Traits of secure boot, TPM and encrypted memory."""
    traits = []
    if entry.query("firmware:uefi,secure-boot"):
        traits.append("COMPUTE_SECURITY_UEFI_SECURE_BOOT")
    if "emulator" in (export.get("tpm-types") or []):
        models = export.get("tpm-models") or []
        traits += [
            trait
            for trait, model in [
                ("COMPUTE_SECURITY_TPM_TIS", "tpm-tis"),
                ("COMPUTE_SECURITY_TPM_CRB", "tpm-crb"),
            ]
            if model in models
        ]
    # null: the host or its kernel does not have it.
    if export.get("sev-capabilities") is not None:
        traits.append("HW_CPU_X86_AMD_SEV")
    return traits


def describe(entry):
    """Returns the facts that nova stores about an emulator."""
    export = json.loads(entry.json())
    try:
        models = {name: entry.cpu_model(name) for name in entry.cpu_models()}
    except capscache.errors.UnknownError:  # not every architecture has a list
        models = {}
    return {
        "emulator": entry.emulator,
        "version": str(entry.version),
        "arch": entry.arch,
        "virt_type": "kvm" if entry.has_accelerator("kvm") else "qemu",
        "machines": {
            name: entry.machine(name).max_cpus
            for name in entry.machines()
            if not entry.machine(name).is_deprecated
        },
        "usable_cpu_models": sorted(name for name, model in models.items() if model.is_usable),
        "traits": sorted(device_traits(entry) + cpu_traits(export) + security_traits(entry, export)),
    }


def main():
    _, root, emulator = sys.argv
    with capscache.Cache(root) as cache:
        print(json.dumps(describe(cache.get(emulator)), indent=2))


if __name__ == "__main__":
    main()
