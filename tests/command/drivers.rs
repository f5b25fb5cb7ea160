//! The examples for drivers in other languages, `examples/drivers/`, on real emulators.

use std::path::Path;
use std::process::{Command, Stdio};

use test_support::has;

use crate::{Dir, x86_64};

/// Returns true if perl has JSON::PP; reports a skip if not.
fn has_perl() -> bool {
    let mut perl = Command::new("perl");
    let found = perl.args(["-MJSON::PP", "-e", "1"]).stderr(Stdio::null()).status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        println!("SKIPPED: perl or its module JSON::PP is not installed: nothing in Perl is run");
    }
    has
}

/// Returns a program that finds the command on `PATH`.
fn program(dir: &Dir, name: &str) -> Command {
    let directory = Path::new(env!("CARGO_BIN_EXE_capscache")).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut program = Command::new(name);
    dir.prepare(&mut program);
    program.env("PATH", format!("{}:{path}", directory.display()));
    program
}

/// Returns the example in a language in `docs/json.md`.
fn example(language: &str) -> &'static str {
    let examples = include_str!("../../docs/json.md").split_once(&format!("```{language}\n"));
    examples.expect("an example").1.split("```").next().expect("its end")
}

#[test]
fn the_example_for_shell_in_the_page_about_json_runs() {
    let dir = Dir::new();
    x86_64();
    if !has("jq") {
        return;
    }
    let run = crate::run(program(&dir, "sh").args(["-eu", "-c", example("sh")]));
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "yes\n", ""));
}

#[test]
fn the_example_for_perl_in_the_page_about_json_runs() {
    let dir = Dir::new();
    x86_64();
    if !has_perl() {
        return;
    }
    let run = crate::run(program(&dir, "perl").args(["-Mstrict", "-w", "-e", example("perl")]));
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "q35: yes\n", ""));
}

#[test]
fn a_driver_in_perl_gets_answers_to_the_questions_of_proxmox() {
    let dir = Dir::new();
    if !has_perl() {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/drivers/proxmox.pl");
    let run = |arguments: &[&str]| crate::run(program(&dir, "perl").arg(script).args(arguments));
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
