//! The content of a descriptor (`qemuFirmwareParse` in libvirt's `src/qemu/qemu_firmware.c`). Description, tags and unknown keys
//! are not read.

use super::super::parts;
use super::json::Json;
use super::pattern;
use crate::arch;
use crate::release::Release;

/// The interfaces that libvirt knows; one of any other name makes a descriptor malformed.
const INTERFACES: [&str; 4] = ["bios", "openfirmware", "uboot", "uefi"];

/// Architectures of which libvirt has a name, and QEMU no emulator.
const WITHOUT_EMULATOR: [&str; 3] = ["ia64", "parisc", "parisc64"];

/// A part of a descriptor that a release cannot read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A firmware.
#[derive(Debug)]
pub(super) struct Descriptor {
    interfaces: Vec<String>,
    features: Vec<String>,
    targets: Vec<Target>,
    mapping: Mapping,
}

/// The file that a guest starts with.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    /// Its path, if it is listed as a loader.
    pub(super) loader: Option<String>,
    /// True if it has a template of a variable store of QEMU.
    pub(super) has_varstore: bool,
}

/// Machine types of an architecture.
#[derive(Debug)]
struct Target {
    /// libvirt's name; `None` where QEMU has no emulator.
    arch: Option<&'static str>,
    machines: Vec<String>,
}

impl Descriptor {
    /// Reads a descriptor as a release does.
    pub(super) fn parse(bytes: &[u8], release: Release) -> Result<Descriptor, Malformed> {
        // libvirt passes it on as a string of C.
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let json: Json = serde_json::from_slice(text).map_err(|_| Malformed("JSON"))?;
        if release.facts().rejects_repeated_keys && json.repeats_keys() {
            return Err(Malformed("JSON: a key is repeated"));
        }
        Ok(Descriptor {
            interfaces: interfaces(&json).ok_or(Malformed("interface-types"))?,
            mapping: mapping(&json, release).ok_or(Malformed("mapping"))?,
            targets: targets(&json, release).ok_or(Malformed("targets"))?,
            features: features(&json).ok_or(Malformed("features"))?,
        })
    }

    /// Returns true if it is for a machine type. `arch` is libvirt's name, `machine` not an alias.
    pub(super) fn runs_on(&self, arch: &str, machine: &str) -> bool {
        let mut targets = self.targets.iter().filter(|target| target.arch == Some(arch));
        targets.any(|target| target.machines.iter().any(|own| pattern::matches(own, machine)))
    }

    pub(super) fn has_interface(&self, name: &str) -> bool {
        self.interfaces.iter().any(|own| own == name)
    }

    pub(super) fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|own| own == name)
    }

    pub(super) fn into_mapping(self) -> Mapping {
        self.mapping
    }
}

fn interfaces(json: &Json) -> Option<Vec<String>> {
    let known = |item: &Json| {
        let name = item.as_text().filter(|name| INTERFACES.contains(name));
        name.map(str::to_owned)
    };
    json.list("interface-types")?.iter().map(known).collect()
}

/// Returns the features; those that are unknown, or not text, do not matter.
fn features(json: &Json) -> Option<Vec<String>> {
    let names = json.list("features")?.iter().filter_map(Json::as_text);
    Some(names.map(str::to_owned).collect())
}

fn mapping(json: &Json, release: Release) -> Option<Mapping> {
    let facts = release.facts();
    let mapping = json.get("mapping")?;
    let file = || {
        let name = mapping.text("filename").map(str::to_owned);
        (name.is_some() || !facts.needs_firmware_file).then_some(name)
    };
    match mapping.text("device")? {
        "flash" => flash(mapping),
        "memory" => {
            let store = mapping.get("uefi-vars").filter(|_| parts::has(release, "varstore"));
            // The release needs a template where there is a store.
            store.map_or(Some(""), |store| store.text("template"))?;
            Some(Mapping { loader: file()?, has_varstore: store.is_some() })
        }
        "kernel" if facts.has_kernel_firmware => file().map(|_| Mapping::default()),
        _ => None,
    }
}

fn flash(mapping: &Json) -> Option<Mapping> {
    let file = |json: &Json| json.text("format").and(json.text("filename")).map(str::to_owned);
    let mode = mapping.get("mode").map_or(Some("split"), Json::as_text)?;
    let loader = file(mapping.get("executable")?)?;
    match mode {
        // The template of variables is read only where it is used.
        "split" => file(mapping.get("nvram-template")?).map(drop)?,
        "combined" | "stateless" => {}
        _ => return None,
    }
    Some(Mapping { loader: Some(loader), has_varstore: false })
}

fn targets(json: &Json, release: Release) -> Option<Vec<Target>> {
    let read = |target: &Json| {
        let name = target.text("architecture")?;
        let arch = arch::name(name, release);
        let is_known = arch.is_some() || WITHOUT_EMULATOR.contains(&name);
        // A pattern that is not text matches nothing.
        let machines = target.list("machines")?.iter().filter_map(Json::as_text);
        let machines = machines.map(str::to_owned).collect();
        is_known.then_some(Target { arch, machines })
    };
    json.list("targets")?.iter().map(read).collect()
}
