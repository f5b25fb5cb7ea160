//! The examples for drivers in other languages, `examples/drivers/`, on real emulators.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Dir, x86_64};

#[test]
fn a_driver_in_perl_gets_answers_to_the_questions_of_proxmox() {
    let dir = Dir::new();
    let mut perl = Command::new("perl");
    let has_json = perl.args(["-MJSON::PP", "-e", "1"]).stderr(Stdio::null()).status();
    if !has_json.is_ok_and(|status| status.success()) {
        println!(
            "SKIPPED: perl or its module JSON::PP is not installed: the driver in Perl is not run"
        );
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/drivers/proxmox.pl");
    let directory = Path::new(env!("CARGO_BIN_EXE_capscache")).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let run = |arguments: &[&str]| {
        let mut perl = Command::new("perl");
        dir.prepare(&mut perl);
        perl.env("PATH", format!("{}:{path}", directory.display())).arg(script).args(arguments);
        crate::run(&mut perl)
    };
    let answers = run(&[&x86_64()]);
    assert_eq!((answers.code, answers.stderr.as_str()), (Some(0), ""), "{answers:?}");
    let answer = |query: &str| {
        let line = answers.stdout.lines().find(|line| line.starts_with(query));
        let line = line.unwrap_or_else(|| panic!("{query} is missing in:\n{}", answers.stdout));
        line.split_whitespace().nth(1).expect("an answer").to_owned()
    };
    for query in ["version:>=6.0", "machine:q35", "device:virtio-scsi-pci", "command:blockdev-add"]
    {
        assert_eq!(answer(query), "yes");
    }
    assert_eq!(answer("property:virtio-blk-pci.iothread"), "yes");
    assert_eq!(answers.stdout.lines().count(), 9, "{}", answers.stdout);
    // No is an answer, and an emulator that is not there an error.
    let no = run(&[&x86_64(), "machine:none-such"]);
    assert_eq!((no.code, no.stdout.split_whitespace().nth(1)), (Some(0), Some("no")), "{no:?}");
    let absent = run(&["/none/such", "machine:q35"]);
    assert_eq!(absent.stdout, "");
    assert!(absent.stderr.ends_with("cannot query /none/such\n"), "{absent:?}");
    assert_ne!(absent.code, Some(0));
}
