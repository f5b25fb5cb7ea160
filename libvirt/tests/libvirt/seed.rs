//! Filling of libvirt's cache, in the root of an image that has an installed libvirt and emulators of a recording.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use capscache_format::Entry;
use capscache_libvirt::seed::{Instance, Options, SeedError, Seeder, State, Times};
use capscache_libvirt::{Outdated, QemuCaps, Release};
use tempfile::TempDir;

use crate::golden::fixture;

const S390X: &str = "/usr/bin/qemu-system-s390x";
const LIBRARIES: &str = "usr/lib/s390x-linux-gnu";

/// The root of an image.
struct Image(TempDir);

impl Image {
    /// Installs libvirt 11.3 with its daemon, and an emulator.
    fn new() -> Image {
        let image = Image::empty();
        image.install("11003.0");
        image.program("usr/sbin/libvirtd");
        image.program(&S390X[1..]);
        image
    }

    fn empty() -> Image {
        let image = Image(tempfile::tempdir().unwrap());
        fs::set_permissions(image.0.path(), Permissions::from_mode(0o755)).unwrap();
        image
    }

    fn install(&self, release: &str) {
        self.library(release);
        self.file(&format!("{LIBRARIES}/libvirt/connection-driver/libvirt_driver_qemu.so"), "");
    }

    /// Installs the library, beside that of an earlier release, as an upgrade leaves it.
    fn library(&self, release: &str) {
        let name = format!("libvirt.so.0.{release}");
        self.file(&format!("{LIBRARIES}/{name}"), "");
        let link = self.path(&format!("{LIBRARIES}/libvirt.so.0"));
        let _ = fs::remove_file(&link);
        symlink(name, link).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str) {
        self.file(name, "");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).unwrap();
    }

    fn options(&self) -> Options {
        Options::new(Instance::System).image(self.0.path(), Times::Kept)
    }

    fn open(&self) -> Result<Seeder, SeedError> {
        self.options().open()
    }

    fn seeder(&self) -> Seeder {
        self.open().unwrap()
    }

    /// The directory of libvirt's files, which is made.
    fn directory(&self) -> PathBuf {
        let directory = self.path("var/cache/libvirt/qemu/capabilities");
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// The names in the directory of libvirt's files.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory()).unwrap();
        names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn s390x() -> Entry<Vec<u8>> {
    fixture("qemu-7.2-s390x")
}

fn error(seeder: Result<Seeder, SeedError>) -> String {
    seeder.unwrap_err().to_string()
}

/// Writes libvirt's file of an emulator from an entry.
fn write(seeder: &Seeder, emulator: &Path, entry: &Entry<Vec<u8>>) -> Result<(), SeedError> {
    seeder.write(emulator, entry, &seeder.identify(emulator)?)
}

/// The reason why libvirt discards its file.
fn outdated(seeder: &Seeder) -> Outdated {
    match seeder.check(Path::new(S390X)).unwrap() {
        State::Outdated(outdated) => outdated,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_file_is_written_as_libvirt_writes_it_and_is_then_accepted() {
    let image = Image::new();
    let seeder = image.seeder();
    let emulator = Path::new(S390X);
    assert_eq!(seeder.emulators(), [emulator]);
    assert!(matches!(seeder.check(emulator).unwrap(), State::Missing));
    write(&seeder, emulator, &s390x()).unwrap();
    assert!(seeder.check(emulator).unwrap().is_accepted());

    let file = seeder.file(emulator).unwrap();
    // `printf %s /usr/bin/qemu-system-s390x | sha256sum`
    let name = "04f7ed9deb8a0351be750a8a1c4632481a4a0d230cc6a3a7b04048de811f77b3.xml";
    assert_eq!(file, image.directory().join(name));
    let status = fs::metadata(&file).unwrap();
    assert_eq!(status.mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o022, 0);
    let caps = QemuCaps::from_xml(&fs::read_to_string(&file).unwrap(), Release::V11_3).unwrap();
    assert_eq!((caps.emulator.as_str(), caps.self_version), (S390X, 11_003_000));
    assert_eq!(caps.qemu_ctime, fs::metadata(image.path(&S390X[1..])).unwrap().ctime());
    let driver = format!("{LIBRARIES}/libvirt/connection-driver/libvirt_driver_qemu.so");
    let of = |name: &str| fs::metadata(image.path(name)).unwrap().ctime();
    assert_eq!(caps.self_ctime, of(&driver).max(of("usr/sbin/libvirtd")));
    assert_eq!(image.names().len(), 1, "no temporary file is left");
}

#[test]
fn a_file_that_libvirt_accepts_is_not_touched() {
    let image = Image::new();
    let seeder = image.seeder();
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
    let file = seeder.file(Path::new(S390X)).unwrap();
    let before = fs::metadata(&file).unwrap();
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
    let after = fs::metadata(&file).unwrap();
    let unique = |status: &fs::Metadata| (status.ino(), status.ctime_nsec(), status.mtime_nsec());
    assert_eq!(unique(&before), unique(&after));
}

#[test]
fn a_file_of_another_release_of_other_modules_or_of_an_older_emulator_is_replaced() {
    let image = Image::new();
    let seeder = image.seeder();
    let emulator = Path::new(S390X);
    write(&seeder, emulator, &s390x()).unwrap();
    let file = seeder.file(emulator).unwrap();
    let xml = fs::read_to_string(&file).unwrap();
    let ctime = fs::metadata(image.path(&S390X[1..])).unwrap().ctime();
    for (from, to, reason) in [
        (
            "<selfvers>11003000<".to_owned(),
            "<selfvers>9000000<",
            Outdated::Release { recorded: 9_000_000, found: 11_003_000 },
        ),
        (
            format!("<qemuctime>{ctime}<"),
            "<qemuctime>7<",
            Outdated::QemuCtime { recorded: 7, found: ctime },
        ),
    ] {
        fs::write(&file, xml.replace(&from, to)).unwrap();
        assert_eq!(outdated(&seeder), reason);
        write(&seeder, emulator, &s390x()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), xml);
    }
    image.file(&format!("{LIBRARIES}/qemu/hw-display-qxl.so"), "");
    let modules = fs::metadata(image.path(&format!("{LIBRARIES}/qemu"))).unwrap().mtime();
    assert_eq!(outdated(&image.seeder()), Outdated::Modules { recorded: 0, found: modules });

    fs::write(&file, "<qemuCaps>").unwrap();
    let state = seeder.check(emulator).unwrap();
    assert!(matches!(state, State::Unreadable(_)), "{state:?}");
    fs::write(&file, b"<qemuCaps>\xff").unwrap();
    let state = seeder.check(emulator).unwrap();
    assert!(matches!(state, State::Unreadable(_)), "{state:?}");
    write(&seeder, emulator, &s390x()).unwrap();
    assert!(seeder.check(emulator).unwrap().is_accepted());
}

#[test]
fn without_libvirt_its_driver_or_its_daemon_the_error_names_what_is_missing() {
    let image = Image::empty();
    assert!(error(image.open()).starts_with(
        "cannot find libvirt: there is no link libvirt.so.0 to a libvirt.so.0.N.N in"
    ));
    image.library("11003.0");
    let no_daemon = error(image.open());
    assert!(no_daemon.contains("virtqemud or libvirtd"), "{no_daemon}");
    image.program("usr/sbin/libvirtd");
    assert!(error(image.open()).contains("libvirt_driver_qemu.so"));
}

#[test]
fn each_known_release_gets_a_file_of_its_own_form_and_discards_those_of_the_others() {
    let image = Image::new();
    let emulator = Path::new(S390X);
    let mut before = None;
    for release in Release::ALL {
        image.install(&format!("{}.0", release.version() / 1000));
        let seeder = image.seeder();
        assert_eq!(seeder.release(), release);
        if let Some(recorded) = before {
            let found = release.version();
            assert_eq!(outdated(&seeder), Outdated::Release { recorded, found });
        }
        write(&seeder, emulator, &s390x()).unwrap();
        assert!(seeder.check(emulator).unwrap().is_accepted(), "{release}");
        let xml = fs::read_to_string(seeder.file(emulator).unwrap()).unwrap();
        let caps = QemuCaps::from_xml(&xml, release).unwrap();
        assert_eq!(caps.self_version, release.version());
        assert_eq!(xml.contains("<kvmVersion>"), release == Release::V9_0);
        before = Some(release.version());
    }
}

#[test]
fn a_release_that_is_not_known_is_refused_and_its_files_are_kept() {
    for (release, version) in [("11004.0", "11.4.0"), ("99000.1", "99.0.1"), ("1002.3", "1.2.3")] {
        let image = Image::new();
        image.install(release);
        let file = image.directory().join("file.xml");
        fs::write(&file, "its").unwrap();
        let error = error(image.open());
        assert!(error.contains(&format!("libvirt {version}: the known releases are")), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "its");
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let image = Image::new();
    let seeder = image.seeder();
    for (name, mode) in [
        ("var/cache/libvirt/qemu/capabilities", 0o777),
        ("var/cache/libvirt/qemu/capabilities", 0o775),
        ("var/cache/libvirt/qemu/capabilities", 0o1777),
        ("var/cache/libvirt", 0o777),
    ] {
        image.directory();
        fs::set_permissions(image.path(name), Permissions::from_mode(mode)).unwrap();
        for error in [
            seeder.check(Path::new(S390X)).unwrap_err(),
            write(&seeder, Path::new(S390X), &s390x()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, SeedError::Untrusted { .. }), "{text}");
            assert!(text.contains(&format!("its mode is {mode:o}")), "{text}");
        }
        assert!(image.names().is_empty());
        fs::set_permissions(image.path(name), Permissions::from_mode(0o755)).unwrap();
    }
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
}

#[test]
fn a_link_or_a_directory_in_place_of_a_file_is_refused_and_not_followed() {
    let image = Image::new();
    let seeder = image.seeder();
    let file = image.directory().join(seeder.file(Path::new(S390X)).unwrap().file_name().unwrap());
    let target = image.path("target");
    fs::write(&target, "other").unwrap();
    symlink(&target, &file).unwrap();
    let error = write(&seeder, Path::new(S390X), &s390x()).unwrap_err().to_string();
    assert!(error.contains("is a symbolic link, not a file"), "{error}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "other");
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = write(&seeder, Path::new(S390X), &s390x()).unwrap_err().to_string();
    assert!(error.contains("is a directory, not a file"), "{error}");
}

#[test]
fn no_link_of_an_image_leads_out_of_it() {
    let outside = Image::empty();
    let image = Image(tempfile::tempdir_in(outside.0.path()).unwrap());
    fs::set_permissions(image.0.path(), Permissions::from_mode(0o755)).unwrap();
    image.install("11003.0");
    image.program("usr/sbin/libvirtd");
    image.program(&S390X[1..]);
    fs::create_dir_all(image.path("var")).unwrap();
    fs::create_dir(image.path("data")).unwrap();
    fs::create_dir(outside.path("data")).unwrap();
    symlink("../../data", image.path("var/cache")).unwrap();
    write(&image.seeder(), Path::new(S390X), &s390x()).unwrap();
    assert_eq!(fs::read_dir(outside.path("data")).unwrap().count(), 0);
    let files = fs::read_dir(image.path("data/libvirt/qemu/capabilities")).unwrap();
    assert_eq!(files.count(), 1);
}

#[test]
fn a_file_that_another_user_could_have_written_is_replaced() {
    let image = Image::new();
    let (seeder, emulator) = (image.seeder(), Path::new(S390X));
    write(&seeder, emulator, &s390x()).unwrap();
    let file = seeder.file(emulator).unwrap();
    let spoil_mode = || fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let spoil_owner = || std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
    let mut cases: Vec<(&dyn Fn(), &str)> = vec![(&spoil_mode, "its mode is 666")];
    if rustix::process::geteuid().is_root() {
        cases.push((&spoil_owner, "belongs to the user 65534"));
    } else {
        println!("SKIPPED: not root: no file can be given to another user");
    }
    for (spoil, expected) in cases {
        spoil();
        match seeder.check(emulator).unwrap() {
            State::Untrusted(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
        write(&seeder, emulator, &s390x()).unwrap();
        assert!(seeder.check(emulator).unwrap().is_accepted());
        let status = fs::metadata(&file).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((status.mode() & 0o777, status.uid()), (0o600, own));
    }
}

#[test]
fn a_directory_of_another_user_is_refused_but_that_of_the_user_of_qemu_above_it() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: not root: no directory can be given to another user");
        return;
    }
    let image = Image::new();
    let seeder = image.seeder();
    image.directory();
    for (name, owner) in [("var/cache/libvirt/qemu/capabilities", 65_534), ("var/cache", 65_534)] {
        let give = |owner| std::os::unix::fs::chown(image.path(name), Some(owner), None).unwrap();
        give(owner);
        let error = write(&seeder, Path::new(S390X), &s390x()).unwrap_err();
        assert!(error.to_string().contains("belongs to the user 65534"), "{error}");
        give(0);
    }
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
}

#[test]
fn an_emulator_that_was_replaced_after_the_request_for_its_answers_gets_no_file() {
    let image = Image::new();
    let (seeder, emulator) = (image.seeder(), Path::new(S390X));
    let identity = seeder.identify(emulator).unwrap();
    fs::remove_file(image.path(&S390X[1..])).unwrap();
    image.program(&S390X[1..]);
    fs::write(image.path(&S390X[1..]), "another").unwrap();
    let error = seeder.write(emulator, &s390x(), &identity).unwrap_err();
    assert!(matches!(error, SeedError::Changed { .. }), "{error}");
    assert!(matches!(seeder.check(emulator).unwrap(), State::Missing));
}

#[test]
fn what_killed_processes_left_of_a_file_is_removed_when_it_is_written() {
    let image = Image::new();
    let seeder = image.seeder();
    let name = seeder.file(Path::new(S390X)).unwrap().file_name().unwrap().to_owned();
    let beside = |end: String| image.directory().join(format!("{}{end}", name.to_str().unwrap()));
    let mut killed = std::process::Command::new("true").spawn().unwrap();
    killed.wait().unwrap();
    let (left, running) = (
        beside(format!(".{}-0.tmp", killed.id())),
        beside(format!(".{}-99.tmp", std::process::id())),
    );
    fs::write(&left, "").unwrap();
    fs::write(&running, "").unwrap();
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
    assert_eq!((left.exists(), running.exists()), (false, true));
}

#[test]
fn libvirt_of_the_own_architecture_counts_where_there_are_two() {
    let image = Image::empty();
    let own = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    for (folder, release) in [("usr/lib/aaa-linux-gnu", "9000.0"), (&own, "11003.0")] {
        let name = format!("libvirt.so.0.{release}");
        image.file(&format!("{folder}/{name}"), "");
        symlink(name, image.path(&format!("{folder}/libvirt.so.0"))).unwrap();
        image.file(&format!("{folder}/libvirt/connection-driver/libvirt_driver_qemu.so"), "");
    }
    image.program("usr/sbin/libvirtd");
    assert_eq!(image.seeder().release(), Release::V11_3);
}

#[test]
fn links_of_an_image_are_resolved_within_it() {
    let image = Image::new();
    // Absolute links, as an installed system has them.
    fs::create_dir_all(image.path("data/cache")).unwrap();
    fs::create_dir_all(image.path("var")).unwrap();
    symlink("/data/cache", image.path("var/cache")).unwrap();
    fs::rename(image.path(&S390X[1..]), image.path("data/emulator")).unwrap();
    symlink("/data/emulator", image.path(&S390X[1..])).unwrap();
    let seeder = image.seeder();
    assert_eq!(seeder.emulators(), [Path::new(S390X)]);
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
    let files = fs::read_dir(image.path("data/cache/libvirt/qemu/capabilities")).unwrap();
    assert_eq!(files.count(), 1);
}

#[test]
fn the_times_can_be_those_of_a_file_system_that_has_no_change_times() {
    let image = Image::new();
    let options = Options::new(Instance::System).image(image.0.path(), Times::OfModification);
    let seeder = options.open().unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
    let file = fs::File::options().write(true).open(image.path(&S390X[1..])).unwrap();
    file.set_modified(old).unwrap();
    write(&seeder, Path::new(S390X), &s390x()).unwrap();
    let xml = fs::read_to_string(seeder.file(Path::new(S390X)).unwrap()).unwrap();
    assert!(xml.contains("<qemuctime>1000</qemuctime>"));
    assert!(matches!(
        outdated(&image.seeder()),
        Outdated::SelfCtime { .. } | Outdated::QemuCtime { .. }
    ));
}

#[test]
fn of_two_daemons_the_one_counts_that_is_named_or_that_systemd_starts() {
    let image = Image::new();
    image.program("usr/sbin/virtqemud");
    let drivers = format!("{LIBRARIES}/libvirt/connection-driver");
    image.file(&format!("{drivers}/libvirt_driver_network.so"), "");
    let age = |name: &str, seconds| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::open(image.path(name)).unwrap().set_modified(time).unwrap();
    };
    for name in ["usr/sbin/virtqemud", "usr/sbin/libvirtd"] {
        age(name, 1_000);
    }
    age(&format!("{drivers}/libvirt_driver_qemu.so"), 2_000);
    age(&format!("{drivers}/libvirt_driver_network.so"), 1_500);
    let options = || Options::new(Instance::System).image(image.0.path(), Times::OfModification);
    let self_ctime = |options: Options| options.open().unwrap().present().host.self_ctime;
    assert_eq!(self_ctime(options()), 2_000, "both daemons accept the same files");

    // Only one of the daemons loads this driver.
    age(&format!("{drivers}/libvirt_driver_network.so"), 3_000);
    let text = error(options().open());
    assert!(text.contains("/usr/sbin/virtqemud and /usr/sbin/libvirtd are installed"), "{text}");
    assert_eq!(self_ctime(options().daemon("libvirtd")), 3_000);
    assert_eq!(self_ctime(options().daemon("/usr/sbin/virtqemud")), 2_000);
    image.file("etc/systemd/system/sockets.target.wants/virtqemud.socket", "");
    assert_eq!(self_ctime(options()), 2_000);
    assert_eq!(options().open().unwrap().daemon(), Some(Path::new("/usr/sbin/virtqemud")));
}

#[test]
fn answers_under_kvm_are_not_written_into_an_image_since_they_depend_on_the_host() {
    let image = Image::new();
    let emulator = Path::new("/usr/bin/qemu-system-x86_64");
    image.program("usr/bin/qemu-system-x86_64");
    let entry = fixture("qemu-7.2-x86_64-kvm");
    let error = write(&image.seeder(), emulator, &entry).unwrap_err();
    assert!(matches!(error, SeedError::DependsOnHost), "{error}");
    assert!(image.names().is_empty());
}

#[test]
fn the_files_of_a_session_and_of_a_process_are_where_they_search_them() {
    let image = Image::new();
    for (instance, expected) in [
        (
            Instance::Session("/home/u/.cache".into()),
            "home/u/.cache/libvirt/qemu/cache/capabilities",
        ),
        (Instance::Embedded("/srv/root".into()), "srv/root/cache/qemu/capabilities"),
    ] {
        let options = Options::new(instance).image(image.0.path(), Times::Kept).path("/usr/bin");
        let seeder = options.open().unwrap();
        write(&seeder, Path::new(S390X), &s390x()).unwrap();
        assert_eq!(fs::read_dir(image.path(expected)).unwrap().count(), 1, "{expected}");
    }
}

#[test]
fn emulators_are_searched_for_where_systemd_lets_the_daemon_search() {
    let image = Image::empty();
    image.install("11003.0");
    image.program("usr/bin/libvirtd");
    image.program(&S390X[1..]);
    let found = || image.options().daemon("/usr/bin/libvirtd").open().unwrap().emulators().to_vec();
    // A directory for administrators that is a link does not count.
    symlink("bin", image.path("usr/sbin")).unwrap();
    assert_eq!(found(), [Path::new(S390X)]);
    fs::create_dir_all(image.path("usr/local/bin")).unwrap();
    symlink("bin", image.path("usr/local/sbin")).unwrap();
    image.program("usr/local/bin/qemu-system-s390x");
    assert_eq!(found(), [Path::new("/usr/local/bin/qemu-system-s390x")]);
    fs::remove_file(image.path("usr/local/sbin")).unwrap();
    image.program("usr/local/sbin/qemu-system-s390x");
    assert_eq!(found(), [Path::new("/usr/local/sbin/qemu-system-s390x")]);
    fs::remove_file(image.path("usr/sbin")).unwrap();
    image.program("usr/sbin/qemu-system-s390x");
    fs::remove_dir_all(image.path("usr/local")).unwrap();
    assert_eq!(found(), [Path::new("/usr/sbin/qemu-system-s390x")]);
}

#[test]
fn a_path_that_libvirt_would_not_find_again_in_its_file_gets_none() {
    let image = Image::new();
    for name in ["\u{1b}[31m", "\u{ffff}", "\r", "\u{5}"] {
        let emulator = format!("/usr/bin/{name}qemu-system-s390x");
        image.program(&emulator[1..]);
        let error = write(&image.seeder(), Path::new(&emulator), &s390x()).unwrap_err();
        let is_refused = matches!(error, SeedError::NotReadable { .. } | SeedError::NotAccepted(_));
        assert!(is_refused, "{name:?}: {error}");
        assert!(image.names().is_empty(), "{name:?}");
    }
    for name in ["\n", "\t", "<&'\"", "ü"] {
        let emulator = format!("/usr/bin/{name}qemu-system-s390x");
        image.program(&emulator[1..]);
        write(&image.seeder(), Path::new(&emulator), &s390x()).unwrap();
        let state = image.seeder().check(Path::new(&emulator)).unwrap();
        assert!(state.is_accepted(), "{name:?}: {state:?}");
    }
}

#[test]
fn an_emulator_needs_an_absolute_path() {
    let image = Image::new();
    for path in ["qemu-system-s390x", ""] {
        let error = image.seeder().check(Path::new(path)).unwrap_err();
        assert!(matches!(error, SeedError::EmulatorPath { .. }), "{error}");
    }
    let gone = write(&image.seeder(), Path::new("/gone"), &s390x()).unwrap_err();
    assert!(gone.to_string().starts_with("cannot stat"), "{gone}");
}
