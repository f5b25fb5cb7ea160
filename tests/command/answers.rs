//! `query`, `inspect`, `export`, `diff`: the capabilities of an emulator.

use serde_json::Value;

use crate::{Dir, SECTIONS, avr, emulator, kvm_works, x86_64};

#[test]
fn each_query_is_answered_on_its_own_line_in_the_given_order() {
    let dir = Dir::new();
    let run = dir.run(&["query", &avr(), "machine:uno", "machine:q35", "command:query-version"]);
    assert_eq!(run.stdout, "machine:uno\tyes\nmachine:q35\tno\ncommand:query-version\tyes\n");
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
}

#[test]
fn the_exit_code_of_a_query_is_that_of_its_worst_answer() {
    let dir = Dir::new();
    let code = |queries: &[&str]| {
        let avr = avr();
        dir.run(&[&["query", avr.as_str()], queries].concat()).code
    };
    assert_eq!(code(&["machine:uno", "event:SHUTDOWN"]), Some(0));
    assert_eq!(code(&["machine:uno", "machine:q35"]), Some(1));
    // AVR has no query-cpu-definitions.
    assert_eq!(code(&["machine:uno", "cpu:avr5"]), Some(3));
    assert_eq!(code(&["cpu:avr5", "machine:q35"]), Some(1));
    assert_eq!(code(&["machine:uno", "colour:red"]), Some(2));
}

#[test]
fn every_kind_of_query_is_answered() {
    let dir = Dir::new();
    let yes = [
        "machine:q35",
        "cpu:max@tcg",
        "cpu-model:EPYC",
        "device:virtio-blk-pci",
        "property:virtio-blk-pci.queue-size",
        "type:virtio-blk-pci",
        "command:blockdev-add",
        "event:SHUTDOWN",
        "option:sandbox",
        "schema:blockdev-add/arg-type/+file/aio/^threads",
    ];
    let no = [
        "machine:virt",
        "cpu:none-such@tcg",
        "cpu-model:cortex-a57",
        "device:virtio-blk-ccw",
        "property:virtio-blk-pci.none-such",
        "type:none-such",
        "command:none-such",
        "event:NONE_SUCH",
        "option:none-such",
        "schema:blockdev-add/arg-type/+none-such",
    ];
    for (queries, answer, code) in [(yes, "yes", 0), (no, "no", 1)] {
        let run = dir.run(&[&["query", x86_64().as_str()][..], &queries].concat());
        let expected: String = queries.iter().map(|query| format!("{query}\t{answer}\n")).collect();
        assert_eq!((run.code, run.stdout), (Some(code), expected));
    }
}

#[test]
fn a_group_is_filled_when_a_query_first_needs_it() {
    let dir = Dir::new();
    let groups = || dir.listed(&x86_64()).expect("an entry")["groups"].clone();
    assert_eq!(dir.answer(&["query", &x86_64(), "device:e1000"]), "device:e1000\tyes\n");
    assert_eq!(groups(), serde_json::json!(["core"]));
    let query = ["query", &x86_64(), "property:e1000.mac"];
    assert_eq!(dir.answer(&query), "property:e1000.mac\tyes\n");
    assert_eq!(groups(), serde_json::json!(["core", "devices"]));
    assert_eq!(dir.answer(&[&query[..], &["--no-probe"]].concat()), "property:e1000.mac\tyes\n");
}

#[test]
fn an_export_has_the_keys_of_the_contract() {
    let dir = Dir::new();
    let export = dir.answer(&["export", &x86_64()]);
    assert_eq!(export.lines().count(), 1);
    let json: Value = serde_json::from_str(&export).expect("JSON");
    assert_eq!(json["emulator"], x86_64());
    assert_eq!(json["executable"], x86_64());
    assert_eq!(json["sha256"].as_str().expect("a digest").len(), 64);
    assert!(json["version"]["major"].is_u64());
    assert_eq!(json["arch"], "x86_64");
    for key in ["commands", "events", "types", "command-line-options", "schema"] {
        assert!(json[key].as_array().is_some_and(|all| all.len() > 10), "{key}");
    }
    for key in ["accelerators-present", "migration-capabilities", "tpm-models", "refused"] {
        assert!(json[key].is_array(), "{key}");
    }
    let tcg = &json["accelerators"]["tcg"];
    for key in ["machines", "cpu-definitions", "host-cpu"] {
        assert!(tcg[key].as_array().is_some_and(|all| !all.is_empty()), "{key}");
    }
    assert!(json["commands"].as_array().expect("names").contains(&"query-version".into()));
    assert_eq!(json["kvm"]["enabled"], kvm_works());
}

#[test]
fn an_overview_shows_the_most_important_capabilities() {
    let dir = Dir::new();
    let text = dir.answer(&["inspect", &x86_64()]);
    let json = dir.json(&["export", &x86_64()]);
    let value = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{name} is missing in:\n{text}")).to_owned()
    };
    let version = &json["version"];
    let version = format!("{}.{}.{}", version["major"], version["minor"], version["micro"]);
    assert!(value("version").contains(&version), "{text}");
    assert!(value("architecture").ends_with("x86_64"));
    assert!(value("default machine").contains("(pc)"));
    let machines = json["accelerators"]["tcg"]["machines"].as_array().expect("machines").len();
    assert!(value("under tcg").contains(&format!("{machines} machines")));
    assert!(text.lines().count() < 25, "it fits a screen");
}

#[test]
fn every_section_has_rows_and_its_columns_end_cleanly() {
    let dir = Dir::new();
    for section in SECTIONS {
        let text = dir.answer(&["inspect", &x86_64(), section]);
        assert!(text.lines().count() >= 2, "{section}: {text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{section}: {text}");
    }
    let machines = dir.answer(&["inspect", &x86_64(), "machines"]);
    let q35 = machines.lines().find(|line| line.contains(" q35 ")).expect("q35");
    assert!(q35.starts_with("pc-q35-"), "{q35}");
}

#[test]
fn a_single_item_is_shown_with_its_properties() {
    let dir = Dir::new();
    let first_words = |section: &str| -> Vec<String> {
        let text = dir.answer(&["inspect", &x86_64(), section]);
        text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    };
    assert!(first_words("device:e1000").contains(&"mac".to_owned()));
    assert!(first_words("object:iothread").contains(&"poll-max-ns".to_owned()));
    assert!(first_words("machine:q35").contains(&"cpu-max".to_owned()));
    assert!(first_words("cpu:EPYC").contains(&"typename".to_owned()));
    assert!(first_words("type:e1000").contains(&"device".to_owned()));
    let missing = dir.run(&["inspect", &x86_64(), "device:none-such"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(2), ""));
    assert_eq!(missing.complaint(), "the emulator has no device \"none-such\"");
}

#[test]
fn a_section_in_json_is_the_part_of_the_export_that_it_shows() {
    let dir = Dir::new();
    let avr = avr();
    let devices = dir.json(&["inspect", &avr, "devices", "--json"]);
    let export = dir.json(&["export", &avr]);
    assert_eq!(devices, export["devices"]);
    assert_eq!(dir.json(&["inspect", &avr, "--json"]), export);
    assert_eq!(dir.json(&["export", &avr, "--json"]), export);
    let both = dir.run(&["export", &avr, "--json", "--format", "yaml"]);
    assert_eq!((both.code, both.stdout.as_str()), (Some(2), ""));
    assert_eq!(dir.json(&["inspect", &avr, "types", "--json"]), export["types"]);
    assert_eq!(dir.json(&["inspect", &avr, "options", "--json"]), export["command-line-options"]);
    let machines = dir.json(&["inspect", &avr, "machines", "--json"]);
    assert_eq!(machines["tcg"], export["accelerators"]["tcg"]["machines"]);
    let size = dir.json(&["inspect", &avr, "device:unimplemented-device", "--json"]);
    assert_eq!(size, export["devices"]["unimplemented-device"]);
}

#[test]
fn a_diff_names_the_capabilities_that_only_one_of_two_has() {
    let dir = Dir::new();
    let (a, b) = (x86_64(), emulator("aarch64"));
    let text = dir.answer(&["diff", &a, &b]);
    assert!(text.lines().any(|line| line == "- microvm"), "{text}");
    assert!(text.lines().any(|line| line == "+ virt"), "{text}");
    let json = dir.json(&["diff", &a, &b, "--json"]);
    let machines = &json["differences"]["machines"];
    assert!(machines["only-a"].as_array().expect("names").contains(&"microvm".into()));
    assert!(machines["only-b"].as_array().expect("names").contains(&"virt".into()));
    let reverse = dir.json(&["diff", &b, &a, "--json"]);
    assert_eq!(reverse["differences"]["machines"]["only-a"], machines["only-b"]);
    // ARM reports the names of its CPU models, but not which of them run.
    assert_eq!(json["unknown"]["usable-cpu-models@tcg"], "b");
}

#[test]
fn a_diff_compares_properties_where_both_have_them() {
    let dir = Dir::new();
    let (a, b) = (avr(), emulator("rx"));
    assert!(dir.answer(&["diff", &a, &b]).contains("properties were not compared"));
    dir.answer(&["warm", "--full", &a, &b]);
    assert!(!dir.answer(&["diff", &a, &b]).contains("properties were not compared"));
    let same = dir.json(&["diff", &a, &a, "--json"]);
    assert_eq!(same["differences"], serde_json::json!({}));
    assert!(dir.answer(&["diff", &a, &a]).contains("no differences"));
}

#[test]
fn without_permission_to_probe_nothing_is_probed() {
    let dir = Dir::new();
    let avr = avr();
    for arguments in [
        &["query", &avr, "machine:uno"][..],
        &["inspect", &avr],
        &["export", &avr],
        &["diff", &avr, &avr],
    ] {
        let run = dir.run(&[arguments, &["--no-probe"]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
        let complaint = run.complaint();
        assert!(complaint.contains("there is no entry; run `capscache warm /"), "{complaint}");
    }
    assert_eq!(dir.json(&["list", "--json"]), serde_json::json!([]));
    dir.answer(&["warm", &avr]);
    assert_eq!(dir.answer(&["query", "--no-probe", &avr, "machine:uno"]), "machine:uno\tyes\n");
    let run = dir.run(&["inspect", "--no-probe", &avr, "object:iothread"]);
    assert_eq!(run.code, Some(2));
    assert!(run.complaint().contains("lacks objects; run `capscache warm --full /"), "{run:?}");
}

#[test]
fn a_bare_name_is_searched_on_path() {
    let dir = Dir::new();
    avr();
    dir.answer(&["query", "qemu-system-avr", "machine:uno"]);
    let entry = dir.json(&["list", "--json"])[0].clone();
    let found = entry["emulator"].as_str().expect("a path");
    assert!(found.starts_with('/') && found.ends_with("/qemu-system-avr"), "{found}");
}
