//! Questions to the firmware descriptors of this host, in the words of QEMU's
//! `docs/interop/firmware.json`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use capscache::{Capabilities, Escaped, Tri};
use serde::Deserialize;

/// Longer than any descriptor.
const DESCRIPTOR_BYTES: u64 = 1 << 20;

/// What is asked of one descriptor: QAPI's `Firmware`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    #[serde(default)]
    interface_types: Vec<String>,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
}

/// QAPI's `FirmwareTarget`.
#[derive(Debug, Deserialize)]
struct Target {
    architecture: String,
}

/// Whether a firmware for the emulator's architecture has all of `words`, which commas separate:
/// `FirmwareOSInterface`s such as `uefi`, `FirmwareFeature`s such as `secure-boot`; and why.
pub(crate) fn answer(caps: &Capabilities, words: &str) -> (Tri, String) {
    among(caps.firmware_descriptors(), caps.arch(), words)
}

fn among(descriptors: Vec<PathBuf>, arch: &str, words: &str) -> (Tri, String) {
    let mut unreadable = None;
    for path in descriptors {
        match read(&path) {
            Ok(descriptor) if descriptor.has(arch, words) => {
                return (Tri::Yes, Escaped::new(&path).to_string());
            }
            Ok(_) => {}
            Err(error) => {
                let reason = || format!("{} cannot be read: {error}", Escaped::new(&path));
                unreadable.get_or_insert_with(reason);
            }
        }
    }
    match unreadable {
        Some(reason) => (Tri::Unknown, reason),
        None => (Tri::No, format!("no firmware descriptor for {arch} has {words}")),
    }
}

impl Descriptor {
    fn has(&self, arch: &str, words: &str) -> bool {
        let known =
            |word: &str| self.interface_types.iter().chain(&self.features).any(|one| one == word);
        self.targets.iter().any(|target| target.architecture == arch) && words.split(',').all(known)
    }
}

fn read(path: &Path) -> io::Result<Descriptor> {
    // What is no file may block whoever opens it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(DESCRIPTOR_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firmware_is_found_by_interface_features_and_architecture_in_one_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let secure = write(
            "50-secure.json",
            r#"{"description": "x", "interface-types": ["uefi"], "features": ["secure-boot", "requires-smm"],
                "mapping": {}, "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}], "tags": []}"#,
        );
        let plain = write(
            "60-plain.json",
            r#"{"interface-types": ["uefi"], "features": [],
                "targets": [{"architecture": "aarch64", "machines": ["virt*"]}, {"architecture": "i386"}]}"#,
        );
        let all = vec![secure.clone(), plain];
        let asked = |arch: &str, words: &str| among(all.clone(), arch, words);
        assert_eq!(asked("x86_64", "uefi"), (Tri::Yes, secure.display().to_string()));
        assert_eq!(asked("x86_64", "uefi,secure-boot").0, Tri::Yes);
        assert_eq!(asked("aarch64", "uefi").0, Tri::Yes);
        assert_eq!(asked("i386", "uefi,secure-boot").0, Tri::No);
        assert_eq!(
            asked("x86_64", "bios"),
            (Tri::No, "no firmware descriptor for x86_64 has bios".into())
        );
        assert_eq!(among(Vec::new(), "x86_64", "uefi").0, Tri::No);
        // What cannot be read may have it.
        let broken = write("70-broken.json", "{");
        let with_broken = [all, vec![broken, directory.path().to_owned()]].concat();
        assert_eq!(among(with_broken.clone(), "x86_64", "uefi").0, Tri::Yes);
        let (answer, reason) = among(with_broken, "x86_64", "bios");
        assert_eq!(answer, Tri::Unknown);
        assert!(reason.contains("70-broken.json cannot be read: "), "{reason}");
    }
}
