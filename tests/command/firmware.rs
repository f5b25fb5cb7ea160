//! Firmware descriptors, as the command shows and queries them. The host may have some of its own.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{Dir, Run, avr, run, text, x86_64};

pub(crate) const SECURE: &str = r#"{
    "description": "with Secure Boot",
    "interface-types": ["uefi", "bios"],
    "mapping": {
        "device": "flash",
        "executable": {"filename": "/fw/code.fd", "format": "raw"},
        "nvram-template": {"filename": "/fw/vars.fd", "format": "raw"}
    },
    "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*", "microvm"]}],
    "features": ["secure-boot", "made-up-by-a-test"],
    "tags": [],
    "later": {"b": 1, "a": [2.50]}
}"#;

/// The command, for a user whose descriptors are in the directory that is returned.
pub(crate) fn with_user(dir: &Dir, arguments: &[&str]) -> Run {
    run(dir.command().env("XDG_CONFIG_HOME", dir.path("config")).args(arguments))
}

pub(crate) fn users_directory(dir: &Dir) -> PathBuf {
    let directory = dir.path("config/qemu/firmware");
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

#[test]
fn firmware_for_the_architecture_is_shown_in_the_order_of_preference() {
    let dir = Dir::new();
    let users = users_directory(&dir);
    for name in ["1-second.json", "0-first.json"] {
        fs::write(users.join(name), SECURE).expect("a file");
    }
    fs::write(users.join("0-other.json"), SECURE.replace("x86_64", "other")).expect("a file");
    fs::write(users.join("2-cut\u{202e}.json"), "{").expect("a file");
    let shown = with_user(&dir, &["inspect", &x86_64(), "firmware"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["FIRMWARE", "INTERFACE", "MAPPING", "MACHINES", "FEATURES"]
    );
    const ROW: &str = "uefi bios flash split /fw/code.fd /fw/vars.fd pc-q35-* microvm secure-boot made-up-by-a-test";
    for (line, name) in lines[1..].iter().zip(["0-first.json", "1-second.json"]) {
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), format!("{name} {ROW}"));
    }
    assert!(!shown.stdout.contains("0-other.json"));
    let broken = lines.iter().find(|line| line.contains("2-cut")).expect("the broken one");
    assert!(broken.contains(r"2-cut\u{202e}.json: ") && broken.contains("; fix it"), "{broken}");
    assert!(broken.contains("EOF while parsing"), "{broken}");
    let none = with_user(&dir, &["inspect", &avr(), "firmware"]);
    let first = none.stdout.lines().next();
    assert_eq!(first, Some("no firmware descriptor of this host is for avr"));
}

#[test]
fn firmware_as_json_has_descriptors_exactly_and_the_machines_that_they_fit() {
    let dir = Dir::new();
    let users = users_directory(&dir);
    fs::write(users.join("0-first.json"), SECURE).expect("a file");
    fs::create_dir(users.join("1-directory.json")).expect("a directory");
    let shown = with_user(&dir, &["inspect", &x86_64(), "firmware", "--json"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let json: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let keys =
        |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["firmware", "broken"]);
    let first = &json["firmware"][0];
    assert_eq!(keys(first), ["path", "machines", "descriptor"]);
    assert_eq!(first["path"], text(&users.join("0-first.json")));
    let exact: Value = serde_json::from_str(SECURE).expect("JSON");
    assert_eq!(first["descriptor"].to_string(), exact.to_string());
    let entry = dir.json(&["inspect", &x86_64(), "machines", "--json"]);
    let all = entry["tcg"].as_array().expect("machines").iter();
    let named = all.map(|machine| machine["name"].as_str().expect("a name").to_owned());
    let fitting = named.filter(|name| name.starts_with("pc-q35-") || name == "microvm");
    let mut expected: Vec<_> = fitting.collect();
    expected.sort();
    let machines = first["machines"].as_array().expect("an array").iter();
    let mut machines: Vec<_> = machines.map(|name| name.as_str().expect("a name")).collect();
    assert!(machines.len() > 3, "{machines:?}");
    machines.sort_unstable();
    assert_eq!(machines, expected);
    let directory = text(&users.join("1-directory.json"));
    let reason = format!(
        "cannot use the firmware descriptor {directory}: it is not a regular file; remove it, or replace it by an \
         empty file to hide a descriptor"
    );
    assert_eq!(json["broken"], json!([{"path": directory, "reason": reason}]));
}

#[test]
fn firmware_is_queried_in_its_present_state_and_hidden_by_an_empty_file() {
    let dir = Dir::new();
    let users = users_directory(&dir);
    const QUESTION: &str = "firmware:uefi,made-up-by-a-test";
    let query = |expected: (i32, &str)| {
        let run = with_user(&dir, &["query", &x86_64(), QUESTION]);
        let answer = run.stdout.trim_end().rsplit('\t').next().expect("an answer").to_owned();
        assert_eq!((run.code, &*answer), (Some(expected.0), expected.1), "{run:?}");
    };
    query((1, "no"));
    fs::write(users.join("0-a.json"), SECURE).expect("a file");
    query((0, "yes"));
    fs::write(users.join("0-a.json"), "").expect("a file");
    query((1, "no"));
    fs::write(users.join("0-a.json"), "{").expect("a file");
    query((3, "unknown"));
    // Without XDG_CONFIG_HOME it is in the home directory.
    fs::write(users.join("0-a.json"), SECURE).expect("a file");
    fs::rename(dir.path("config"), dir.path(".config")).expect("a rename");
    query((1, "no"));
    let mut command = dir.command();
    command.env("HOME", dir.path(".")).env("XDG_CONFIG_HOME", "config");
    let home = run(command.args(["query", &x86_64(), QUESTION]));
    assert_eq!(home.code, Some(0), "{home:?}");
}
