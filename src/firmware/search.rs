//! The directories of descriptors, and the files in them that are in effect.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::FirmwareError;

/// The path under each of the directories for configuration and data.
const SUBDIRECTORY: &str = "qemu/firmware";

/// Returns the directories of firmware descriptors, the most specific first: that of this user, under
/// `XDG_CONFIG_HOME` or `~/.config`, that of the host's administrator, that of its packages.
pub fn firmware_directories() -> Vec<PathBuf> {
    directories(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
}

fn directories(config: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    // The XDG base directory specification: an empty value counts as not set, and a relative one is not valid.
    let valid =
        |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = valid(config).or_else(|| Some(valid(home)?.join(".config")));
    let all = config.into_iter().chain(["/etc", "/usr/share"].map(PathBuf::from));
    all.map(|directory| directory.join(SUBDIRECTORY)).collect()
}

/// Finds the files that are in effect, by name. Errors of directories that cannot be read go to `broken`.
pub(super) fn in_effect(
    directories: &[PathBuf],
    broken: &mut Vec<FirmwareError>,
) -> impl Iterator<Item = PathBuf> + use<> {
    let mut files = BTreeMap::new();
    for directory in directories {
        let names = match names(directory) {
            Ok(names) => names,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                continue;
            }
            Err(source) => {
                broken.push(FirmwareError::Read { path: directory.clone(), source });
                continue;
            }
        };
        for name in names {
            let path = directory.join(&name);
            files.entry(name).or_insert(path);
        }
    }
    files.into_values()
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| is_descriptor(name));
    Ok(names)
}

/// Returns whether a file is a descriptor. Editors and package managers leave hidden files.
fn is_descriptor(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".json") && !name.as_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_directory_is_in_a_valid_xdg_config_home_and_else_in_the_home() {
        const SYSTEM: [&str; 2] = ["/etc/qemu/firmware", "/usr/share/qemu/firmware"];
        let users = |config: Option<&str>, home: Option<&str>| {
            let all = directories(config.map(OsString::from), home.map(OsString::from));
            let (users, system) = all.split_at(all.len() - 2);
            assert_eq!(system, SYSTEM.map(PathBuf::from));
            users.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(users(Some("/x/config"), Some("/home/u")), ["/x/config/qemu/firmware"]);
        assert_eq!(users(Some("/x/config"), None), ["/x/config/qemu/firmware"]);
        for no_directory in [None, Some(""), Some("config"), Some("./config")] {
            assert_eq!(users(no_directory, Some("/home/u")), ["/home/u/.config/qemu/firmware"]);
            for no_home in [None, Some(""), Some("home")] {
                assert_eq!(users(no_directory, no_home), [""; 0]);
            }
        }
    }

    #[test]
    fn only_names_that_end_in_json_and_are_not_hidden_are_those_of_descriptors() {
        for name in ["50-ovmf.json", "a.b.json", "60 x.json"] {
            assert!(is_descriptor(OsStr::new(name)), "{name}");
        }
        for name in
            ["50-ovmf.json~", "50-ovmf.JSON", "50-ovmf.json.dpkg-new", ".50-ovmf.json", "json"]
        {
            assert!(!is_descriptor(OsStr::new(name)), "{name}");
        }
    }
}
