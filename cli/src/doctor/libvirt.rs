//! libvirt: the installed release, whether it is known, and the files that it would accept.

use capscache::Escaped;
use capscache_libvirt::seed::{Options, SeedError, Seeder};
use capscache_libvirt::{Installed, Release, UnknownRelease};

use super::{Check, State};
use crate::libvirt::{cpu_data, own_instance};
use crate::output;

const PART: &str = "libvirt";

pub(super) fn check() -> Vec<Check> {
    let Some(installed) = Installed::on_this_host() else {
        return vec![Check::ok(PART, "not installed, which is fine")];
    };
    let release = installed.release();
    let is_known = release.is_ok();
    let mut checks = vec![check_release(release)];
    // Without the release nothing is known about its files.
    if is_known {
        checks.push(match own_instance() {
            Ok(instance) => check_cache(Options::new(instance).cpu_data(cpu_data()).open()),
            Err(error) => Check::ok(PART, output::message(&error)),
        });
    }
    checks
}

fn check_release(release: Result<Release, UnknownRelease>) -> Check {
    match release {
        Ok(release) => Check::ok(PART, format!("the installed release is known: {release}")),
        Err(error) => {
            let remedy = "upgrade capscache; of another release, named with --libvirt, flags and XML may differ";
            Check::warning(PART, format!("the installed release is not known: {error}"), remedy)
        }
    }
}

fn check_cache(opened: Result<Seeder, SeedError>) -> Check {
    let seeder = match opened {
        Ok(seeder) => seeder,
        Err(SeedError::NoDaemon { .. } | SeedError::NoDriver { .. }) => {
            return Check::ok(
                PART,
                "its daemon or its driver for QEMU is not installed: it has no cache of the system",
            );
        }
        Err(error) => return of_error(&error),
    };
    let (mut accepted, all) = (0, seeder.emulators().len());
    for emulator in seeder.emulators() {
        match seeder.check(emulator) {
            Ok(state) => accepted += usize::from(state.is_accepted()),
            Err(error) => return of_error(&error),
        }
    }
    let directory = seeder.directory();
    let found = format!(
        "it accepts its files of {accepted} of {all} emulators, in {}",
        Escaped::new(&directory)
    );
    match accepted == all {
        true => Check::ok(PART, found),
        false => Check {
            remedy: Some(
                "`capscache libvirt seed` writes the others, which it would start".to_owned(),
            ),
            ..Check::ok(PART, found)
        },
    }
}

fn of_error(error: &SeedError) -> Check {
    let otherwise = "`capscache libvirt seed --verbose` reports more";
    Check::of_message(PART, State::Warning, &output::chain(error), otherwise)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use capscache_libvirt::seed::{Instance, Times};

    use super::*;

    #[test]
    fn a_release_that_is_not_known_is_a_warning() {
        assert_eq!(check_release(Release::of_version(11_003_000)).state, State::Ok);
        let check = check_release(Release::of_version(4_000_000));
        assert_eq!(check.state, State::Warning);
        assert!(check.found.contains("4.0"), "{check:?}");
    }

    #[test]
    fn files_that_it_accepts_are_counted_and_a_directory_of_others_is_a_warning() {
        let image = tempfile::tempdir().unwrap();
        fs::set_permissions(image.path(), Permissions::from_mode(0o755)).unwrap();
        let check = || {
            let options = Options::new(Instance::System).image(image.path(), Times::Kept);
            check_cache(options.open())
        };
        let file = |name: &str| {
            let path = image.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        };
        file("usr/lib64/libvirt.so.0.11003.0");
        symlink("libvirt.so.0.11003.0", image.path().join("usr/lib64/libvirt.so.0")).unwrap();
        let nothing = check();
        assert_eq!((nothing.state, nothing.remedy), (State::Ok, None));

        file("usr/lib64/libvirt/connection-driver/libvirt_driver_qemu.so");
        file("usr/sbin/libvirtd");
        file("usr/bin/qemu-system-s390x");
        let empty = check();
        assert_eq!(empty.state, State::Ok);
        assert!(empty.found.contains("its files of 0 of 1 emulators"), "{empty:?}");
        assert!(empty.remedy.unwrap().contains("libvirt seed"));

        let cache = image.path().join("var/cache/libvirt/qemu/capabilities");
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
        let open = check();
        assert_eq!(open.state, State::Warning);
        assert!(open.found.contains("other users"), "{open:?}");
    }
}
