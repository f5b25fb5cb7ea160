//! `docs/json.schema.json`, against the documents of every command.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead;
use std::time::Duration;

use capscache_watcher::{Event, Notice};
use jsonschema::{Registry, RegistryBuilder, Validator};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{Dir, Run, avr, text, x86_64};

const SCHEMA: &str = include_str!("../../docs/json.schema.json");
const PAGE: &str = include_str!("../../docs/json.md");
const DEVADDR: &str = include_str!("../../docs/devaddr.schema.json");

/// Documents, or lists of objects, that QMP defines: any key is valid in them.
const OPEN: [&str; 6] = [
    "inspect-types",
    "inspect-options",
    "inspect-schema",
    "inspect-device",
    "inspect-object",
    "inspect-type",
];

/// The schema, and the definitions that were used.
struct Schema {
    registry: Registry<'static>,
    used: BTreeSet<String>,
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}: {text}"))
}

impl Schema {
    fn new() -> Schema {
        let schema = parsed(SCHEMA);
        jsonschema::draft202012::meta::validate(&schema).expect("a schema");
        let registry = Registry::new().add("file:///docs/json.schema.json", schema);
        let registry =
            registry.and_then(|both| both.add("file:///docs/devaddr.schema.json", parsed(DEVADDR)));
        let registry = registry.and_then(RegistryBuilder::prepare).expect("two schemas");
        Schema { registry, used: BTreeSet::new() }
    }

    /// Returns the names of the definitions of whole documents.
    fn documents() -> BTreeSet<String> {
        let schema = parsed(SCHEMA);
        let documents = schema["anyOf"].as_array().expect("a list").iter();
        let name = |one: &Value| one["$ref"].as_str()?.strip_prefix("#/$defs/").map(str::to_owned);
        documents.map(|one| name(one).expect("a definition")).collect()
    }

    fn validator(&self, name: &str) -> Validator {
        let definition = json!({"$ref": format!("file:///docs/json.schema.json#/$defs/{name}")});
        let options = jsonschema::options().offline().with_registry(&self.registry);
        options.build(&definition).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Validates a document; then it is refused with a key that it does not have.
    fn check(&mut self, name: &str, document: &Value) {
        let validator = self.validator(name);
        let shown = |error: jsonschema::ValidationError<'_>| {
            let message: String = error.to_string().chars().take(400).collect();
            format!("{}: {message}", error.instance_path())
        };
        let errors: Vec<String> = validator.iter_errors(document).map(shown).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        self.used.insert(name.to_owned());
        let mut wrong = document.clone();
        let part = if wrong.is_array() { wrong.get_mut(0) } else { Some(&mut wrong) };
        if let Some(Value::Object(part)) = part
            && !OPEN.contains(&name)
        {
            part.insert("no-such-key".to_owned(), json!(1));
            assert!(!validator.is_valid(&wrong), "{name} is valid with any key");
        }
    }

    /// Validates what a command printed, and returns it.
    fn check_run(&mut self, name: &str, run: &Run, code: i32) -> Value {
        assert_eq!(run.code, Some(code), "{name}: {run:?}");
        let document = parsed(&run.stdout);
        self.check(name, &document);
        document
    }

    /// Validates each line that a command printed.
    fn check_lines(&mut self, name: &str, lines: &str) {
        assert!(!lines.is_empty(), "{name}");
        lines.lines().for_each(|line| self.check(name, &parsed(line)));
    }
}

/// Changes the last byte of the file of an entry.
fn damage(dir: &Dir, emulator: &str) {
    let file = dir.listed(emulator).expect("an entry")["file"].as_str().expect("a path").to_owned();
    let mut bytes = fs::read(&file).expect("an entry");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&file, bytes).expect("an entry");
}

#[test]
fn every_document_of_every_command_is_valid_and_none_with_another_key_is() {
    let dir = Dir::new();
    let mut schema = Schema::new();
    check_upkeep(&dir, &mut schema);
    check_answers(&dir, &mut schema);
    check_events(&dir, &mut schema);
    let unused: Vec<_> = Schema::documents().difference(&schema.used).cloned().collect();
    assert!(unused.is_empty(), "no command printed a document of {unused:?}");
}

/// The commands that maintain entries, and those about the host.
fn check_upkeep(dir: &Dir, schema: &mut Schema) {
    let (avr, link) = (avr(), text(&dir.path("qemu-link")));
    std::os::unix::fs::symlink(&avr, &link).expect("a link");
    let broken = dir.program("qemu-broken", "#!/bin/sh\nexit 1\n");
    let gone = dir.wrapper("qemu-gone", &avr);
    let changed = dir.wrapper("qemu-changed", &avr);
    let warm = ["warm", "--json", &link, &avr, &broken, &gone, &changed];
    schema.check_run("warm", &dir.run(&warm), 1);
    schema.check_run("warm", &dir.run(&["warm", "--known", "--json"]), 0);
    dir.wrapper("qemu-changed", &x86_64());
    for (emulator, state, code) in [
        (&avr, "valid", 0),
        (&changed, "stale", 1),
        (&broken, "failed", 1),
        (&x86_64(), "missing", 3),
    ] {
        let status = schema.check_run("status", &dir.run(&["status", "--json", emulator]), code);
        assert_eq!(status["state"], state);
    }
    schema.check_run("verify", &dir.run(&["verify", "--json"]), 0);
    damage(dir, &avr);
    let verified = schema.check_run("verify", &dir.run(&["verify", "--json"]), 1);
    assert_eq!(verified["damaged"][0]["state"], "damaged");
    schema.check_run("list", &dir.run(&["list", "--json"]), 0);
    schema.check_run("overview", &dir.run(&["--json"]), 0);
    fs::write(dir.socket(), "").expect("a file");
    let overview = schema.check_run("overview", &dir.run(&["--json"]), 0);
    assert_eq!(overview["service"]["state"], "failed");
    fs::remove_file(dir.socket()).expect("a removal");
    let doctor = dir.run(&["doctor", "--json"]);
    schema.check_run("doctor", &doctor, doctor.code.expect("a code"));
    fs::remove_file(&gone).expect("a removal");
    schema.check_run("gc", &dir.run(&["gc", "--json"]), 0);
    schema.check_run("invalidate", &dir.run(&["invalidate", "--json", &changed, &gone]), 0);
    schema.check_run("invalidate", &dir.run(&["invalidate", "--json", "--all"]), 0);
    let mut file = dir.command();
    file.env("CAPSCACHE_ROOT", &avr).arg("--json");
    let unusable = schema.check_run("overview", &crate::run(&mut file), 0);
    assert_eq!(unusable["emulators"], Value::Null);
    crate::seed::install(dir, "11003.0");
    let seed = crate::seed::seed(dir, &["--check", "--json", "/usr/bin/qemu-system-s390x", "gone"]);
    schema.check_lines("libvirt-seed", &seed.stdout);
}

/// The commands that answer about an emulator.
fn check_answers(dir: &Dir, schema: &mut Schema) {
    let (avr, x86_64) = (avr(), x86_64());
    dir.answer(&["warm", "--full", &avr]);
    for emulator in [&avr, &x86_64] {
        schema.check("export", &dir.json(&["export", emulator]));
        for section in crate::SECTIONS {
            let inspected = dir.json(&["inspect", emulator, section, "--json"]);
            schema.check(&format!("inspect-{section}"), &inspected);
        }
    }
    schema.check("inspect", &dir.json(&["inspect", &avr, "--json"]));
    for section in [
        "machine:pc",
        "cpu:EPYC",
        "device:virtio-blk-pci",
        "object:memory-backend-ram",
        "type:device",
    ] {
        let kind = section.split(':').next().expect("a kind");
        let inspected = dir.json(&["inspect", &x86_64, section, "--json"]);
        schema.check(&format!("inspect-{kind}"), &inspected);
    }
    let users = crate::firmware::users_directory(dir);
    fs::write(users.join("0-first.json"), crate::firmware::SECURE).expect("a file");
    fs::write(users.join("1-broken.json"), "{").expect("a file");
    let firmware = crate::firmware::with_user(dir, &["inspect", &x86_64, "firmware", "--json"]);
    schema.check_run("inspect-firmware", &firmware, 0);
    let query = ["query", &avr, "machine:uno", "machine:q35", "--json"];
    schema.check_run("query", &dir.run(&query), 1);
    schema.check_run("query", &dir.run(&[&query[..], &["--explain"]].concat()), 1);
    schema.check("diff", &dir.json(&["diff", &avr, &x86_64, "--json"]));
    schema.check("diff", &dir.json(&["diff", &x86_64, &x86_64, "--json"]));
    for fixture in
        fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures")).expect("fixtures")
    {
        let path = text(&fixture.expect("a fixture").path());
        if path.ends_with(".qmp.gz") {
            schema.check("replay", &dir.json(&["replay", &path]));
        }
    }
    let guest = crate::run::write(dir, "");
    schema.check("devaddr", &dir.json(&["devaddr", "--json", &guest]));
}

/// The commands that print events.
fn check_events(dir: &Dir, schema: &mut Schema) {
    let wrapper = dir.wrapper("qemu-watched", &avr());
    dir.answer(&["warm", &wrapper]);
    let watch = dir.start_watch(&["--json"]);
    schema.check_lines("watch", &watch.until("watching").join("\n"));
    fs::remove_file(&wrapper).expect("a removal");
    schema.check_lines("watch", &watch.until("dropped").join("\n"));
    // Those that this host does not bring about.
    let path = || wrapper.clone().into();
    let (reason, took) = ("it is broken".to_owned(), Duration::from_millis(2));
    for event in [
        Event::Appeared { emulator: path() },
        Event::Refreshed { emulator: path(), probed: true, took },
        Event::Failed { emulator: path(), reason: reason.clone() },
        Event::Notice(Notice::Overflow),
        Event::Notice(Notice::Lost { directories: vec![path()] }),
        Event::Notice(Notice::Mounted),
        Event::Notice(Notice::Unreadable { reason: reason.clone() }),
        Event::Notice(Notice::Sweeping { directories: 1, reason: reason.clone(), every: took }),
    ] {
        schema.check("watch", &serde_json::to_value(event).expect("JSON"));
    }
    let guest = crate::run::write(dir, "");
    let (child, mut lines, first) = crate::run::start(dir, &guest, &["--json"]);
    schema.check_lines("run", &first);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    schema.check_lines("run", &line);
    crate::run::signal(&child, Signal::TERM);
    crate::run::signal(&child, Signal::INT);
    lines.lines().for_each(|line| schema.check("run", &parsed(&line.expect("a line"))));
    assert_eq!(child.wait_with_output().expect("an end").status.code(), Some(5));
    schema.check("run", &json!({"event": "MISSED", "data": {"events": 3}}));
}

#[test]
fn every_command_and_every_section_with_a_format_has_a_definition() {
    let dir = Dir::new();
    let documents = Schema::documents();
    // A manual page is written for each command of clap's tree.
    dir.answer(&["man", "--dir", &text(dir.directory())]);
    let mut with_format = BTreeSet::new();
    for page in fs::read_dir(dir.directory()).expect("pages") {
        let page = page.expect("a page").path();
        let name = page.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        if fs::read_to_string(&page).expect("a page").contains(r"\fB\-\-format\fR") {
            let command = name.strip_prefix("capscache").expect("the name of the program");
            with_format.insert(command.strip_prefix('-').unwrap_or("overview").to_owned());
        }
    }
    assert!(with_format.contains("overview") && with_format.contains("libvirt-seed"));
    assert!(!with_format.contains("record"), "{with_format:?}");
    let words = crate::complete::candidates(&dir, &["inspect", "qemu-system-avr", ""]);
    let words: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    assert!(words.len() > crate::SECTIONS.len(), "{words:?}");
    with_format.extend(words.iter().map(|word| format!("inspect-{}", word.trim_end_matches(':'))));
    assert_eq!(documents, with_format);
}

/// Adds the keys of all objects within a schema.
fn add_keys(schema: &Value, keys: &mut BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        keys.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| add_keys(part, keys)),
        Value::Array(parts) => parts.iter().for_each(|part| add_keys(part, keys)),
        _ => {}
    }
}

#[test]
fn the_page_about_json_names_every_key_of_the_schema() {
    let mut keys = BTreeSet::new();
    add_keys(&parsed(SCHEMA), &mut keys);
    assert!(keys.contains("same-file-as") && keys.contains("machines"), "{keys:?}");
    // In a page, every second part between backticks is code.
    let code = PAGE.split('`').skip(1).step_by(2);
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let named: BTreeSet<_> = code.flat_map(|code| code.split(|c| !is_of_key(c))).collect();
    let unnamed: Vec<_> = keys.iter().filter(|key| !named.contains(key.as_str())).collect();
    assert!(unnamed.is_empty(), "docs/json.md does not name {unnamed:?}");
}

/// Adds the places of objects that are valid with keys that they do not name.
fn add_open(schema: &Value, place: &str, open: &mut Vec<String>) {
    match schema {
        Value::Object(parts) => {
            let is_object = parts.get("type").is_some_and(|names| match names {
                Value::Array(names) => names.iter().any(|name| name == "object"),
                name => name == "object",
            });
            let others = parts.get("additionalProperties").unwrap_or(&Value::Bool(true));
            let has_any = *others == json!(true) || *others == json!({});
            if (is_object || parts.contains_key("properties")) && has_any {
                open.push(place.to_owned());
            }
            parts.iter().for_each(|(key, part)| add_open(part, &format!("{place}/{key}"), open));
        }
        Value::Array(parts) => {
            (0..).zip(parts).for_each(|(at, part): (usize, _)| {
                add_open(part, &format!("{place}/{at}"), open);
            });
        }
        _ => {}
    }
}

#[test]
fn only_objects_that_qemu_and_firmware_define_are_open() {
    let mut open = Vec::new();
    add_open(&parsed(SCHEMA)["$defs"], "", &mut open);
    let expected = [
        "/inspect-firmware/properties/firmware/items/properties/descriptor",
        "/run/oneOf/2/properties/data",
        "/QmpObject",
    ];
    assert_eq!(open, expected);
}

#[test]
fn a_document_without_a_key_or_with_a_value_of_another_type_is_refused() {
    let schema = Schema::new();
    let status = schema.validator("status");
    let valid = json!({"emulator": "/usr/bin/qemu-system-avr", "state": "valid", "reason": null});
    assert!(status.is_valid(&valid));
    for (key, value) in
        [("emulator", json!(1)), ("state", json!("fine")), ("reason", json!("none"))]
    {
        let mut wrong = valid.clone();
        wrong[key] = value;
        assert!(!status.is_valid(&wrong), "{wrong}");
        wrong.as_object_mut().expect("an object").remove(key);
        assert!(!status.is_valid(&wrong), "{wrong}");
    }
}
