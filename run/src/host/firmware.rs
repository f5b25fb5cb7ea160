//! Descriptions of firmware on the host: `docs/interop/firmware.json` of QEMU.

use serde_json::Value;

/// A description of firmware.
///
/// A host has them in `/usr/share/qemu/firmware` and `/etc/qemu/firmware`: of files of the same name, that of the
/// second directory counts, and an empty file hides the other. Sorted by their names, the first has the highest
/// priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    pub(crate) interfaces: Vec<String>,
    pub(crate) mapping: Mapping,
    pub(crate) targets: Vec<Target>,
    pub(crate) features: Vec<String>,
}

/// The way in which firmware gets into a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// In flash.
    Flash(Flash),
    /// Loaded in place of a kernel.
    Kernel(String),
    /// In memory.
    Memory(String),
}

/// Firmware in flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flash {
    pub(crate) mode: FlashMode,
    pub(crate) executable: Image,
}

/// The place of the variables of firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FlashMode {
    /// In a file of their own, with a template for it.
    Split(Image),
    /// In the file of the code.
    Combined,
    /// There are none.
    Stateless,
}

/// A file and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) path: String,
    pub(crate) format: String,
}

/// An architecture in libvirt's words, and patterns of the names of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) arch: String,
    pub(crate) machines: Vec<String>,
}

/// The interfaces of firmware.
const INTERFACES: &[&str] = &["bios", "openfirmware", "uboot", "uefi"];

impl Firmware {
    /// Reads a description; `None` if it is not valid, in which case libvirt does not use it either.
    pub fn from_json(text: &str) -> Option<Firmware> {
        let value: Value = serde_json::from_str(text).ok()?;
        let interfaces = strings(value.get("interface-types")?)?;
        if !interfaces.iter().all(|interface| INTERFACES.contains(&interface.as_str())) {
            return None;
        }
        let targets = value.get("targets")?.as_array()?.iter().map(target);
        Some(Firmware {
            interfaces,
            mapping: mapping(value.get("mapping")?)?,
            targets: targets.collect::<Option<_>>()?,
            features: strings(value.get("features")?)?,
        })
    }

    pub(crate) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn target(value: &Value) -> Option<Target> {
    let arch = match value.get("architecture")?.as_str()? {
        "i386" => "i686",
        "arm" => "armv7l",
        arch => arch,
    };
    Some(Target { arch: arch.to_owned(), machines: strings(value.get("machines")?)? })
}

fn mapping(value: &Value) -> Option<Mapping> {
    match value.get("device")?.as_str()? {
        "flash" => {
            let mode = match value.get("mode") {
                None => "split",
                Some(mode) => mode.as_str()?,
            };
            let mode = match mode {
                "split" => FlashMode::Split(image(value.get("nvram-template")?)?),
                "combined" => FlashMode::Combined,
                "stateless" => FlashMode::Stateless,
                _ => return None,
            };
            let executable = image(value.get("executable")?)?;
            Some(Mapping::Flash(Flash { mode, executable }))
        }
        "kernel" => text(value, "filename").map(Mapping::Kernel),
        "memory" => text(value, "filename").map(Mapping::Memory),
        _ => None,
    }
}

fn image(value: &Value) -> Option<Image> {
    Some(Image { path: text(value, "filename")?, format: text(value, "format")? })
}
