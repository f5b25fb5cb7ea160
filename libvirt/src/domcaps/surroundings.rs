//! The facts of a host that domain capabilities depend on.

use crate::caps::CpuData;
use crate::cpu_map::{CpuMap, GuestCpu};

/// Files of code of UEFI and templates of their variables, which libvirt has where no descriptor for the machine type
/// names a file.
pub const DEFAULT_FIRMWARE: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ("/usr/share/AAVMF/AAVMF32_CODE.fd", "/usr/share/AAVMF/AAVMF32_VARS.fd"),
    ("/usr/share/OVMF/OVMF_CODE.ms.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
];

/// The leaf of CPUID with the number of guests of AMD's encrypted virtualization.
const SEV_LEAF: u32 = 0x8000_001f;

/// The facts of a host. The default is a host of the emulator's architecture that has nothing and limits nothing.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'m> {
    /// The host's architecture in libvirt's vocabulary; `None` for the emulator's.
    pub host_arch: Option<String>,
    /// The largest number of CPUs of a guest of KVM; `None` if unknown.
    pub kvm_max_vcpus: Option<u32>,
    /// The number of bits of the host's physical addresses; `None` where libvirt does not read it.
    pub phys_addr_bits: Option<u32>,
    /// The firmware for the domain's machine type.
    pub firmware: LoaderFirmware,
    /// libvirt's map of CPU models, for the emulator's architecture ([`CpuMap::read_for`]).
    pub cpu_map: Option<&'m CpuMap>,
    /// The host's CPU in libvirt's words, for architectures whose QEMU does not report it (ppc64); `None` if unknown.
    pub host_cpu: Option<GuestCpu>,
    /// The number of encrypted guests on AMD.
    pub sev_guests: SevGuests,
    /// True if host devices can be assigned through VFIO: there is an IOMMU, and `/dev/vfio/vfio`.
    pub has_vfio: bool,
    /// True if the kernel has the interface IOMMUFD: there is `/dev/iommu`.
    pub has_iommufd: bool,
    /// The emulator of TPMs, if all its programs are installed.
    pub swtpm: Option<Swtpm>,
    /// True if the helper `qemu-rdp` is installed.
    pub has_rdp: bool,
}

/// The firmware of a host for one machine type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoaderFirmware {
    /// True if a firmware has the interface of a BIOS.
    pub bios: bool,
    /// True if a firmware has that of UEFI.
    pub efi: bool,
    /// True if a firmware requires the mode of system management.
    pub secure: bool,
    /// Files with code that exist, each once, in order of precedence.
    pub loaders: Vec<String>,
    /// The feature `secure-boot`.
    pub secure_boot: Presence,
    /// The feature `enrolled-keys`.
    pub enrolled_keys: Presence,
    /// True if a firmware has a template of a variable store of QEMU.
    pub has_varstore: bool,
}

/// The presence of a feature among the firmware for a machine type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// True if a firmware has it.
    pub some_have: bool,
    /// True if a firmware lacks it.
    pub some_lack: bool,
}

/// The numbers of encrypted guests that an AMD host can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SevGuests {
    /// Guests of SEV.
    pub max: u32,
    /// Guests of SEV-ES.
    pub max_es: u32,
}

/// The emulator of TPMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swtpm {
    /// True if it has TPM 1.2.
    pub has_1_2: bool,
    /// True if it has TPM 2.0.
    pub has_2_0: bool,
}

impl SevGuests {
    /// Returns the numbers in CPUID leaves: the leaf has the largest identity, and the smallest of a guest of plain SEV.
    pub fn of(data: &CpuData) -> SevGuests {
        let leaf = data.cpuid.iter().find(|leaf| (leaf.eax_in, leaf.ecx_in) == (SEV_LEAF, 0));
        match leaf.map(|leaf| (leaf.ecx, leaf.edx)) {
            Some((largest, smallest)) if largest != 0 && smallest != 0 => SevGuests {
                max: largest.wrapping_sub(smallest).wrapping_add(1),
                max_es: smallest - 1,
            },
            _ => SevGuests::default(),
        }
    }
}
