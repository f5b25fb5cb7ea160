//! Secrets: an encrypted disk is opened, and its passphrase is nowhere in plain.

use std::fs;
use std::path::Path;

use capscache_run::{End, Sources, StartError};

use crate::{Dir, guest_with};

const UUID: &str = "0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f";
const PASSPHRASE: &str = "correct-horse-battery";

fn guest(path: &Path) -> String {
    let disk = format!(
        "<disk type='file'><driver name='qemu' type='raw'/><source file='{}'>\
         <encryption format='luks'><secret type='passphrase' uuid='{UUID}'/></encryption>\
         </source><target dev='hda' bus='ide'/></disk>",
        path.display()
    );
    guest_with("locked", "", "", &disk)
}

/// Returns true if a file contains the passphrase; a file that has gone does not.
fn contains(path: &Path) -> bool {
    let content = fs::read(path).unwrap_or_default();
    content.windows(PASSPHRASE.len()).any(|window| window == PASSPHRASE.as_bytes())
}

#[test]
fn an_encrypted_disk_is_opened_and_its_passphrase_is_nowhere_in_plain() {
    let dir = Dir::new();
    let image = dir.path("image");
    test_support::create_luks(&image, PASSPHRASE);
    let source = dir.path("source");
    fs::write(&source, PASSPHRASE).unwrap();
    let mut sources = Sources::new(&dir.root());
    sources.add(&format!("{UUID}={}", source.display())).unwrap();
    let prepared = dir.run(&guest(&image)).secrets(sources).prepare(&crate::entry()).unwrap();
    assert!(!format!("{prepared:?} {:?}", prepared.command()).contains(PASSPHRASE));
    let running = prepared.start().unwrap();
    let files = dir.files();
    assert!(files.contains(&"run/guest/locked/monitor.sock".to_owned()), "{files:?}");
    assert!(!files.contains(&"run/guest/locked/master-key.aes".to_owned()), "{files:?}");
    for file in files {
        assert!(!contains(&dir.path("root").join(&file)), "{file}");
    }
    // Of all processes, in case another one was started.
    for process in fs::read_dir("/proc").unwrap() {
        let process = process.unwrap().path();
        for file in ["cmdline", "environ"] {
            assert!(!contains(&process.join(file)), "{}", process.display());
        }
    }
    running.quit();
    assert_eq!(running.wait(), End::Quit);
    assert!(!contains(&dir.path("root/log/locked.log")));
}

#[test]
fn a_wrong_passphrase_is_refused_by_the_emulator_and_not_shown() {
    let dir = Dir::new();
    let image = dir.path("image");
    test_support::create_luks(&image, PASSPHRASE);
    fs::create_dir_all(dir.path("root/secrets")).unwrap();
    let secret = dir.path("root/secrets").join(UUID);
    fs::write(&secret, "wrong-passphrase").unwrap();
    fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let error = dir.prepare(&guest(&image)).start().unwrap_err();
    let StartError::Exited { output, .. } = &error else { panic!("{error:?}") };
    assert!(output.contains("Invalid password, cannot unlock any keyslot"), "{output}");
    assert!(!error.to_string().contains("wrong-passphrase"));
}

#[test]
fn a_secret_that_is_missing_is_named_by_its_place() {
    let dir = Dir::new();
    let error = dir.run(&guest(&dir.path("image"))).prepare(&crate::entry()).unwrap_err();
    let place = "/domain/devices/disk/source/encryption/secret";
    assert!(error.to_string().contains(place), "{error}");
}

#[test]
fn debug_output_of_a_run_has_no_passwords() {
    let dir = Dir::new();
    let console = "<graphics type='vnc' passwd='hidden12'><listen type='none'/></graphics>";
    let run = dir.run(&guest_with("console", "", "", console));
    assert!(format!("{run:?}").contains("console"));
    assert!(!format!("{run:?}").contains("hidden12"));
    let prepared = run.prepare(&crate::entry()).unwrap();
    assert!(!format!("{prepared:?} {:?}", prepared.command()).contains("hidden12"));
}
