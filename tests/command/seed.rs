//! `libvirt seed`: libvirt's own cache, in the root of an image with a libvirt that is only its files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use test_support::rights::can_mount;
use test_support::{Run, emulator, run, text};

use crate::Dir;

const CACHE: &str = "image/var/cache/libvirt/qemu/capabilities";

/// libvirt's name of its file of `/usr/bin/qemu-system-s390x`.
const S390X: &str = "04f7ed9deb8a0351be750a8a1c4632481a4a0d230cc6a3a7b04048de811f77b3.xml";

/// Prepares an image in a new mount namespace: the programs and libraries of this system, with another `/usr/lib64`,
/// where libvirt's library is found first. `$0` is the image; becomes the rest of the arguments.
const MOUNT: &str = "cd \"$0\"; for one in bin lib share; do mkdir -p usr/$one; mount --bind /usr/$one usr/$one; done; \
    for one in bin lib lib64; do [ ! -e /$one ] || [ -e $one ] || { mkdir $one; mount --bind /$one $one; }; done; \
    mkdir -p proc dev tmp; chmod 1777 tmp; mount -t proc proc proc; mount -t tmpfs dev dev; \
    for node in null zero full random urandom; do cp -a /dev/$node dev; done; ln -s /proc/self/fd dev/fd; \
    mkdir dev/shm; exec \"$@\"";

fn file(dir: &Dir, name: &str, content: &str) -> PathBuf {
    let path = dir.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// Installs the files of a release of libvirt in an image, and an emulator that is only a name.
pub(crate) fn install(dir: &Dir, release: &str) {
    let library = format!("libvirt.so.0.{release}");
    file(dir, &format!("image/usr/lib64/{library}"), "");
    symlink(library, dir.path("image/usr/lib64/libvirt.so.0")).unwrap();
    file(dir, "image/usr/lib64/libvirt/connection-driver/libvirt_driver_qemu.so", "");
    for program in ["image/usr/sbin/libvirtd", "image/usr/bin/qemu-system-s390x"] {
        let path = file(dir, program, "");
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
}

pub(crate) fn seed(dir: &Dir, arguments: &[&str]) -> Run {
    let image = text(&dir.path("image"));
    dir.run(&[&["libvirt", "seed", "--image-root", &image], arguments].concat())
}

#[test]
fn a_check_prints_what_libvirt_would_do_with_each_file_and_writes_nothing() {
    let dir = Dir::new();
    install(&dir, "11003.0");
    let missing = seed(&dir, &["--check"]);
    assert_eq!(missing.stdout, "/usr/bin/qemu-system-s390x: missing\n", "{missing:?}");
    assert_eq!(missing.code, Some(1));
    assert!(!dir.path("image/var").exists() && !dir.root().exists());
    for (emulator, complaint) in
        [("/usr/bin/gone", "cannot stat"), ("gone", "give an absolute path")]
    {
        let gone = seed(&dir, &["--check", emulator]);
        assert_eq!((gone.code, gone.stdout.as_str()), (Some(1), ""));
        assert!(gone.complaint().contains(complaint), "{gone:?}");
    }

    let of_another = "<qemuCaps><emulator>/usr/bin/qemu-system-s390x</emulator><qemuctime>1</qemuctime>\
        <selfctime>2</selfctime><selfvers>9000000</selfvers><version>7002000</version>\
        <microcodeVersion>0</microcodeVersion><arch>s390x</arch></qemuCaps>";
    file(&dir, &format!("{CACHE}/{S390X}"), of_another);
    let outdated = seed(&dir, &["--check"]);
    assert_eq!(
        outdated.stdout,
        "/usr/bin/qemu-system-s390x: not accepted: libvirt's release changed: recorded 9000000, found 11003000\n",
        "{outdated:?}"
    );
    assert_eq!(outdated.code, Some(1));

    let json = seed(&dir, &["--check", "--json", "/usr/bin/qemu-system-s390x", "gone"]);
    let lines: Vec<Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0],
        json!({"emulator": "/usr/bin/qemu-system-s390x", "state": "not-accepted",
            "reason": "libvirt's release changed: recorded 9000000, found 11003000"})
    );
    assert_eq!((&lines[1]["emulator"], &lines[1]["state"]), (&json!("gone"), &json!("failed")));
    assert_eq!((lines.len(), json.code), (2, Some(1)));
}

#[test]
fn without_libvirt_or_with_one_whose_release_is_not_known_nothing_is_written() {
    let dir = Dir::new();
    fs::create_dir(dir.path("image")).unwrap();
    let none = seed(&dir, &[]);
    assert_eq!(none.code, Some(2));
    assert!(none.complaint().starts_with("cannot find libvirt: "), "{none:?}");
    install(&dir, "99000.0");
    let its = file(&dir, &format!("{CACHE}/{S390X}"), "its");
    for arguments in [&[][..], &["--check"]] {
        let unknown = seed(&dir, arguments);
        assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
        let complaint = unknown.complaint();
        assert!(
            complaint.contains("libvirt 99.0.0: the known releases are 9.0, 10.0, 11.3, 12.8"),
            "{complaint}"
        );
    }
    assert_eq!(fs::read_to_string(its).unwrap(), "its");
}

#[test]
fn a_cache_that_others_may_write_to_and_a_link_in_place_of_a_file_are_refused() {
    let dir = Dir::new();
    install(&dir, "11003.0");
    fs::create_dir_all(dir.path(CACHE)).unwrap();
    fs::set_permissions(dir.path(CACHE), Permissions::from_mode(0o777)).unwrap();
    let writable = seed(&dir, &[]);
    assert_eq!(writable.code, Some(1));
    assert!(
        writable.complaint().contains("can be written by others (its mode is 777)"),
        "{writable:?}"
    );
    fs::set_permissions(dir.path(CACHE), Permissions::from_mode(0o755)).unwrap();
    symlink("elsewhere", dir.path(CACHE).join(S390X)).unwrap();
    let link = seed(&dir, &[]);
    assert_eq!(link.code, Some(1));
    assert!(link.complaint().contains("is a symbolic link, not a file"), "{link:?}");
    assert!(!dir.path(CACHE).join("elsewhere").exists());
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let dir = Dir::new();
    for arguments in [
        &["--session", "--embed", "x"][..],
        &["--embed", "x", "--daemon", "libvirtd"],
        &["--image-times", "kept"],
    ] {
        let run = dir.run(&[&["libvirt", "seed"], arguments].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    }
}

/// Returns the emulator of s390x, where an image can have it and be mounted; reports a skip if not.
fn emulator_of_an_image() -> Option<String> {
    if !can_mount() {
        return None;
    }
    let path = emulator("s390x");
    if path != "/usr/bin/qemu-system-s390x" {
        println!("SKIPPED: the emulator is {path}, and an image would have it in /usr/bin");
        return None;
    }
    Some(path)
}

/// Runs the command with the image mounted.
fn in_mounted_image(dir: &Dir, arguments: &[&str]) -> Run {
    let image = text(&dir.path("image"));
    let mut command = Command::new("unshare");
    dir.prepare(&mut command);
    command.args(["-m", "sh", "-euc", MOUNT, &image, env!("CARGO_BIN_EXE_capscache")]);
    command.args(["--root", "/cache", "libvirt", "seed", "--image-root", &image]).args(arguments);
    run(&mut command)
}

#[test]
fn the_emulators_of_an_image_are_run_in_it_and_its_files_are_those_that_libvirt_accepts_there() {
    let Some(path) = emulator_of_an_image() else { return };
    let dir = Dir::new();
    install(&dir, "11003.0");
    let written = in_mounted_image(&dir, &[&path]);
    assert_eq!(written.stdout, format!("{path}: written: there was no file\n"), "{written:?}");
    assert_eq!(written.code, Some(0), "{written:?}");
    let file = dir.path(CACHE).join(S390X);
    let xml = fs::read_to_string(&file).unwrap();
    assert!(xml.contains("<selfvers>11003000</selfvers>") && xml.contains("<arch>s390x</arch>"));
    assert!(dir.path("image/cache").exists() && !dir.root().exists(), "the image's own cache");
    let again = in_mounted_image(&dir, &["--check", &path]);
    assert_eq!((again.stdout.as_str(), again.code), (&*format!("{path}: accepted\n"), Some(0)));
}

#[test]
fn on_a_full_disk_the_old_file_is_kept_and_no_other_is_left() {
    let Some(path) = emulator_of_an_image() else { return };
    let dir = Dir::new();
    install(&dir, "11003.0");
    fs::create_dir_all(dir.path(CACHE)).unwrap();
    // A file system of 16 KB; what is in it at the end is copied, since it is gone with the namespace.
    let full = "mount -t tmpfs -o size=16k,mode=755 full \"$0\"/var/cache/libvirt/qemu/capabilities; \
        echo its >\"$0\"/var/cache/libvirt/qemu/capabilities/FILE; run() { sh -euc \"$MOUNT\" \"$@\"; };"
        .replace("FILE", S390X);
    let steps = format!(
        "{full} MOUNT='{}'; if run \"$0\" \"$@\"; then exit 9; fi; cp -r \"$0\"/var/cache/libvirt/qemu/capabilities \"$0\"/left",
        MOUNT.replace('\'', "'\\''")
    );
    let image = text(&dir.path("image"));
    let mut command = Command::new("unshare");
    dir.prepare(&mut command);
    command.args(["-m", "sh", "-euc", &steps, &image, env!("CARGO_BIN_EXE_capscache")]);
    command.args(["--root", "/cache", "libvirt", "seed", "--image-root", &image, &path]);
    let run = run(&mut command);
    assert!(run.stderr.contains("No space left on device; free space"), "{run:?}");
    assert_eq!(run.code, Some(0), "the command failed, and the steps went on: {run:?}");
    let left: Vec<_> = fs::read_dir(dir.path("image/left")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_to_string(dir.path("image/left").join(S390X)).unwrap(), "its\n");
}
