//! Questions to the firmware descriptors of this host, in the words of QEMU's
//! `docs/interop/firmware.json`.

use capscache::{Capabilities, Escaped, Firmware, FirmwareList, Tri};

use crate::output;

/// Whether a firmware for the emulator's architecture has all of `words`, which commas separate:
/// `FirmwareOSInterface`s such as `uefi`, `FirmwareFeature`s such as `secure-boot`; and why.
pub(crate) fn answer(caps: &Capabilities, words: &str) -> (Tri, String) {
    among(&FirmwareList::of_this_host(), caps.arch(), words)
}

/// The firmware for an architecture, that which takes precedence first.
pub(crate) fn for_arch<'a>(
    list: &'a FirmwareList,
    arch: &'a str,
) -> impl Iterator<Item = &'a Firmware> {
    list.found.iter().filter(move |found| found.descriptor.machines(arch).next().is_some())
}

fn among(list: &FirmwareList, arch: &str, words: &str) -> (Tri, String) {
    if let Some(firmware) = for_arch(list, arch).find(|firmware| has(firmware, words)) {
        return (Tri::Yes, Escaped::new(&firmware.path).to_string());
    }
    match list.broken.first() {
        Some(error) => (Tri::Unknown, output::chain(error)),
        None => (Tri::No, format!("no firmware descriptor for {arch} has {words}")),
    }
}

fn has(firmware: &Firmware, words: &str) -> bool {
    let descriptor = &firmware.descriptor;
    let known = descriptor.interface_types.iter().chain(&descriptor.features);
    words.split(',').all(|word| known.clone().any(|one| one == word))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_firmware_is_found_by_interface_features_and_architecture_in_one_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write(
            "50-secure.json",
            r#"{"interface-types": ["uefi"], "features": ["secure-boot", "requires-smm"],
                "mapping": {"device": "memory", "filename": "/x"},
                "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}]}"#,
        );
        write(
            "60-plain.json",
            r#"{"interface-types": ["uefi"], "features": [],
                "mapping": {"device": "memory", "filename": "/x"},
                "targets": [{"architecture": "aarch64", "machines": ["virt*"]},
                            {"architecture": "i386", "machines": ["*"]},
                            {"architecture": "arm", "machines": []}]}"#,
        );
        let asked = |arch: &str, words: &str| {
            among(&FirmwareList::read(&[directory.path().to_owned()]), arch, words)
        };
        let secure = directory.path().join("50-secure.json");
        assert_eq!(asked("x86_64", "uefi"), (Tri::Yes, Escaped::new(&secure).to_string()));
        assert_eq!(asked("x86_64", "secure-boot,uefi").0, Tri::Yes);
        assert_eq!(asked("aarch64", "uefi").0, Tri::Yes);
        assert_eq!(asked("i386", "uefi,secure-boot").0, Tri::No);
        assert_eq!(asked("arm", "uefi").0, Tri::No);
        assert_eq!(
            asked("x86_64", "bios"),
            (Tri::No, "no firmware descriptor for x86_64 has bios".into())
        );
        // What cannot be read may have it.
        write("70-broken.json", "{");
        assert_eq!(asked("x86_64", "uefi").0, Tri::Yes);
        let (answer, reason) = asked("x86_64", "bios");
        assert_eq!(answer, Tri::Unknown);
        assert!(reason.contains("70-broken.json is no firmware descriptor: "), "{reason}");
    }
}
