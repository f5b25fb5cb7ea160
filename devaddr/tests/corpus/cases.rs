//! The guests of libvirt, and the facts about the emulators that it had for them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use capscache_devaddr::{Definition, Facts, Policy};
use capscache_format::{Accelerator, Entry};
use capscache_probe::replay_under;

/// The version that `latest` stands for, by architecture.
pub(crate) const LATEST: &[(&str, &str)] = &[
    ("x86_64", "10.0.0"),
    ("s390x", "10.0.0"),
    ("aarch64", "8.2.0"),
    ("armv7l", "8.2.0"),
    ("loongarch64", "8.2.0"),
    ("ppc64", "7.1.0"),
    ("riscv64", "9.1.0"),
    ("ppc", "7.2.0"),
    ("sparc", "9.0.0"),
];

/// A guest, and the name of the emulator that libvirt had for it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) guest: PathBuf,
    pub(crate) arch: String,
    pub(crate) version: String,
    pub(crate) variant: String,
    /// True if libvirt read the guest as a new one.
    pub(crate) is_new: bool,
    pub(crate) result: PathBuf,
}

impl Case {
    /// The name of the recording of its emulator.
    pub(crate) fn recording(&self) -> String {
        let plus = if self.variant.is_empty() { "" } else { "+" };
        format!("caps_{}_{}{plus}{}.replies", self.version, self.arch, self.variant)
    }
}

/// Returns the entry of the emulator of a case; `None` if there is no recording of it.
pub(crate) fn entry(folder: &Path, case: &Case) -> Option<Entry<Vec<u8>>> {
    let text = fs::read_to_string(folder.join("corpus").join(case.recording())).ok()?;
    let first = (case.variant == "hvf").then_some(Accelerator::Hvf);
    let model = replay_under(&text, first).unwrap();
    Some(Entry::open(model.encode().unwrap()).unwrap())
}

pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/libvirt");
    let folder = std::env::var_os("CAPSCACHE_LIBVIRT_CORPUS").map_or_else(beside, PathBuf::from);
    if folder.join("guests").is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: libvirt's guests are not there: {}", folder.display());
    None
}

/// The cases whose result has this extension: `xml` or `err`.
pub(crate) fn cases(folder: &Path, extension: &str) -> Vec<Case> {
    let files = fs::read_dir(folder.join("guests")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let case = |name: &String| {
        let stem = name.strip_suffix(&format!(".{extension}"))?;
        // NAME.ARCH-VERSION+VARIANT: an architecture has no dot, a name and a version may.
        let at = LATEST.iter().filter_map(|(arch, _)| stem.rfind(&format!(".{arch}-"))).max()?;
        let (case, rest) = (&stem[..at], &stem[at + 1..]);
        let (rest, is_new) = match rest.strip_suffix(".abi-update") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (arch, version) = rest.split_once('-')?;
        let (version, variant) = version.split_once('+').unwrap_or((version, ""));
        let guest = folder.join("guests").join(format!("{case}.xml"));
        let latest = LATEST.iter().find(|(latest, _)| *latest == arch)?.1;
        guest.is_file().then(|| Case {
            name: stem.to_owned(),
            guest,
            arch: arch.to_owned(),
            version: if version == "latest" { latest } else { version }.to_owned(),
            variant: variant.to_owned(),
            is_new,
            result: folder.join("guests").join(name),
        })
    };
    names.iter().filter_map(case).collect()
}

/// Facts from the recordings of emulators; built-in ones where there is no recording.
pub(crate) struct Emulators {
    pub(crate) folder: PathBuf,
    pub(crate) known: HashMap<String, Facts>,
}

impl Emulators {
    pub(crate) fn facts(&mut self, case: &Case) -> Facts {
        let read = || match entry(&self.folder, case) {
            Some(entry) => Facts::from_entry(&entry),
            None => Facts::built_in(&case.arch),
        };
        self.known.entry(case.recording()).or_insert_with(read).clone()
    }
}

/// The policy with which libvirt wrote a result: it read most guests as if they had been defined before.
pub(crate) fn policy(case: &Case) -> Policy {
    let definition = if case.is_new { Definition::New } else { Definition::Existing };
    Policy { definition, ..Policy::default() }
}

/// The settings under which libvirt ran some cases, which no guest shows: the name and the setting of each.
pub(crate) fn special(folder: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder.join("guests-special.tsv")).unwrap_or_default();
    let row = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
    text.lines().skip(1).filter_map(row).collect()
}

/// Devices that a setting takes away from the emulator, by libvirt's names of its flags.
const REMOVED: &[(&str, &str)] = &[
    ("QEMU_CAPS_DEVICE_QEMU_XHCI", "qemu-xhci"),
    ("QEMU_CAPS_NEC_USB_XHCI", "nec-usb-xhci"),
    ("QEMU_CAPS_PCI_OHCI", "pci-ohci"),
    ("QEMU_CAPS_ICH9_USB_EHCI1", "ich9-usb-ehci1"),
    ("QEMU_CAPS_PIIX3_USB_UHCI", "piix3-usb-uhci"),
    ("QEMU_CAPS_DEVICE_PCIE_ROOT_PORT", "pcie-root-port"),
    ("QEMU_CAPS_DEVICE_IOH3420", "ioh3420"),
    ("QEMU_CAPS_DEVICE_PCIE_PCI_BRIDGE", "pcie-pci-bridge"),
    ("QEMU_CAPS_OBJECT_GPEX", "gpex-pcihost"),
    ("QEMU_CAPS_DEVICE_ZPCI", "zpci"),
    ("QEMU_CAPS_SCSI_LSI", "lsi53c895a"),
    ("QEMU_CAPS_VIRTIO_SCSI", "virtio-scsi-pci"),
    ("QEMU_CAPS_DEVICE_CIRRUS_VGA", "cirrus-vga"),
    ("QEMU_CAPS_DEVICE_VGA", "VGA"),
    ("QEMU_CAPS_DEVICE_RTL8139", "rtl8139"),
    ("QEMU_CAPS_DEVICE_E1000", "e1000"),
];

/// Applies a setting to the facts, where it takes devices away.
pub(crate) fn apply(facts: Facts, setting: &str) -> Facts {
    let Some((_, flags)) = setting.split_once("ARG_QEMU_CAPS_DEL") else { return facts };
    let flags = flags.split(',').map(str::trim).take_while(|flag| *flag != "QEMU_CAPS_LAST");
    let device = |flag: &str| REMOVED.iter().find(|(name, _)| *name == flag);
    flags.filter_map(device).fold(facts, |facts, (_, device)| facts.without(device))
}
