//! Completion of command lines: `capscache complete`, and the scripts that call it.

use std::process::Command;

use test_support::has;

use crate::{Dir, avr, x86_64};

/// Returns the candidates for the last word, without their descriptions.
pub(crate) fn candidates(dir: &Dir, words: &[&str]) -> Vec<String> {
    let answer = dir.answer(&[&["complete", "--"], words].concat());
    answer.lines().map(|line| line.split('\t').next().expect("a word").to_owned()).collect()
}

#[test]
fn commands_options_and_their_values_are_completed() {
    let dir = Dir::new();
    assert_eq!(candidates(&dir, &["insp"]), ["inspect"]);
    assert_eq!(candidates(&dir, &["list", "--for"]), ["--format"]);
    assert_eq!(candidates(&dir, &["list", "--format", ""]), ["table", "json", "yaml"]);
    for command in [&[][..], &["warm"], &["verify"], &["gc"], &["invalidate"], &["libvirt", "seed"]]
    {
        assert_eq!(candidates(&dir, &[command, &["--js"]].concat()), ["--json"], "{command:?}");
    }
    assert_eq!(candidates(&dir, &["query", "--libvirt", "1"]), ["10.0", "11.3", "12.8"]);
    assert!(!candidates(&dir, &[""]).contains(&"complete".to_owned()), "it is for scripts");
    let described = dir.answer(&["complete", "--", "doct"]);
    assert!(described.starts_with("doctor\tCheck this host"), "{described}");
}

#[test]
fn emulators_sections_and_kinds_are_completed_without_an_entry() {
    let dir = Dir::new();
    avr();
    for command in
        [&["inspect"][..], &["query"], &["warm"], &["status"], &["diff"], &["libvirt", "seed"]]
    {
        let found = candidates(&dir, &[command, &["qemu-system-av"]].concat());
        assert_eq!(found, ["qemu-system-avr"], "{command:?}");
    }
    dir.program("qemu-system-mine", "#!/bin/sh\n");
    dir.program("qemu-system-m\u{1b}[31m\nine", "#!/bin/sh\n");
    dir.program("qemu-system-m\u{200b}", "#!/bin/sh\n");
    assert_eq!(candidates(&dir, &["inspect", "./qemu-system-m"]), ["./qemu-system-mine"]);
    assert_eq!(
        candidates(&dir, &["inspect", "qemu-system-avr", "m"]),
        ["machines", "migration", "machine:"]
    );
    let kinds = candidates(&dir, &["query", "qemu-system-avr", "c"]);
    assert_eq!(kinds, ["cpu:", "cpu-model:", "command:"]);
}

#[test]
fn names_come_from_a_valid_entry_and_nothing_is_probed_for_them() {
    let dir = Dir::new();
    let (avr, x86_64) = (avr(), x86_64());
    assert!(candidates(&dir, &["query", &avr, "machine:un"]).is_empty());
    assert!(!dir.root().exists(), "nothing is probed");
    dir.answer(&["warm", &avr, &x86_64]);
    assert_eq!(candidates(&dir, &["query", &avr, "machine:un"]), ["machine:uno"]);
    assert_eq!(candidates(&dir, &["query", &avr, "machine:uno", "machine:un"]), ["machine:uno"]);
    assert_eq!(candidates(&dir, &["inspect", &avr, "machine:un"]), ["machine:uno"]);
    assert_eq!(candidates(&dir, &["export", &avr, "--machine", "un"]), ["uno"]);
    let root = dir.root();
    let root = root.to_str().expect("UTF-8");
    assert_eq!(candidates(&dir, &["--root", root, "query", &avr, "machine:un"]), ["machine:uno"]);
    for (begin, expected) in [
        ("cpu:EPYC-R", "cpu:EPYC-Rome"),
        ("device:virtio-blk-p", "device:virtio-blk-pci"),
        ("property:virtio-blk-p", "property:virtio-blk-pci."),
        ("property:max-x86_64-cpu.pm", "property:max-x86_64-cpu.pmu"),
        ("type:virtio-blk-p", "type:virtio-blk-pci"),
        ("command:blockdev-ad", "command:blockdev-add"),
        ("event:SHUT", "event:SHUTDOWN"),
        ("option:sandb", "option:sandbox"),
        ("flag:virtio-gpu", "flag:virtio-gpu"),
    ] {
        let found = candidates(&dir, &["query", &x86_64, begin]);
        assert!(found.iter().any(|name| name == expected), "{begin}: {found:?}");
        assert!(found.iter().all(|name| name.starts_with(begin)), "{begin}: {found:?}");
    }
}

#[test]
fn every_kind_of_query_is_completed() {
    let dir = Dir::new();
    let mut found = candidates(&dir, &["query", &avr(), ""]);
    found.retain(|candidate| !candidate.starts_with('-'));
    let kinds: Vec<_> = capscache_query::KINDS.split(", ").map(|kind| format!("{kind}:")).collect();
    assert_eq!(found, kinds);
}

/// Completes `capscache query EMULATOR machine:un` with a script of a shell; `None` and a report where it is missing.
fn complete_with(dir: &Dir, shell: &str, script: &str) -> Option<String> {
    if !has(shell) {
        return None;
    }
    let directory =
        std::path::Path::new(env!("CARGO_BIN_EXE_capscache")).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(shell);
    dir.prepare(&mut command);
    command.env("PATH", format!("{}:{path}", directory.display())).args(["-c", script]);
    let run = crate::run(&mut command);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    Some(run.stdout)
}

#[test]
fn the_script_for_bash_completes_a_query_behind_its_colon() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    let script = r#"
        eval "$(capscache completions bash)"
        compopt() { :; }
        complete_line() { COMP_LINE=$1 COMP_POINT=${#1}; _capscache; printf '%s\n' "${COMPREPLY[@]}"; }
        complete_line 'capscache query qemu-system-avr machine:un'
        complete_line 'capscache inspec'
        complete_line 'capscache list --format '
    "#;
    let Some(shown) = complete_with(&dir, "bash", script) else { return };
    assert_eq!(shown, "uno\ninspect\ntable\njson\nyaml\n");
}

#[test]
fn the_script_for_fish_completes_a_query() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    let script = "capscache completions fish | source; complete -C 'capscache query qemu-system-avr machine:un'";
    let Some(shown) = complete_with(&dir, "fish", script) else { return };
    assert_eq!(shown, "machine:uno\n");
}

#[test]
fn the_script_for_zsh_completes_a_query() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    // Without a terminal zsh runs no completion: its commands are replaced by functions that print.
    let script = r#"
        compdef() { :; }
        compadd() { print -l -- "${whole[@]}" "${begun[@]}"; }
        eval "$(capscache completions zsh)"
        words=(capscache query qemu-system-avr machine:un) CURRENT=4
        _capscache
    "#;
    let Some(shown) = complete_with(&dir, "zsh", script) else { return };
    assert_eq!(shown.trim_end(), "machine:uno");
}
