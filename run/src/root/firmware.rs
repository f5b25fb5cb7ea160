//! Descriptions of firmware in the directories of the host.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use capscache_libvirt::DEFAULT_FIRMWARE;

use crate::host::Firmware;

/// The directories of descriptions; of files of the same name, the last counts.
const DIRECTORIES: &[&str] = &["/usr/share/qemu/firmware", "/etc/qemu/firmware"];

/// The largest description in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the descriptions by priority, without those that are not valid.
pub(super) fn descriptions() -> Vec<Firmware> {
    of_directories(DIRECTORIES.iter().map(Path::new))
}

fn of_directories<'p>(directories: impl Iterator<Item = &'p Path>) -> Vec<Firmware> {
    let mut files = BTreeMap::new();
    for file in directories.flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten()) {
        let is_hidden = file.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && file.path().is_file() {
            files.insert(file.file_name(), file.path());
        }
    }
    // An empty file hides one of the same name, and is not valid.
    files.values().filter_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Option<Firmware> {
    let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= MAX_BYTES);
    Firmware::from_json(&fs::read_to_string(path).ok().filter(|_| is_small)?)
}

/// Returns files of code and of variables without a description.
pub(super) fn pairs() -> Vec<(String, String)> {
    DEFAULT_FIRMWARE.iter().map(|(code, variables)| ((*code).into(), (*variables).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_hides_one_of_the_same_name() {
        let root = std::env::temp_dir().join(format!("capscache-firmware-{}", std::process::id()));
        let bios = |path: &str| {
            format!(
                r#"{{"interface-types": ["bios"], "mapping": {{"device": "memory", "filename": "{path}"}},
                "targets": [], "features": []}}"#
            )
        };
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (file, text) in [
            ("a/2.json", bios("two")),
            ("a/1.json", bios("one")),
            ("a/3.json", bios("three")),
            ("b/2.json", String::new()),
            ("b/3.json", bios("other")),
            ("b/.4.json", bios("hidden")),
        ] {
            write(file, &text);
        }
        let (a, b) = (root.join("a"), root.join("b"));
        let found = of_directories([a.as_path(), b.as_path()].into_iter());
        fs::remove_dir_all(&root).unwrap();
        let expected = ["one", "other"].map(|path| Firmware::from_json(&bios(path)).unwrap());
        assert_eq!(found, expected);
    }
}
