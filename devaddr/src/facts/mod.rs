//! Facts about an emulator that addresses depend on.

mod built_in;
mod entry;

use capscache_format::Version;
use serde::{Deserialize, Serialize};

/// Defines the devices whose presence decides between models and buses.
macro_rules! parts {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)+) => {
        /// A QOM type whose presence decides between models and buses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Part { $($(#[$meta])* $variant,)+ }

        impl Part {
            pub(crate) const ALL: &[Part] = &[$(Part::$variant,)+];

            /// QEMU's name of the type.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Part::$variant => $name,)+ }
            }
        }
    };
}

parts! {
    PcieRootPort = "pcie-root-port",
    Ioh3420 = "ioh3420",
    PciePciBridge = "pcie-pci-bridge",
    DmiBridge = "i82801b11-bridge",
    Gpex = "gpex-pcihost",
    Zpci = "zpci",
    Piix3Uhci = "piix3-usb-uhci",
    PciOhci = "pci-ohci",
    Ich9Ehci = "ich9-usb-ehci1",
    NecXhci = "nec-usb-xhci",
    QemuXhci = "qemu-xhci",
    Lsi = "lsi53c895a",
    VirtioScsi = "virtio-scsi-pci",
    Rtl8139 = "rtl8139",
    E1000 = "e1000",
    VirtioNet = "virtio-net-pci",
    Cirrus = "cirrus-vga",
    Vga = "VGA",
}

/// The source of [`Facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// The table of this crate: what QEMU since 4.2 has for the architecture, as it is usually built.
    BuiltIn,
    /// Answers of an emulator.
    Emulator,
}

/// Facts about an emulator: its architecture, default machine, and which devices it has.
///
/// [`Facts::built_in`] needs no emulator; [`Facts::from_entry`] takes the answers of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    source: Source,
    arch: String,
    version: Option<Version>,
    default_machine: Option<String>,
    parts: u32,
    unknown: u32,
}

impl Facts {
    /// The source of the facts.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The architecture, in libvirt's words.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// Returns true if the facts are about guests of an architecture: a table holds for all, and an emulator for 64 bits
    /// has the boards for 32 bits, too.
    pub fn hold_for(&self, arch: &str) -> bool {
        self.source == Source::BuiltIn
            || arch == self.arch
            || matches!(
                (arch, self.arch.as_str()),
                ("i686" | "x86_64", "i686" | "x86_64")
                    | ("armv6l" | "armv7l", "aarch64")
                    | ("armv6l", "armv7l")
                    | ("ppc" | "ppc64le", "ppc64")
                    | ("s390", "s390x")
            )
    }

    /// The version of the emulator; `None` for facts that belong to no particular one.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The machine type of a guest that names none.
    pub fn default_machine(&self) -> Option<&str> {
        self.default_machine.as_deref()
    }

    /// The QOM types about which the emulator gave no answer; the built-in table answered instead.
    pub fn unanswered(&self) -> impl Iterator<Item = &'static str> {
        Part::ALL.iter().filter(|part| self.unknown & bit(**part) != 0).map(|part| part.name())
    }

    /// Returns the facts of an emulator that lacks a device, by QEMU's name of its type; others are not changed.
    #[must_use]
    pub fn without(mut self, device: &str) -> Facts {
        if let Some(part) = Part::ALL.iter().find(|part| part.name() == device) {
            self.parts &= !bit(*part);
        }
        self
    }

    /// Returns what belongs to the first of the devices that the emulator has.
    pub(crate) fn first<T: Copy>(&self, parts: &[(Part, T)]) -> Option<T> {
        parts.iter().find(|(part, _)| self.has(*part)).map(|(_, of)| *of)
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts & bit(part) != 0
    }
}

fn bit(part: Part) -> u32 {
    1 << part as u32
}
