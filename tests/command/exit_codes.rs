//! `docs/exit-codes.md`, against the command.

use std::fs;

use crate::{Dir, avr};

const TABLE: &str = include_str!("../../docs/exit-codes.md");

/// Returns the codes of a command that the table describes.
fn documented(command: &str) -> Vec<i32> {
    let row = TABLE.lines().find_map(|line| line.strip_prefix(&format!("| {command} |")));
    let row = row.unwrap_or_else(|| panic!("{command} is not in the table"));
    let cells = row.split('|').take(6).map(str::trim);
    let described = (0..).zip(cells).filter(|(_, cell)| !cell.is_empty());
    described.map(|(code, _)| code).collect()
}

/// Runs command lines and compares their codes with those that the table describes, in order.
fn assert_codes(dir: &Dir, command: &str, lines: &[&[&str]]) {
    let found: Vec<_> = lines.iter().map(|line| dir.run(line).code.expect("a code")).collect();
    assert_eq!(found, documented(command), "{command}");
}

#[test]
fn every_code_of_the_table_is_that_of_the_command() {
    let dir = Dir::new();
    let avr = avr();
    let copy = dir.program("qemu-system-copy", fs::read(&avr).expect("an emulator"));
    let broken = dir.program("qemu-system-broken", "#!/bin/sh\nexit 1\n");
    let missing = dir.program("qemu-system-missing", "");
    let usage: &[&str] = &["--none-such"];
    assert_codes(&dir, "every command, unless it is below", &[&["list"], &["export", "none-such"]]);
    assert_codes(&dir, "`warm`", &[&["warm", &avr, &copy], &["warm", &broken], &["warm"]]);
    // AVR has no query-cpu-definitions.
    assert_codes(
        &dir,
        "`query`",
        &[
            &["query", &avr, "machine:uno"],
            &["query", &avr, "machine:uno", "machine:q35", "cpu:avr5"],
            &["query", &avr, "colour:red"],
            &["query", &avr, "machine:uno", "cpu:avr5"],
        ],
    );
    dir.program("qemu-system-copy", "#!/bin/sh\n");
    assert_codes(
        &dir,
        "`status`",
        &[&["status", &avr], &["status", &copy], usage, &["status", &missing]],
    );
    let damage = |name: &str| {
        let entry =
            dir.listed(name).expect("an entry")["file"].as_str().expect("a path").to_owned();
        let mut bytes = fs::read(&entry).expect("an entry");
        *bytes.last_mut().expect("a byte") ^= 1;
        fs::write(&entry, bytes).expect("an entry");
    };
    assert_eq!(dir.run(&["verify"]).code, Some(0));
    assert_eq!(dir.run(&["doctor"]).code.map(|code| code < 2), Some(true));
    damage(&avr);
    assert_eq!(dir.run(&["verify"]).code, Some(1));
    assert_eq!(dir.run(&["verify", "--none-such"]).code, Some(2));
    assert_eq!(documented("`verify`"), [0, 1, 2]);
    // Its codes are tested in `host.rs`, and those of `run` where guests are started.
    assert_eq!(documented("`doctor`"), [0, 1, 2]);
    assert_eq!(documented("`libvirt seed`"), [0, 1, 2]);
    assert_eq!(documented("`run`"), [0, 1, 2, 3, 4, 5]);
}
