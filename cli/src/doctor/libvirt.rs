//! libvirt: the installed release, whether it is known, and its cache of capabilities.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capscache::Escaped;
use capscache_libvirt::{Installed, Release, UnknownRelease};

use super::Check;
use crate::output::chain;

const PART: &str = "libvirt";

/// The cache of the system's daemon (libvirt 11.3, src/qemu/qemu_conf.c, `virQEMUDriverConfigNew`; the directory in it
/// is named in `virQEMUDriverCreateCapabilities` and its callers).
const CACHE: &str = "/var/cache/libvirt/qemu/capabilities";

pub(super) fn check() -> Vec<Check> {
    let Some(installed) = Installed::on_this_host() else {
        return vec![Check::ok(PART, "not installed, which is fine")];
    };
    vec![check_release(installed.release()), check_cache(Path::new(CACHE))]
}

fn check_release(release: Result<Release, UnknownRelease>) -> Check {
    match release {
        Ok(release) => Check::ok(PART, format!("the installed release is known: {release}")),
        Err(error) => {
            let remedy = "name the nearest release with --libvirt, for flags and XML".to_owned();
            Check::warning(PART, format!("the installed release is not known: {error}"), remedy)
        }
    }
}

fn check_cache(directory: &Path) -> Check {
    let name = Escaped::new(directory);
    let files = fs::read_dir(directory)
        .and_then(|files| files.map(|file| Ok(file?.path())).collect::<io::Result<Vec<PathBuf>>>());
    match files {
        Ok(files) => {
            let is_xml = |path: &&PathBuf| path.extension() == Some("xml".as_ref());
            let number = files.iter().filter(is_xml).count();
            let hint = "`capscache libvirt seed --check` reports which of them it accepts";
            Check::ok(PART, format!("its cache {name} has {number} files of capabilities; {hint}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::ok(PART, format!("it has no cache yet at {name}"))
        }
        Err(error) => Check::ok(
            PART,
            format!("its cache {name} is not readable for this user: {}", chain(&error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_release_that_is_not_known_is_a_warning() {
        assert_eq!(check_release(Release::of_version(11_003_000)).state, State::Ok);
        let check = check_release(Release::of_version(4_000_000));
        assert_eq!(check.state, State::Warning);
        assert!(check.found.contains("4.0"), "{check:?}");
    }

    #[test]
    fn files_of_capabilities_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.xml", "b.xml", "c.new"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert!(check_cache(directory.path()).found.contains("has 2 files of capabilities;"));
        assert!(
            check_cache(&directory.path().join("none")).found.starts_with("it has no cache yet")
        );
    }
}
