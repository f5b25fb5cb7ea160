//! `--format`: answers for people, in JSON and in YAML.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{Dir, avr, text, x86_64};

/// Parses YAML with another program's parser; `None` where there is none.
fn parse_yaml(yaml: &str) -> Option<Value> {
    let script =
        "import json, sys, yaml\njson.dump(list(yaml.safe_load_all(sys.stdin.buffer)), sys.stdout)";
    let mut python = Command::new("python3");
    python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut python) = python.spawn() else {
        println!("SKIPPED: python3 is not installed: no parser of YAML to compare with");
        return None;
    };
    // It ends without reading where it has no such module.
    let _ = python.stdin.take().expect("a pipe").write_all(yaml.as_bytes());
    let output = python.wait_with_output().expect("it ends");
    if !output.status.success() {
        let mut module = Command::new("python3");
        let has_module = module.args(["-c", "import yaml"]).stderr(Stdio::null()).status();
        assert!(!has_module.expect("it starts").success(), "cannot parse {yaml}");
        println!("SKIPPED: python3-yaml is not installed: no parser of YAML to compare with");
        return None;
    }
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn yaml_has_the_values_of_json_and_json_is_the_short_form_of_its_format() {
    let dir = Dir::new();
    let (avr, x86_64) = (avr(), x86_64());
    dir.answer(&["warm", &avr, &x86_64]);
    let guest = dir.path("guest.xml");
    fs::write(&guest, "<domain type='kvm'><name>a</name><os><type arch='x86_64' machine='pc-q35-7.2'>hvm\
                            </type></os><devices><disk type='file'><target dev='vda' bus='virtio'/></disk>\
                            </devices></domain>")
    .expect("a file");
    for arguments in [
        &["list"][..],
        &["status", &avr],
        &["inspect", &avr],
        &["inspect", &avr, "machines"],
        &["inspect", &x86_64, "cpu:EPYC"],
        &["inspect", &avr, "report"],
        &["diff", &avr, &x86_64],
        &["query", &avr, "machine:uno", "command:query-version"],
        &["query", &avr, "machine:uno", "--explain"],
        &["devaddr", "guest.xml"],
        &["verify"],
        &["gc"],
        &["invalidate", "none-such"],
    ] {
        let with = |format: &[&str]| dir.answer(&[arguments, format].concat());
        let json = with(&["--json"]);
        assert_eq!(with(&["--format", "json"]), json, "{arguments:?}");
        assert_eq!(with(&["--format", "table"]), with(&[]), "{arguments:?}");
        let yaml = with(&["--format", "yaml"]);
        assert_ne!(yaml, json);
        let Some(parsed) = parse_yaml(&yaml) else { return };
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(parsed, Value::Array(vec![json]), "{arguments:?}");
    }
    let export = dir.json(&["export", &avr]);
    let yaml = dir.answer(&["export", &avr, "--format", "yaml"]);
    assert_eq!(parse_yaml(&yaml), Some(Value::Array(vec![export])));
}

#[test]
fn queries_are_answered_in_json_with_the_exit_code_of_the_worst() {
    let dir = Dir::new();
    let run = dir.run(&["query", &avr(), "machine:uno", "machine:q35", "--json"]);
    let answers: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let expected = json!([
        {"query": "machine:uno", "answer": "yes"},
        {"query": "machine:q35", "answer": "no"},
    ]);
    assert_eq!((run.code, answers), (Some(1), expected));
    let explained = dir.json(&["query", &avr(), "machine:uno", "--json", "--explain"]);
    assert!(explained[0]["reason"].is_string(), "{explained}");
}

#[test]
fn programs_get_what_warm_did_for_each_emulator_in_the_order_of_the_command_line() {
    let dir = Dir::new();
    let (avr, link) = (avr(), text(&dir.path("qemu-link")));
    symlink(&avr, &link).expect("a link");
    let run = dir.run(&["warm", "--json", &link, "/bin/true", &avr]);
    assert_eq!(run.code, Some(1));
    let failure = "cannot start /bin/true: it sent no QMP greeting: exited with status 0";
    assert_eq!(run.complaint(), failure);
    let mut results: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let version = results[2]["version"].take();
    assert!(version["major"].is_u64(), "{version}");
    assert!(results[2]["milliseconds"].take().as_u64().is_some_and(|time| time > 0));
    assert_eq!(results[0]["version"].take(), version);
    let warmed = |emulator: &str, result: &str, same: Option<&str>| {
        json!({"emulator": emulator, "result": result, "milliseconds": null, "same-file-as": same, "reason": null,
            "version": null, "arch": "avr", "accelerators": ["tcg"], "missing": []})
    };
    let failed = json!({"emulator": "/bin/true", "result": "failed", "milliseconds": null, "same-file-as": null,
        "reason": failure, "version": null, "arch": null, "accelerators": null, "missing": null});
    let expected = [warmed(&link, "same-file", Some(&avr)), failed, warmed(&avr, "probed", None)];
    assert_eq!(results, json!(expected));
    let known = dir.json(&["warm", "--known", "--json"]);
    let cached: Vec<_> =
        known.as_array().expect("a list").iter().map(|one| &one["result"]).collect();
    assert_eq!(cached, ["cached", "cached"]);
}

#[test]
fn programs_get_what_verify_gc_and_invalidate_found_and_dropped() {
    let dir = Dir::new();
    assert_eq!(dir.json(&["warm", "--known", "--json"]), json!([]));
    let (avr, gone) = (avr(), dir.wrapper("qemu-gone", &avr()));
    dir.answer(&["warm", &avr, &gone]);
    assert_eq!(dir.json(&["verify", "--json"]), json!({"good": 2, "damaged": []}));
    fs::remove_file(&gone).expect("a removal");
    let nothing = json!({"emulators": [], "releases": [], "damaged": 0, "failures": 0, "temporaries": 0,
        "scratch-directories": 0, "skipped": []});
    let mut dropped = nothing.clone();
    dropped["emulators"] = json!([gone]);
    assert_eq!(dir.json(&["gc", "--json"]), dropped);
    assert_eq!(dir.json(&["gc", "--json"]), nothing);
    let file = dir.listed(&avr).expect("an entry")["file"].as_str().expect("a path").to_owned();
    fs::write(&file, "cut").expect("a file");
    let verified = dir.run(&["verify", "--json"]);
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(1), ""));
    let verified: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    let damaged = &verified["damaged"][0];
    assert_eq!((&verified["good"], &damaged["state"]), (&json!(0), &json!("damaged")));
    assert_eq!((&damaged["file"], damaged["reason"].is_string()), (&json!(file), true));
    assert_eq!(dir.json(&["list", "--json"])[0], *damaged);
    let invalidated = dir.json(&["invalidate", "--json", &avr, &gone]);
    assert_eq!(invalidated, json!({"dropped": 1, "missing": [gone]}));
    assert_eq!(dir.json(&["invalidate", "--json", "--all"]), json!({"dropped": 0, "missing": []}));
}

#[test]
fn two_formats_at_once_are_refused() {
    let dir = Dir::new();
    for arguments in [
        &["list", "--json", "--format", "yaml"][..],
        &["list", "--json", "--format", "json"],
        &["list", "--format", "xml"],
        &["--json", "list"],
        &["--json", "list", "--json"],
        &["devaddr", "x", "--tree", "--format", "json"],
        &["devaddr", "x", "--tree", "--json"],
    ] {
        let run = dir.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {run:?}");
    }
}

#[test]
fn a_table_is_as_wide_as_a_terminal_and_never_wrapped_elsewhere() {
    let dir = Dir::new();
    dir.answer(&["warm", &avr()]);
    let plain = dir.answer(&["list"]);
    assert_eq!(plain.lines().count(), 2, "{plain}");
    let list = |columns: usize| {
        let command = format!("stty cols {columns}; {} list", env!("CARGO_BIN_EXE_capscache"));
        let mut script = Command::new("script");
        dir.prepare(&mut script);
        script.args(["-q", "-e", "-c", &command, "/dev/null"]).env("NO_COLOR", "1");
        match script.output() {
            Ok(output) => Some(String::from_utf8(output.stdout).expect("UTF-8").replace('\r', "")),
            Err(error) => {
                println!("SKIPPED: no terminal can be made, as script cannot be started: {error}");
                None
            }
        }
    };
    let (Some(wide), Some(narrow)) = (list(500), list(70)) else { return };
    assert_eq!(wide, plain);
    assert!(narrow.lines().count() > 2, "{narrow}");
    assert!(narrow.lines().all(|line| line.len() <= 70), "{narrow}");
    let words = |text: &str| text.split_whitespace().collect::<String>().len();
    assert_eq!(words(&narrow), words(&plain), "nothing is cut off");
}
