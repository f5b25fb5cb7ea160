//! Recorded conversations produce the same model as the probe.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use capscache::format::Version;
use capscache::probe::{Options, probe, replay};
use capscache::{Accelerator, Entry, Groups, Tri};

/// The fixtures of the repository, unpacked.
pub(crate) fn fixtures() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("fixtures") {
        let path = entry.expect("a fixture").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".qmp.gz") else { continue };
        let mut text = String::new();
        let file = std::fs::File::open(&path).expect("a file");
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        found.push((name.to_owned(), text));
    }
    found.sort();
    found
}

fn entry(transcript: &str) -> Entry<Vec<u8>> {
    let model = replay(transcript).expect("a model");
    Entry::open(model.encode().expect("a file")).expect("an entry")
}

#[test]
fn every_fixture_replays_into_a_sound_entry_of_the_emulator_in_its_name() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 14, "{} fixtures", fixtures.len());
    for (name, transcript) in fixtures {
        let entry = entry(&transcript);
        entry.verify().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut parts = name.split('-').skip(1);
        let version = format!("{}.{}", entry.version().major, entry.version().minor);
        assert_eq!(parts.next(), Some(version.as_str()), "{name}");
        assert_eq!(parts.next(), Some(entry.arch()), "{name}");
        let flags: Vec<&str> = parts.collect();
        let ran_kvm = entry.accelerators().any(|accelerator| accelerator == Accelerator::Kvm);
        assert_eq!(flags.contains(&"kvm"), ran_kvm, "{name}");
        let expected = if flags.contains(&"full") { Groups::ALL } else { Groups::CORE };
        assert_eq!(entry.groups(), expected, "{name}");
        assert_eq!(entry.has_command("query-qmp-schema"), Tri::Yes, "{name}");
        assert!(entry.best().expect("an accelerator").machines().count() > 1, "{name}");
    }
}

#[test]
fn the_transcript_of_a_probe_makes_the_model_of_the_probe() {
    for (emulator, groups) in [
        (test_support::native(), Groups::CORE),
        ("/usr/bin/qemu-system-avr".to_owned(), Groups::ALL),
    ] {
        let options = Options::new().record(true).groups(groups);
        let probed = probe(emulator.as_ref(), &options).expect("a probe");
        let live = Entry::open(probed.model.encode().expect("a file")).expect("an entry");
        let replayed = entry(&probed.transcript.expect("a transcript"));
        let json = |entry: &Entry<Vec<u8>>| {
            let mut json = serde_json::to_value(entry).expect("JSON");
            // The caller of a probe adds these; a transcript has them.
            for input in ["emulator", "executable", "sha256"] {
                json.as_object_mut().expect("an object").shift_remove(input);
            }
            json.to_string()
        };
        assert_eq!(json(&live), json(&replayed), "{emulator}");
    }
}

#[test]
fn a_transcript_cut_anywhere_is_an_error() {
    let (_, transcript) = fixtures().swap_remove(0);
    let lines: Vec<&str> = transcript.lines().collect();
    for count in 0..lines.len() {
        let error = replay(&lines[..count].join("\n")).expect_err("cut between two lines");
        assert!(!error.to_string().is_empty());
    }
    for cut in (0..transcript.len() - 1).step_by(transcript.len() / 50 + 1) {
        let cut = (0..=cut).rev().find(|cut| transcript.is_char_boundary(*cut)).expect("0");
        let error = replay(&transcript[..cut]).expect_err("cut inside a line");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_transcript_with_a_removed_part_is_an_error() {
    let (_, transcript) = fixtures().swap_remove(0);
    let mut lines: Vec<&str> = transcript.lines().collect();
    // One command with its reply.
    lines.drain(5..7);
    let error = replay(&lines.join("\n")).expect_err("shorter than its end records");
    assert!(error.to_string().contains("cut off"), "{error}");
}

/// A recording in libvirt's form: the commands of each pass, with their replies.
fn in_libvirts_form(passes: &[&[(&str, &str)]]) -> String {
    const START: [(&str, &str); 3] = [
        (r#""execute": "qmp_capabilities""#, r#""return": {}"#),
        (
            r#""execute": "query-version""#,
            r#""return": {"qemu": {"major": 9, "minor": 2, "micro": 0}, "package": ""}"#,
        ),
        (r#""execute": "query-target""#, r#""return": {"arch": "x86_64"}"#),
    ];
    let exchanges = passes.iter().flat_map(|pass| START.iter().chain(*pass));
    exchanges.map(|(command, reply)| format!("{{{command}}}\n{{{reply}}}\n")).collect()
}

fn two_passes(first: &[(&str, &str)], second: &[(&str, &str)]) -> Entry<Vec<u8>> {
    entry(&in_libvirts_form(&[first, second]))
}

#[test]
fn the_accelerator_and_what_query_kvm_would_report_follow_from_query_accelerators() {
    const QUERY: &str = r#""execute": "query-accelerators""#;
    const MACHINES: (&str, &str) =
        (r#""execute": "query-machines""#, r#""return": [{"name": "pc", "cpu-max": 1}]"#);
    let report = |name: &str| {
        format!(r#""return": {{"enabled": "{name}", "present": ["kvm", "hvf", "tcg"]}}"#)
    };
    let [kvm, hvf, tcg, mshv] = ["kvm", "hvf", "tcg", "mshv"].map(report);
    let json = |text: &str| serde_json::to_value(entry(text)).expect("JSON");
    for (first, is_second, expected, is_kvm) in [
        (&kvm, true, &["kvm", "tcg"][..], true),
        (&kvm, false, &["kvm"], true),
        (&hvf, true, &["hvf", "tcg"], false),
        (&hvf, false, &["hvf"], false),
        (&tcg, false, &["tcg"], false),
    ] {
        let passes = [&[(QUERY, &**first), MACHINES][..], &[(QUERY, &tcg), MACHINES]];
        let json = json(&in_libvirts_form(&passes[..1 + usize::from(is_second)]));
        let accelerators = json["accelerators"].as_object().expect("an object");
        assert_eq!(accelerators.keys().collect::<Vec<_>>(), expected);
        assert_eq!(json["kvm"], serde_json::json!({"enabled": is_kvm, "present": true}));
    }
    // No release of libvirt that is known here probes under Microsoft's hypervisor.
    let error = replay(&in_libvirts_form(&[&[(QUERY, &mshv), MACHINES]])).expect_err("unknown");
    assert!(error.to_string().ends_with("the unknown accelerator \"mshv\""), "{error}");
    // A refusal that was recorded stays one.
    let refused =
        (r#""execute": "query-kvm""#, r#""error": {"class": "GenericError", "desc": ""}"#);
    let json = json(&in_libvirts_form(&[&[(QUERY, &kvm), MACHINES, refused]]));
    assert_eq!(json["kvm"], serde_json::Value::Null);
}

#[test]
fn each_repetition_of_a_command_has_its_own_reply() {
    const KVM: (&str, &str) =
        (r#""execute": "query-kvm""#, r#""return": {"enabled": true, "present": true}"#);
    const MACHINES: &str = r#""execute": "query-machines""#;
    const EXPAND: &str = r#""execute": "query-cpu-model-expansion", "arguments": {"type": "static", "model": {"name": "host"}}"#;
    // The same, written in another way.
    const EXPAND_AGAIN: &str = r#""arguments": {"model":{"name":"host"},"type":"static"}, "execute": "query-cpu-model-expansion""#;
    const LIST: &str =
        r#""execute": "device-list-properties", "arguments": {"typename": "nvdimm"}"#;
    const REFUSED: &str = r#""error": {"class": "GenericError", "desc": "not now"}"#;
    let machines = |name: &str| format!(r#""return": [{{"name": "{name}", "cpu-max": 1}}]"#);
    let model =
        |name: &str| format!(r#""return": {{"model": {{"name": "{name}", "props": {{}}}}}}"#);
    let properties = |name: &str| format!(r#""return": [{{"name": "{name}", "type": "bool"}}]"#);
    let entry = two_passes(
        &[
            KVM,
            (MACHINES, &machines("kvm-1")),
            (EXPAND, &model("kvm-1")),
            (LIST, &properties("first")),
            (EXPAND_AGAIN, &model("kvm-2")),
            (MACHINES, &machines("kvm-2")),
            (LIST, REFUSED),
        ],
        &[(MACHINES, &machines("tcg-1")), (EXPAND, &model("tcg-1")), (EXPAND, REFUSED)],
    );
    entry.verify().expect("a sound entry");
    let json = serde_json::to_value(&entry).expect("JSON");
    let under = |accelerator: &str, pointer: &str| {
        json["accelerators"][accelerator].pointer(pointer).cloned().unwrap_or_default()
    };
    for (accelerator, answer) in [("kvm", "kvm-1"), ("tcg", "tcg-1")] {
        assert_eq!(under(accelerator, "/machines/0/name"), answer);
        let expansions = under(accelerator, "/host-cpu");
        assert_eq!(expansions.as_array().map(Vec::len), Some(1), "{expansions}");
        assert_eq!(expansions[0]["return"]["model"]["name"], answer);
    }
    assert_eq!(json["devices"]["nvdimm"][0]["name"], "first");
    assert_eq!(json["refused"], serde_json::json!([]), "no command that counts was refused");
    // A command that was refused the first time is refused.
    let entry = two_passes(&[KVM, (LIST, REFUSED), (LIST, &properties("later"))], &[]);
    let json = serde_json::to_value(&entry).expect("JSON");
    assert_eq!(json["devices"]["nvdimm"], serde_json::Value::Null);
    assert_eq!(json["refused"].as_array().map(Vec::len), Some(1));
}

/// The recordings of libvirt, if they are present.
fn corpus() -> Vec<PathBuf> {
    let data = std::env::var_os("CAPSCACHE_LIBVIRT_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/libvirt"),
        PathBuf::from,
    );
    let directory = data.join("corpus");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        println!(
            "SKIPPED: {} is absent, no recording of libvirt was replayed",
            directory.display()
        );
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("a file").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "replies"))
        .collect();
    paths.sort();
    paths
}

/// The release that a version is, or is on the way to: QEMU counts from X.Y.50 on while it develops the
/// next one, which after X.2 is (X + 1).0 (`docs/devel/stable-process`).
fn release_of(version: Version) -> String {
    let Version { major, minor, micro } = version;
    match (minor, micro) {
        (_, 0..50) => version.to_string(),
        (2.., _) => format!("{}.0.0", major + 1),
        (minor, _) => format!("{major}.{}.0", minor + 1),
    }
}

#[test]
fn libvirts_recordings_replay_into_the_version_and_architecture_in_their_names() {
    for path in corpus() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let entry = entry(&std::fs::read_to_string(&path).expect("a recording"));
        entry.verify().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut parts = name.split(['_', '+']).skip(1);
        assert_eq!(parts.next(), Some(&*release_of(entry.version())), "{name}");
        let arch = name.splitn(3, '_').nth(2).expect("an arch").split('+').next();
        // libvirt's armv7l is QEMU's arm.
        let arch = arch.map(|arch| if arch == "armv7l" { "arm" } else { arch });
        assert_eq!(arch, Some(entry.arch()), "{name}");
        assert!(entry.best().expect("an accelerator").machines().count() > 1, "{name}");
        assert_eq!(entry.schema().has("blockdev-add/arg-type/+nvme"), Tri::Yes, "{name}");
        assert_eq!(entry.has_command("device_add"), Tri::Yes, "{name}");
    }
}

#[test]
fn libvirts_recordings_with_repeated_commands_replay_into_their_first_replies() {
    let mut repeated = 0;
    for path in corpus() {
        let recording = std::fs::read_to_string(&path).expect("a recording");
        let items = serde_json::Deserializer::from_str(&recording).into_iter::<serde_json::Value>();
        let (mut seen, mut pending, mut kept) = (HashSet::new(), None, String::new());
        for item in items.map(|item| item.expect("an object")) {
            if item["execute"] == "qmp_capabilities" {
                seen.clear();
            }
            if item.get("execute").is_some() {
                pending = Some(item);
                continue;
            }
            let Some(command) = pending.take() else { continue };
            if seen.insert((command["execute"].clone(), command["arguments"].clone())) {
                kept.push_str(&format!("{command}\n{item}\n"));
            } else {
                repeated += 1;
            }
        }
        let json = |transcript: &str| serde_json::to_string(&entry(transcript)).expect("JSON");
        assert!(json(&recording) == json(&kept), "{} differs", path.display());
    }
    println!("{repeated} commands are repeated in libvirt's recordings");
}
