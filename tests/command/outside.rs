//! Text from outside, such as names, paths and messages: shown without harm, and exact in JSON.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Dir, Run, SECTIONS, avr, emulator, run, text};

/// A terminal command (OSC, CSI, BEL), a C1 control, bidirectional controls, invisible characters, ends of
/// lines.
const HOSTILE: &str = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{85}\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{200d}\u{2060}\
                       \u{feff}\u{ad}\u{2028}\u{e0041}\u{e007f}\x7f\x08\r\n\t.";

/// The part of it that a file name may have.
const HOSTILE_NAME: &str = "q\x1b]0;owned\x07\u{9b}31m\u{202e}\u{200b}\u{feff}\u{2028}\r\n\t";

/// An emulator that answers all queries of a probe, with `H` for [`HOSTILE`] wherever its text is free.
const EMULATOR: &str = r#"#!/bin/sh
say() { printf '%s\r\n' "$1" >&3; }
printf 'cannot \033]0;owned\007\033[2J\302\23331m\342\200\256 go on\n' >&2
say '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 99}}, "capabilities": []}}'
while IFS= read -r line <&3; do
    id=${line##*:}; id=${id%\}}
    name=${line#*\"execute\":\"}; name=${name%%\"*}
    answer() { say "{\"return\": $1, \"id\": $id}"; }
    properties='[{"name": "pH", "type": "tH", "description": "H", "default-value": "H"}]'
    case $name in
    query-version) answer '{"qemu": {"major": 99, "minor": 0, "micro": 0}, "package": "H"}';;
    query-target) answer '{"arch": "aH"}';;
    query-commands) answer '[{"name": "query-version"}, {"name": "query-cpu-definitions"},
        {"name": "query-tpm-models"}, {"name": "query-tpm-types"}, {"name": "query-cpu-model-expansion"},
        {"name": "cH"}]';;
    query-machines) answer '[{"name": "mH", "alias": "nH", "is-default": true, "cpu-max": 1,
        "hotpluggable-cpus": false, "default-cpu-type": "H", "default-ram-id": "H", "H": "H"}]';;
    query-cpu-definitions) answer '[{"name": "uH", "unavailable-features": ["fH"], "typename": "H", "alias-of": "H"},
        {"name": "vH", "typename": "H"}]';;
    query-cpu-model-expansion) answer '{"model": {"name": "H", "props": {"H": true, "iH": "H"}}}';;
    qom-list-types) answer '[{"name": "tcg-accel", "parent": "H"}, {"name": "dH", "parent": "device"},
        {"name": "eH", "parent": "dH"}, {"name": "device", "parent": "object", "abstract": true}]';;
    device-list-properties)
        case $line in
        *'"typename":"d'*) answer "$properties";;
        *) say "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no H\"}, \"id\": $id}";;
        esac;;
    qom-list-properties) answer "$properties";;
    query-command-line-options)
        answer '[{"option": "oH", "parameters": [{"name": "H", "type": "H", "help": "H", "default": "H"}]}]';;
    query-migrate-capabilities) answer '[{"capability": "H", "state": true}]';;
    query-qmp-schema) answer '[{"name": "sH", "meta-type": "event", "arg-type": "0", "features": ["H"]},
        {"name": "cH", "meta-type": "command", "arg-type": "0", "features": ["H"]},
        {"name": "0", "meta-type": "H"}]';;
    query-tpm-models) printf 'error: \033[2J\302\205\n' >&2; exit 1;;
    query-tpm-types) say "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not H\"}, \"id\": $id}";;
    qmp_capabilities) answer '{}';;
    *) answer '[]';;
    esac
done
"#;

impl Dir {
    /// The emulator, under a hostile name.
    fn hostile(&self) -> String {
        self.hostile_of("aH")
    }

    fn hostile_of(&self, arch: &str) -> String {
        let escaped = json!(HOSTILE).to_string();
        let escaped: String = escaped.trim_matches('"').chars().map(ascii).collect();
        // One line a message: only the script has them broken.
        let script = EMULATOR.replace("aH", arch).replace(",\n        ", ", ");
        self.program(HOSTILE_NAME, script.replace('H', &escaped))
    }
}

/// The form of a character in JSON of ASCII alone.
fn ascii(c: char) -> String {
    let mut units = [0; 2];
    let escape = |unit: &u16| format!("\\u{unit:04x}");
    if c.is_ascii() && !c.is_control() {
        c.to_string()
    } else {
        c.encode_utf16(&mut units).iter().map(escape).collect()
    }
}

/// Returns whether a character must not appear in output for people, apart from the command's own line ends and
/// tabs.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[track_caller]
fn assert_harmless(what: &str, shown: &str) {
    let found: Vec<char> = shown.chars().filter(|c| is_harmful(*c)).collect();
    assert!(found.is_empty(), "{what}: {found:?} in {shown:?}");
    assert!(
        !shown.lines().any(|line| line.starts_with('.')),
        "{what}: a line was forged: {shown:?}"
    );
}

impl Dir {
    /// The JSON that the command prints, with any exit code.
    fn json_of(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments).stdout).expect("JSON")
    }

    /// Runs the command, and checks all of its output.
    #[track_caller]
    fn shows(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        let what = format!("{arguments:?}");
        // The tabs of `query` are its own.
        let stdout = if arguments[0] == "query" {
            run.stdout.replace('\t', " ")
        } else {
            run.stdout.clone()
        };
        assert_harmless(&what, &stdout);
        assert_harmless(&what, &run.stderr);
        run
    }
}

#[test]
fn no_command_lets_outside_text_act_on_a_terminal_or_forge_a_line() {
    let dir = Dir::new();
    let hostile = dir.hostile();
    let of = |letter: char| format!("{letter}{HOSTILE}");
    let warm = dir.shows(&["-v", "warm", "--full", &hostile, &avr()]);
    assert_eq!(warm.code, Some(0), "{warm:?}");
    assert!(
        warm.stdout.contains(r"quarantined: query-tpm-models: exited with status 1"),
        "{warm:?}"
    );
    let shown = [r"q\x1b]0;owned\x07\u{9b}31m", r"\u{202e}\u{200b}\u{feff}\u{2028}\r\n\t"];
    assert!(shown.iter().all(|part| warm.stdout.contains(part)), "{warm:?}");
    for section in ["", "firmware"].into_iter().chain(SECTIONS) {
        let arguments = ["-v", "inspect", &hostile, section];
        let run = dir.shows(if section.is_empty() { &arguments[..3] } else { &arguments });
        assert_eq!(run.code, Some(0), "{section}: {run:?}");
    }
    for (kind, letter) in
        [("machine", 'm'), ("cpu", 'u'), ("device", 'd'), ("object", 'd'), ("type", 'd')]
    {
        let run = dir.shows(&["inspect", &hostile, &format!("{kind}:{}", of(letter))]);
        assert_eq!(run.code, Some(0), "{kind}: {run:?}");
        assert_eq!(dir.shows(&["inspect", &hostile, &format!("{kind}:{}", of('z'))]).code, Some(2));
    }
    dir.shows(&["inspect", &hostile, &format!("device:{}", of('e'))]);
    dir.shows(&["inspect", &hostile, HOSTILE]);
    let queries: Vec<String> = [
        "machine:m",
        "machine-deprecated:m",
        "cpu:u",
        "cpu:u@tcg",
        "cpu:v",
        "cpu:z",
        "cpu:u@kvm",
        "cpu-model:u",
        "device:d",
        "device:e",
        "type:d",
        "command:c",
        "event:s",
        "option:o",
        "schema:z",
    ]
    .iter()
    .map(|query| match query.split_once('@') {
        Some((query, accelerator)) => format!("{query}{HOSTILE}@{accelerator}"),
        None => format!("{query}{HOSTILE}"),
    })
    .chain([
        format!("property:{}.{}", of('d'), of('p')),
        format!("property:{}.{}", of('e'), of('p')),
    ])
    .chain(["version:>=99", "gic:3", "flag:virtio-gpu"].map(str::to_owned))
    .collect();
    for explain in [&[][..], &["--explain"]] {
        let words = queries.iter().map(String::as_str);
        let arguments: Vec<&str> =
            ["query", &hostile].into_iter().chain(explain.iter().copied()).chain(words).collect();
        let run = dir.shows(&arguments);
        assert_eq!(run.stdout.lines().count(), queries.len(), "{run:?}");
        let fields = 2 + explain.len();
        assert!(run.stdout.lines().all(|line| line.split('\t').count() == fields), "{run:?}");
    }
    for query in [
        HOSTILE,
        &of(':'),
        &format!("cpu:x@{HOSTILE}"),
        &format!("version:{HOSTILE}"),
        &format!("flag:{HOSTILE}"),
    ] {
        assert_eq!(dir.shows(&["query", &hostile, query]).code, Some(2));
    }
    for arguments in [
        &["-v", "list"][..],
        &["status", &hostile],
        &["status", "--thorough", &hostile],
        &["why", &hostile],
        &["diff", &hostile, &avr()],
        &["diff", &avr(), &hostile],
        &["verify"],
        &["verify", &hostile],
        &["-v", "warm", &hostile],
        &["-v", "record", &hostile, "-o", HOSTILE_NAME],
        &["export", HOSTILE],
        &["export", "--no-probe", "--format", "libvirt-xml", &format!("/none/{HOSTILE_NAME}")],
        &["--root", HOSTILE_NAME, "list"],
        &[HOSTILE],
        &["list", HOSTILE],
        &["warm", "--jobs", HOSTILE],
        &["completions", HOSTILE],
        &["man", "--dir", &format!("/none/{HOSTILE_NAME}")],
    ] {
        dir.shows(arguments);
    }
}

#[test]
fn json_has_outside_text_exactly() {
    let dir = Dir::new();
    let hostile = dir.hostile();
    let export = dir.json(&["export", &hostile]);
    assert_eq!(export["emulator"], hostile);
    assert_eq!(export["package"], HOSTILE);
    assert_eq!(export["arch"], format!("a{HOSTILE}"));
    assert_eq!(export["accelerators"]["tcg"]["machines"][0]["name"], format!("m{HOSTILE}"));
    assert_eq!(
        export["accelerators"]["tcg"]["cpu-definitions"][0]["unavailable-features"][0],
        format!("f{HOSTILE}")
    );
    assert_eq!(export["refused"][0]["desc"], format!("not {HOSTILE}"));
    let machines = dir.json(&["inspect", &hostile, "machines", "--json"]);
    assert_eq!(machines["tcg"][0]["alias"], format!("n{HOSTILE}"));
    let device = dir.json(&["inspect", &hostile, &format!("device:d{HOSTILE}"), "--json"]);
    assert_eq!(device[0]["description"], HOSTILE);
    assert_eq!(dir.json(&["list", "--json"])[0]["emulator"], hostile);
    assert_eq!(dir.json(&["status", &hostile, "--json"])["emulator"], hostile);
    for arguments in [
        &["export", &hostile][..],
        &["inspect", &hostile, "--json"],
        &["inspect", &hostile, "options", "--json"],
        &["list", "--json"],
        &["status", &hostile, "--json"],
        &["diff", &avr(), &hostile, "--json"],
        &["record", &hostile],
    ] {
        assert_eq!(dir.shows(arguments).code, Some(0), "{arguments:?}");
    }
    let diff = dir.json(&["diff", &avr(), &hostile, "--json"]);
    assert_eq!(diff["b"], hostile);
    let machines = &diff["differences"]["machines"]["only-b"];
    assert!(
        machines.as_array().expect("names").contains(&json!(format!("m{HOSTILE}"))),
        "{machines}"
    );
    // A transcript has the replies of the emulator, and replays to its export.
    fs::write(dir.path("transcript"), dir.answer(&["record", &hostile])).expect("a file");
    let replayed = dir.json(&["replay", "transcript"]);
    assert_eq!(
        replayed["accelerators"]["tcg"]["machines"],
        export["accelerators"]["tcg"]["machines"]
    );
}

#[test]
fn xml_has_references_in_place_of_terminal_controls() {
    let dir = Dir::new();
    let hostile = dir.hostile_of("s390x");
    let xml = dir.shows(&["export", &hostile, "--format", "libvirt-xml"]);
    assert_eq!(xml.code, Some(0), "{xml:?}");
    assert!(xml.stdout.contains("&#x202e;&#x2066;&#x200f;&#x61c;&#x200b;"), "{xml:?}");
    fs::write(dir.path("transcript"), dir.answer(&["record", &hostile])).expect("a file");
    let replayed = dir.shows(&["replay", "transcript", "--format", "libvirt-xml"]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
}

#[test]
fn files_left_in_the_cache_are_named_without_harm() {
    let dir = Dir::new();
    let hostile = dir.hostile();
    assert_eq!(dir.shows(&["invalidate", &hostile, "none"]).code, Some(0));
    dir.shows(&["warm", &hostile]);
    let entry: PathBuf = dir.json(&["list", "--json"])[0]["file"].as_str().expect("a file").into();
    let release = entry.parent().expect("a directory");
    // An entry of another emulator, a damaged one, and a file that is not an entry, each under a hostile name.
    fs::copy(&entry, release.join(format!("a{HOSTILE_NAME}.caps"))).expect("a copy");
    fs::write(release.join(format!("b{HOSTILE_NAME}.caps")), HOSTILE).expect("a file");
    fs::create_dir(release.join(format!("c{HOSTILE_NAME}.caps"))).expect("a directory");
    for arguments in [&["list"][..], &["-v", "list"], &["verify"], &["status", &hostile]] {
        dir.shows(arguments);
    }
    // The script changes its answers, and is then removed.
    let changed = fs::read_to_string(&hostile).expect("a script") + "# changed\n";
    fs::write(&hostile, changed).expect("a file");
    assert_eq!(dir.shows(&["status", &hostile]).code, Some(1));
    dir.shows(&["list"]);
    assert_eq!(dir.shows(&["-v", "query", "--no-probe", &hostile, "machine:pc"]).code, Some(2));
    fs::remove_file(&hostile).expect("a file");
    let gc = dir.shows(&["gc"]);
    assert!(gc.stdout.contains(r"q\x1b]0;owned\x07\u{9b}31m"), "{gc:?}");
    assert_eq!(dir.shows(&["invalidate", &hostile]).code, Some(0));
    assert_eq!(dir.shows(&["warm", &hostile]).code, Some(1));
    assert_eq!(dir.shows(&["record", &hostile]).code, Some(2));
}

#[test]
fn an_emulator_that_cannot_be_probed_does_no_harm_by_its_output() {
    let dir = Dir::new();
    let words = r"error: \033]0;owned\007\302\23331m\342\200\256\342\200\213\rfatal: \033[2Jx\n";
    for (what, script) in [
        ("it ends", format!("printf '{words}' >&2; exit 1")),
        (
            "it sends something else",
            format!("printf '{{\"hello\": \"{words}\"}}\\n' >&3; exec sleep 5"),
        ),
        ("it does not send JSON", format!("printf '{words}' >&3; exec sleep 5")),
        (
            "it ends after its greeting",
            format!("printf '{{\"QMP\": {{}}}}\\n' >&3; printf '{words}' >&2; exit 1"),
        ),
    ] {
        let path = dir.program(HOSTILE_NAME, format!("#!/bin/sh\n{script}\n"));
        for arguments in [
            &["query", &path, "machine:pc"][..],
            &["warm", &path],
            &["record", &path],
            &["status", &path],
            &["list"],
        ] {
            let run = dir.shows(arguments);
            assert!(arguments[0] == "list" || run.code != Some(0), "{what}: {run:?}");
        }
        let status = dir.json_of(&["status", &path, "--json"]);
        assert_eq!(
            (&status["emulator"], &status["state"]),
            (&json!(path), &json!("failed")),
            "{what}"
        );
    }
}

#[test]
fn a_transcript_that_cannot_be_replayed_does_no_harm_by_its_content() {
    let dir = Dir::new();
    let accelerator = json!({"pass": {"accelerator": HOSTILE}});
    let command = json!({"execute": HOSTILE, "id": 1});
    let pass = json!({"pass": {"accelerator": "tcg"}});
    let head = json!({"capscache": {"transcript": 1, "emulator": HOSTILE, "executable": HOSTILE, "sha256": HOSTILE, "groups": ["core"]}});
    let greeting = json!({"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 9}}, "capabilities": []}});
    for transcript in [
        HOSTILE.to_owned(),
        format!("{head}\n{accelerator}\n"),
        format!("{head}\n{pass}\n{greeting}\n{command}\n"),
        format!(
            "{head}\n{pass}\n{greeting}\n{command}\n{}\n",
            json!({"error": {"class": HOSTILE}, "id": 1})
        ),
        format!("{head}\n{}\n", json!({"pass": {"accelerator": "tcg", "failure": HOSTILE}})),
        format!("{head}\n{}\n", json!({HOSTILE: 1})),
    ] {
        fs::write(dir.path(HOSTILE_NAME), &transcript).expect("a file");
        for format in ["json", "libvirt-xml"] {
            let run = dir.shows(&["replay", HOSTILE_NAME, "--format", format]);
            assert_eq!(run.code, Some(2), "{transcript}: {run:?}");
        }
    }
    dir.shows(&["replay", &format!("none{HOSTILE_NAME}")]);
}

#[test]
fn a_path_that_is_not_text_is_shown_with_its_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    let path = dir.directory().join(std::ffi::OsStr::from_bytes(b"qemu\xff\x9b31m"));
    std::os::unix::fs::symlink(avr(), &path).expect("a link");
    for arguments in [&["warm"][..], &["status"], &["inspect"], &["invalidate"]] {
        let mut command = dir.command();
        command.args(arguments).arg(&path);
        let run = run(&mut command);
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:?}");
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(shown.contains(r"qemu\xff\x9b31m"), "{arguments:?}: {shown:?}");
    }
}

#[test]
fn ordinary_names_of_any_script_are_shown_unchanged() {
    let dir = Dir::new();
    let path = dir.path("qemu-Žluťoučký-日本-עברית");
    std::os::unix::fs::symlink(avr(), &path).expect("a link");
    let path = text(&path);
    assert_eq!(dir.run(&["status", &path]).stdout.split(": ").next(), Some(path.as_str()));
    let warm = dir.answer(&["warm", &path]);
    assert!(warm.starts_with("qemu-Žluťoučký-日本-עברית"), "{warm}");
    let query = dir.run(&["query", &path, "machine:日本"]);
    assert_eq!(query.stdout, "machine:日本\tno\n");
}

#[test]
fn watching_names_emulators_without_harm() {
    use std::io::{BufRead, BufReader};
    let dir = Dir::new();
    let hostile = dir.program(HOSTILE_NAME, fs::read(emulator("avr")).expect("an emulator"));
    dir.shows(&["warm", &hostile]);
    for json in [false, true] {
        let mut command = dir.command();
        command
            .arg("watch")
            .args(json.then_some("--json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the command starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut printed = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            let is_dropped = line.contains("dropped");
            if line.contains("watching") {
                fs::write(&hostile, "#!/bin/sh\n").expect("a file");
            }
            printed.push(line);
            if is_dropped {
                break;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        let dropped = printed.last().expect("a line");
        assert_harmless("watch", &printed.join("\n"));
        if json {
            let event: Value = serde_json::from_str(dropped).expect("JSON");
            assert_eq!(event["emulator"], hostile);
        } else {
            assert!(dropped.contains(r"q\x1b]0;owned\x07\u{9b}31m"), "{dropped}");
        }
        dir.program(HOSTILE_NAME, fs::read(emulator("avr")).expect("an emulator"));
        dir.shows(&["warm", &hostile]);
    }
}
