//! `record` and `replay`: the model without any QEMU.

use std::fs;
use std::process::{Command, Stdio};

use snapbox::str;

use crate::{Dir, avr, kvm_works, text, x86_64};

#[test]
fn a_recording_replays_to_the_export() {
    let dir = Dir::new();
    for emulator in [avr(), x86_64()] {
        let file = text(&dir.path("transcript"));
        assert_eq!(dir.answer(&["record", &emulator, "-o", &file]), "");
        assert_eq!(dir.json(&["list", "--json"]).as_array().map_or(0, Vec::len), 0);
        let replayed = dir.answer(&["replay", &file, "--format", "json"]);
        let exported = dir.answer(&["export", &emulator, "--format", "json"]);
        assert!(replayed == exported, "{emulator} differs");
        dir.answer(&["invalidate", "--all"]);
    }
}

#[test]
fn a_full_recording_has_the_properties_of_devices() {
    let dir = Dir::new();
    let file = text(&dir.path("transcript"));
    dir.answer(&["record", &avr(), "--full", "-o", &file]);
    dir.answer(&["warm", "--full", &avr()]);
    let replayed = dir.json(&["replay", &file]);
    let exported = dir.json(&["export", &avr()]);
    assert!(exported["devices"].as_object().is_some_and(|devices| devices.len() > 10));
    for key in ["devices", "objects", "accelerators", "refused", "quarantined"] {
        assert!(replayed[key] == exported[key], "{key} differs");
    }
}

#[test]
fn a_recording_without_kvm_has_commands_under_tcg_alone() {
    let dir = Dir::new();
    let under = |arguments: &[&str]| {
        fs::write(dir.path("transcript"), dir.answer(arguments)).expect("a file");
        let json = dir.json(&["replay", "transcript"]);
        json["accelerators"].as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(under(&["record", &x86_64(), "--no-kvm"]), ["tcg"]);
    if kvm_works() {
        assert_eq!(under(&["record", &x86_64()]), ["kvm", "tcg"]);
    }
}

#[test]
fn a_transcript_may_be_compressed_and_may_come_from_stdin() {
    let dir = Dir::new();
    let transcript = dir.answer(&["record", &avr()]);
    fs::write(dir.path("plain"), transcript).expect("a file");
    let gzip = Command::new("gzip").args(["-k", "plain"]).current_dir(dir.directory()).status();
    assert!(gzip.expect("gzip is installed").success());
    let plain = dir.answer(&["replay", "plain"]);
    assert_eq!(dir.answer(&["replay", "plain.gz"]), plain);
    let mut command = dir.command();
    command.args(["replay", "-"]).stdin(fs::File::open(dir.path("plain.gz")).expect("a file"));
    let output = command.stderr(Stdio::inherit()).output().expect("the command starts");
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), plain);
}

#[test]
fn a_truncated_transcript_is_reported() {
    let dir = Dir::new();
    let transcript = dir.answer(&["record", &avr()]);
    let line =
        transcript.lines().position(|line| line.contains(r#""execute": "query-qmp-schema""#));
    let in_a_line = &transcript[..transcript.len() / 2];
    let behind_a_command: String =
        transcript.split_inclusive('\n').take(line.expect("a command") + 1).collect();
    for (name, content) in [
        ("in-a-line", in_a_line),
        ("behind-a-command", &behind_a_command),
        ("empty", ""),
        ("text", "no transcript\n"),
    ] {
        fs::write(dir.path(name), content).expect("a file");
    }
    let names = ["in-a-line", "behind-a-command", "empty", "text", "gone"];
    let commands = names.map(|name| ["replay", name]);
    let shown = dir.session(&commands.each_ref().map(|command| &command[..]));
    dir.assert_snapshot(&shown, str![[r#"
$ capscache replay in-a-line
! capscache: cannot replay in-a-line: cannot read the transcript: object [..] is damaged or cut off: EOF while parsing [..]
exit code: 2
$ capscache replay behind-a-command
! capscache: cannot replay behind-a-command: cannot read the transcript: it is cut off: query-qmp-schema has no reply
exit code: 2
$ capscache replay empty
! capscache: cannot replay empty: cannot read the transcript: it contains no pass
exit code: 2
$ capscache replay text
! capscache: cannot replay text: cannot read the transcript: object 1 is damaged or cut off: expected ident at line 1 column 2
exit code: 2
$ capscache replay gone
! capscache: cannot read gone: No such file or directory
exit code: 2

"#]]);
}
