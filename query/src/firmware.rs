//! Queries about the firmware descriptors of this host, with the names of QEMU's
//! `docs/interop/firmware.json`.

use capscache::firmware::{Firmware, FirmwareList};
use capscache::{Escaped, Tri, chain};

/// Returns whether a firmware for an architecture has all of `names`, which commas separate
/// (`FirmwareOSInterface`s such as `uefi`, `FirmwareFeature`s such as `secure-boot`), and the reason.
pub(crate) fn answer(arch: &str, names: &str) -> (Tri, String) {
    answer_from(&FirmwareList::of_this_host(), arch, names)
}

fn answer_from(list: &FirmwareList, arch: &str, names: &str) -> (Tri, String) {
    if let Some(firmware) = list.for_arch(arch).find(|firmware| has(firmware, names)) {
        return (Tri::Yes, Escaped::new(&firmware.path).to_string());
    }
    match list.broken.first() {
        Some(error) => (Tri::Unknown, chain(error)),
        None => (Tri::No, format!("no firmware descriptor for {arch} has {names}")),
    }
}

fn has(firmware: &Firmware, names: &str) -> bool {
    let descriptor = &firmware.descriptor;
    let known = descriptor.interface_types.iter().chain(&descriptor.features);
    names.split(',').all(|name| known.clone().any(|one| one == name))
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
        let answer = |arch: &str, names: &str| {
            answer_from(&FirmwareList::read(&[directory.path().to_owned()]), arch, names)
        };
        let secure = directory.path().join("50-secure.json");
        assert_eq!(answer("x86_64", "uefi"), (Tri::Yes, Escaped::new(&secure).to_string()));
        assert_eq!(answer("x86_64", "secure-boot,uefi").0, Tri::Yes);
        assert_eq!(answer("aarch64", "uefi").0, Tri::Yes);
        assert_eq!(answer("i386", "uefi,secure-boot").0, Tri::No);
        assert_eq!(answer("arm", "uefi").0, Tri::No);
        assert_eq!(
            answer("x86_64", "bios"),
            (Tri::No, "no firmware descriptor for x86_64 has bios".into())
        );
        // A descriptor that cannot be read may have it.
        write("70-broken.json", "{");
        assert_eq!(answer("x86_64", "uefi").0, Tri::Yes);
        let (unknown, reason) = answer("x86_64", "bios");
        assert_eq!(unknown, Tri::Unknown);
        assert!(reason.contains("; fix it, or hide it"), "{reason}");
    }
}
