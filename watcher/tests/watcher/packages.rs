//! Installing, upgrading and removing real packages, in a directory of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use capscache::{Capabilities, Lookup};
use capscache_watcher::{Event, Options};

use crate::fixture::{AVR, Fixture, RX, command, is_dropped, rewarm};

const MODULES: &str = "usr/lib/x86_64-linux-gnu/qemu";

/// Returns whether packages can be installed in a directory, and QEMU 7.2 has modules here; prints that the
/// test is skipped where not.
fn can_install() -> bool {
    let has_dpkg = Command::new("dpkg").arg("--version").output().is_ok();
    let has_modules = Path::new("/").join(MODULES).join("accel-tcg-x86_64.so").exists();
    if !(has_dpkg && has_modules) {
        println!("SKIPPED: needs dpkg, and QEMU for x86_64 with modules");
    }
    has_dpkg && has_modules && test_support::rights::can_change_user()
}

impl Fixture {
    /// Builds a package of files, each given by its path in the package and its source.
    fn package(&self, name: &str, version: &str, files: &[(&str, &Path)]) -> PathBuf {
        let build = self.path(&format!("build-{name}-{version}"));
        fs::create_dir_all(build.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: tests\n\
             Description: a test\n"
        );
        fs::write(build.join("DEBIAN/control"), control).unwrap();
        for (path, source) in files {
            let path = build.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(source, &path).unwrap();
        }
        let package = self.path(&format!("{name}-{version}.deb"));
        command("dpkg-deb", &[&"--root-owner-group", &"-Znone", &"--build", &build, &package]);
        fs::remove_dir_all(build).unwrap();
        package
    }

    /// Runs dpkg in a root directory that has only the packages of this test.
    fn dpkg(&self, arguments: &[&dyn AsRef<std::ffi::OsStr>]) {
        let system = self.path("system");
        let admin = system.join("var/lib/dpkg");
        fs::create_dir_all(admin.join("updates")).unwrap();
        fs::create_dir_all(admin.join("info")).unwrap();
        if !admin.join("status").exists() {
            fs::write(admin.join("status"), "").unwrap();
        }
        let root = format!("--root={}", system.display());
        let log = format!("--log={}", self.path("log").display());
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&root, &log, &"--force-unsafe-io"];
        all.extend_from_slice(arguments);
        command("dpkg", &all);
    }

    fn hit(&self, emulator: &Path) -> Capabilities {
        match self.cache.lookup(emulator) {
            Ok(Lookup::Hit(hit)) => hit,
            other => panic!("no hit but {other:?}"),
        }
    }
}

/// Options of a watcher for which a package manager, or a long burst, makes no pause on a machine under load.
fn patient() -> Options {
    rewarm().debounce(Duration::from_secs(1)).max_delay(Duration::from_secs(60))
}

/// Returns the path in a package of a file of this system.
fn in_package(path: &Path) -> &str {
    path.strip_prefix("/").unwrap().to_str().unwrap()
}

/// Checks that an emulator was dropped once and refreshed once, and nothing else.
fn dropped_and_refreshed_once(events: &[Event], emulator: &Path) {
    let refreshed = |event: &Event| matches!(event, Event::Refreshed { emulator: e, probed: true, .. } if e == emulator);
    assert!(
        matches!(events, [first, last] if is_dropped(first, emulator) && refreshed(last)),
        "{events:?}"
    );
}

#[test]
fn installing_upgrading_and_removing_a_package_is_one_refresh_each() {
    if !can_install() {
        return;
    }
    let Some(fixture) = Fixture::protected() else { return };
    let bin = fixture.path("system/usr/bin");
    let options = patient().search([bin.clone()]);

    // A system with QEMU, all of its modules but one, and nothing cached.
    let modules = fs::read_dir(Path::new("/").join(MODULES)).unwrap();
    let modules: Vec<PathBuf> = modules.map(|module| module.unwrap().path()).collect();
    let usb = |path: &&PathBuf| path.ends_with("hw-usb-redirect.so");
    let mut files: Vec<_> =
        modules.iter().filter(|path| !usb(path)).map(PathBuf::as_path).collect();
    let native = Path::new("/usr/bin/qemu-system-x86_64");
    files.push(native);
    let files: Vec<_> = files.iter().map(|path| (in_package(path), *path)).collect();
    let system = fixture.package("qemu-system-x86", "1", &files);
    let changed = fixture.program("changed", [&fs::read(native).unwrap()[..], b"\0"].concat());
    let mut upgraded = files.clone();
    upgraded.last_mut().unwrap().1 = &changed;
    let upgrade = fixture.package("qemu-system-x86", "2", &upgraded);
    let usb = modules.iter().find(usb).expect("the module is installed");
    let usb = fixture.package("qemu-usb", "1", &[(in_package(usb), usb.as_path())]);
    let misc =
        [("usr/bin/qemu-system-avr", Path::new(AVR)), ("usr/bin/qemu-system-rx", Path::new(RX))];
    let misc = fixture.package("qemu-system-misc", "1", &misc);

    let watching = fixture.watch(options);
    fixture.dpkg(&[&"--install", &system]);
    let emulator = bin.join("qemu-system-x86_64");
    watching.appeared(&emulator);
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, true));
    assert!(fixture.hit(&emulator).qom_type("usb-redir").is_err());
    assert_eq!(watching.rest(&bin, true).len(), 0, "one refresh for all its files");

    fixture.dpkg(&[&"--install", &usb]);
    dropped_and_refreshed_once(&watching.refreshed(&emulator).0, &emulator);
    assert!(fixture.hit(&emulator).qom_type("usb-redir").is_ok());

    fixture.dpkg(&[&"--remove", &"qemu-usb"]);
    dropped_and_refreshed_once(&watching.refreshed(&emulator).0, &emulator);
    assert!(fixture.hit(&emulator).qom_type("usb-redir").is_err());

    fixture.dpkg(&[&"--install", &upgrade]);
    dropped_and_refreshed_once(&watching.refreshed(&emulator).0, &emulator);
    let size = fs::metadata(&emulator).unwrap().len();
    assert_eq!(size, fs::metadata(&changed).unwrap().len(), "it is the new one");

    fixture.dpkg(&[&"--install", &misc]);
    let events = watching.until(|event| matches!(event, Event::Refreshed { .. }));
    let events =
        [events, watching.until(|event| matches!(event, Event::Refreshed { .. }))].concat();
    let (avr, rx) = (bin.join("qemu-system-avr"), bin.join("qemu-system-rx"));
    assert_eq!(events.len(), 4, "each appeared and was refreshed: {events:?}");
    assert!(fixture.is_hit(&avr) && fixture.is_hit(&rx));

    fixture.dpkg(&[&"--remove", &"qemu-system-misc"]);
    let both = |event: &Event| is_dropped(event, &avr) || is_dropped(event, &rx);
    let events = [watching.until(both), watching.until(both)].concat();
    assert!(events.len() == 2 && events[0] != events[1], "{events:?}");
    assert_eq!(fixture.cache.entries().unwrap().len(), 1);

    // The same version again: other files with the same content.
    fixture.dpkg(&[&"--install", &upgrade]);
    let (events, probed) = watching.refreshed(&emulator);
    assert_eq!((events.len(), probed), (1, false), "{events:?}");
    assert_eq!(watching.rest(&bin, true).len(), 0);
}

#[test]
fn a_burst_of_hundreds_of_changes_is_one_refresh() {
    if !can_install() {
        return;
    }
    let Some(fixture) = Fixture::protected() else { return };
    let modules = fixture.path(MODULES);
    let emulator = fixture
        .program("usr/bin/qemu-system-x86_64", fs::read("/usr/bin/qemu-system-x86_64").unwrap());
    fs::create_dir_all(&modules).unwrap();
    for module in fs::read_dir(Path::new("/").join(MODULES)).unwrap() {
        let module = module.unwrap().path();
        fs::copy(&module, modules.join(module.file_name().unwrap())).unwrap();
    }
    fixture.cache.get(&emulator).unwrap();
    let search = fixture.path("search");
    fs::create_dir(&search).unwrap();
    let watching = fixture.watch(patient().search([search.clone()]));
    for number in 0..500 {
        fs::write(modules.join(format!("hw-{number}.so")), "").unwrap();
    }
    dropped_and_refreshed_once(&watching.refreshed(&emulator).0, &emulator);
    assert_eq!(watching.rest(&search, true), []);
    assert!(fixture.is_hit(&emulator));
}

#[test]
fn overwriting_a_module_in_place_drops_the_entry_although_a_lookup_is_a_hit() {
    if !can_install() {
        return;
    }
    let fixture = Fixture::new();
    let emulator = fixture.program("usr/bin/qemu-system-avr", fs::read(AVR).unwrap());
    let module = fixture.path(MODULES).join("hw-nothing.so");
    fs::create_dir_all(module.parent().unwrap()).unwrap();
    fs::write(&module, "one").unwrap();
    fixture.age(MODULES);
    fixture.cache.get(&emulator).unwrap();
    let watching = fixture.watch(Options::default());
    fs::write(&module, "two").unwrap();
    let (_, reason) = watching.dropped(&emulator);
    assert!(reason.starts_with("the modules "), "{reason}");
    assert!(fixture.is_missing(&emulator));
}
