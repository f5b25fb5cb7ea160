//! Reasons for unknown answers, failed probes and missing capabilities.

use std::fs;
use std::process::Command;

use serde_json::json;
use snapbox::str;

use crate::{Dir, avr, emulator, kvm_works, run, text, x86_64};

/// An emulator of this host's target that a probe accepts; `CASES` come first.
const EMULATOR: &str = r#"#!/bin/sh
say() { printf '%s\r\n' "$1" >&3; }
BEFORE
say '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 99}}, "capabilities": []}}'
while IFS= read -r line <&3; do
    id=${line##*:}; id=${id%\}}
    name=${line#*\"execute\":\"}; name=${name%%\"*}
    answer() { say "{\"return\": $1, \"id\": $id}"; }
    case $name in
    CASES
    query-version) answer '{"qemu": {"major": 99, "minor": 0, "micro": 0}, "package": ""}';;
    query-target) answer '{"arch": "ARCH"}';;
    query-commands) answer '[{"name": "query-version"}, {"name": "query-cpu-definitions"}]';;
    query-cpu-definitions) answer '[{"name": "new", "unavailable-features": ["avx", "pku"]}]';;
    query-machines) answer '[{"name": "pc"}]';;
    qom-list-types) answer '[{"name": "tcg-accel"}, {"name": "kvm-accel"}, {"name": "disk", "parent": "device"}]';;
    query-kvm) case "$*" in
        *accel=kvm*) answer '{"enabled": true, "present": true}';;
        *) answer '{"enabled": false, "present": true}';;
    esac;;
    qmp_capabilities) answer '{}';;
    *) answer '[]';;
    esac
done
"#;

impl Dir {
    /// An emulator for `arch` that runs `before` before its greeting, and answers `cases` differently.
    fn fake(&self, arch: &str, before: &str, cases: &str) -> String {
        let script =
            EMULATOR.replace("BEFORE", before).replace("CASES", cases).replace("ARCH", arch);
        self.program(&format!("qemu-system-{arch}"), script)
    }

    fn native_fake(&self, before: &str, cases: &str) -> String {
        self.fake(std::env::consts::ARCH, before, cases)
    }

    /// The output of `query --explain` for one query: the answer and the reason.
    #[track_caller]
    fn explained(&self, emulator: &str, query: &str) -> (String, String) {
        let run = self.run(&["query", "--explain", emulator, query]);
        let line = run.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("{run:?}"));
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!((fields.len(), fields[0]), (3, query), "{run:?}");
        (fields[1].to_owned(), fields[2].to_owned())
    }

    /// The error for an emulator that cannot be probed.
    #[track_caller]
    fn complains(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        run.complaint().to_owned()
    }
}

#[test]
fn a_query_explains_its_answer_on_the_same_line() {
    let dir = Dir::new();
    let of = |answer: &str, reason: &str| (answer.to_owned(), reason.to_owned());
    assert_eq!(dir.explained(&avr(), "machine:uno").0, "yes");
    let (answer, reason) = dir.explained(&avr(), "cpu:avr5");
    assert_eq!(answer, "unknown");
    assert!(reason.contains("no query-cpu-definitions"), "{reason}");
    assert_eq!(
        dir.explained(&avr(), "machine:q35"),
        of("no", "the emulator has no machine \"q35\"")
    );
    assert_eq!(dir.explained(&avr(), "device:avr5"), of("no", "the emulator has no type \"avr5\""));
    let (answer, reason) = dir.explained(&avr(), "cpu:avr5@kvm");
    assert_eq!(
        (answer.as_str(), reason.as_str()),
        ("no", "it cannot run under kvm, which is not built in")
    );
    assert!(dir.explained(&x86_64(), "machine:q35").1.starts_with("pc-q35-"));
    assert_eq!(dir.explained(&x86_64(), "cpu:max@tcg"), of("yes", "it runs under tcg"));
    let (answer, reason) = dir.explained(&x86_64(), "cpu:Icelake-Server@tcg");
    assert_eq!(answer, "no");
    assert!(reason.starts_with("under tcg it lacks "), "{reason}");
    // Without the option, lines are unchanged.
    assert_eq!(dir.run(&["query", &avr(), "machine:uno"]).stdout, "machine:uno\tyes\n");
}

#[test]
fn the_version_is_compared_and_deprecated_machines_and_gics_are_queried() {
    let dir = Dir::new();
    let version = dir.json(&["export", &x86_64()])["version"].clone();
    let part = |key: &str| version[key].as_u64().expect("a number");
    let (major, minor) = (part("major"), part("minor"));
    for (query, answer) in [
        (format!("version:{major}.{minor}"), "yes"),
        (format!("version:={major}"), "yes"),
        (format!("version:>={major}.{minor}"), "yes"),
        (format!("version:>{major}.{minor}"), "no"),
        (format!("version:<{}", major + 1), "yes"),
        (format!("version:<={}", major - 1), "no"),
    ] {
        assert_eq!(dir.run(&["query", &x86_64(), &query]).stdout, format!("{query}\t{answer}\n"));
    }
    let (answer, reason) = dir.explained(&x86_64(), "version:>=100");
    assert_eq!(answer, "no");
    assert!(reason.starts_with(&format!("the version is {major}.{minor}.")), "{reason}");
    let machines = dir.json(&["inspect", &x86_64(), "machines", "--json"]);
    for machine in machines["tcg"].as_array().expect("machines").iter().take(20) {
        let query = format!("machine-deprecated:{}", machine["name"].as_str().expect("a name"));
        let answer = if machine["deprecated"] == true { "yes" } else { "no" };
        assert_eq!(dir.explained(&x86_64(), &query).0, answer, "{query}");
    }
    assert_eq!(
        dir.explained(&x86_64(), "gic:3"),
        ("no".into(), "guests of x86_64 have no GIC".into())
    );
    for (query, what) in [
        (
            "version:new",
            "cannot parse the version \"new\": it is not one to three numbers; write version:8.2",
        ),
        ("version:8.2.1.0", "it is not one to three numbers"),
        ("gic:three", "cannot parse the version of the GIC \"three\": it is not a number"),
    ] {
        assert!(dir.complains(&["query", &avr(), query]).contains(what), "{query}");
    }
}

#[test]
fn a_lost_accelerator_is_reported_for_each_answer_that_needs_it() {
    if !kvm_works() {
        return;
    }
    for (accelerator, other) in [("kvm", "tcg"), ("tcg", "kvm")] {
        let dir = Dir::new();
        let before = format!(
            "case \"$*\" in *accel={accelerator}*) echo 'cannot allocate the buffer' >&2; echo 'bye' >&2; exit 1;; esac"
        );
        let fake = dir.native_fake(&before, "");
        let warm = dir.answer(&["warm", &fake]);
        let reason = format!("the emulator did not run under {accelerator}: ");
        let missing = warm.lines().find(|line| line.starts_with(&format!("    missing: {reason}")));
        let missing = missing.unwrap_or_else(|| panic!("{warm}"));
        assert!(missing.contains("cannot allocate the buffer; bye"), "{missing}");
        // It is reported as long as it holds.
        assert!(dir.answer(&["warm", &fake]).contains(missing), "{missing}");
        let overview = dir.answer(&["inspect", &fake]);
        assert!(overview.contains(missing.trim_start_matches("    missing: ")), "{overview}");
        let (answer, explained) = dir.explained(&fake, &format!("cpu:new@{accelerator}"));
        assert_eq!(answer, "unknown");
        assert!(
            explained.starts_with(&reason) && explained.contains("cannot allocate"),
            "{explained}"
        );
        assert_eq!(dir.explained(&fake, &format!("cpu:new@{other}")).0, "no");
        // Where KVM is unknown, the *no* of TCG does not hold for it.
        let expected = if accelerator == "kvm" { "unknown" } else { "no" };
        assert_eq!(dir.explained(&fake, "cpu:new").0, expected);
    }
}

#[test]
fn a_query_that_ends_the_emulator_or_is_refused_is_explained_by_how() {
    let dir = Dir::new();
    let cases = "query-qmp-schema) echo 'assertion failed' >&2; kill -ABRT $$;;
        query-command-line-options) say \"{\\\"error\\\": {\\\"class\\\": \\\"GenericError\\\", \\\"desc\\\": \\\"not today\\\"}, \\\"id\\\": $id}\";;";
    let fake = dir.fake("fake", "", cases);
    let (answer, reason) = dir.explained(&fake, "event:STOP");
    assert_eq!(answer, "unknown");
    let expected =
        "after query-qmp-schema, the emulator was killed by signal 6 (SIGABRT): assertion failed";
    assert_eq!(reason, expected);
    let (answer, reason) = dir.explained(&fake, "option:spice");
    assert_eq!(
        (answer.as_str(), reason.as_str()),
        ("unknown", "QEMU refuses query-command-line-options: not today")
    );
}

#[test]
fn a_diff_shows_what_is_unknown_as_unknown() {
    let dir = Dir::new();
    let models = |last: &str| {
        let cases = "query-cpu-definitions) answer '[{\"name\": \"sure\", \"unavailable-features\": []}, {\"name\": \"new\"LAST}]';;";
        cases.replace("LAST", last)
    };
    let all = dir.fake("one", "", &models(", \"unavailable-features\": []"));
    let some = dir.fake("two", "", &models(""));
    let text = dir.answer(&["diff", &all, &some]);
    assert!(
        text.lines().any(|line| line.starts_with("? new: ") && line.contains("unknown for B")),
        "{text}"
    );
    assert!(!text.lines().any(|line| line == "- new"), "{text}");
    let text = dir.answer(&["diff", &some, &all]);
    assert!(
        text.lines().any(|line| line.starts_with("? new: ") && line.contains("unknown for A")),
        "{text}"
    );
    assert!(!text.lines().any(|line| line == "+ new"), "{text}");
    let json = dir.json(&["diff", &all, &some, "--json"]);
    let models = &json["differences"]["usable-cpu-models@tcg"];
    assert_eq!(models, &json!({"only-a": [], "only-b": [], "unknown-b": ["new"]}));
    // Two unknown lists are not equal.
    let refused = "query-qmp-schema) kill -KILL $$;;";
    let (a, b) = (dir.fake("three", "", refused), dir.fake("four", "", refused));
    let text = dir.answer(&["diff", &a, &b]);
    assert!(text.lines().any(|line| line == "? events: unknown for both"), "{text}");
    assert_eq!(dir.json(&["diff", &a, &b, "--json"])["unknown"]["events"], "both");
    if kvm_works() {
        let (dir_a, dir_b) = (Dir::new(), Dir::new());
        let lost = "case \"$*\" in *accel=kvm*) exit 1;; esac";
        let (a, b) = (dir_a.native_fake("", ""), dir_b.native_fake(lost, ""));
        let text = dir.answer(&["diff", &a, &b]);
        assert!(text.lines().any(|line| line.starts_with("? kvm: ")), "{text}");
        assert!(!text.lines().any(|line| line == "- kvm"), "{text}");
    }
}

#[test]
fn the_lines_that_carry_the_cause_are_shown_and_not_the_usage() {
    let dir = Dir::new();
    for (output, expected) in [
        (
            "harmless\\nqemu: error while loading shared libraries: libfoo.so.1: cannot open\\nqemu: giving up\\n",
            "exited with status 1: qemu: error while loading shared libraries: libfoo.so.1: cannot open; qemu: giving up",
        ),
        (
            "qemu: invalid option -- S\\nUsage: qemu [OPTION]\\n  -h  help\\n  -x  fail with an error\\nsee the manual\\n",
            "exited with status 1: qemu: invalid option -- S",
        ),
        ("QEMU 99\\nusage: qemu\\nqemu: bad option\\n", "exited with status 1: qemu: bad option"),
        ("usage: qemu\\n", "exited with status 1: usage: qemu"),
        ("one\\ntwo\\n", "exited with status 1: two"),
        (
            "error 1\\nerror 1\\nerror 2\\nerror 3\\nerror 4\\nerror 5\\n",
            "exited with status 1: error 1; error 2; error 3; error 5",
        ),
    ] {
        let fake =
            dir.program("qemu-system-x", format!("#!/bin/sh\nprintf '{output}' >&2\nexit 1\n"));
        let complaint = dir.complains(&["record", &fake]);
        assert!(complaint.ends_with(&format!(": {expected}")), "{complaint}");
    }
}

#[test]
fn each_reason_why_a_file_cannot_be_executed_has_its_own_advice() {
    let dir = Dir::new();
    let busy = dir.program("busy", fs::read(avr()).expect("an emulator"));
    let writer = fs::File::options().append(true).open(&busy).expect("a file");
    let around = dir.path("around");
    let around = dir.program("around", format!("#!{}\n", around.display()));
    std::os::unix::fs::symlink("loop", dir.path("loop")).expect("a link");
    let long = format!("/{}", "x".repeat(300));
    let script = dir.program("text", "a text\n");
    let plain = text(&dir.path("plain"));
    fs::write(&plain, "").expect("a file");
    let shown = dir.session(&[
        &["record", &busy],
        &["record", &around],
        &["query", "./loop", "machine:pc"],
        &["query", &long, "machine:pc"],
        &["record", &script],
        &["record", &plain],
    ]);
    drop(writer);
    dir.assert_snapshot(&shown.replace(&long, "[LONG]"), str![[r#"
$ capscache record [DIR]/busy
! capscache: cannot execute [DIR]/busy: Text file busy; a process has it open for writing: retry when it is installed
exit code: 2
$ capscache record [DIR]/around
! capscache: cannot execute [DIR]/around: Too many levels of symbolic links; its links or interpreters form a loop: fix them (`namei -l` shows the links)
exit code: 2
$ capscache query ./loop machine:pc
! capscache: cannot stat the emulator ./loop: Too many levels of symbolic links; fix the symbolic links, which form a loop (`namei -l` shows them)
exit code: 2
$ capscache query [LONG] machine:pc
! capscache: cannot stat the emulator [LONG]: File name too long; give a shorter path
exit code: 2
$ capscache record [DIR]/text
! capscache: cannot execute [DIR]/text: it is neither a script that begins with #! nor a program for [..], and nothing in /proc/sys/fs/binfmt_misc takes it; give the path of a QEMU system emulator
exit code: 2
$ capscache record [DIR]/plain
! capscache: cannot execute [DIR]/plain: permission denied; check its mode, the directories above it, and for a noexec mount
exit code: 2

"#]]);
}

#[test]
fn a_refusal_of_the_kernel_is_not_attributed_to_the_mode() {
    let dir = Dir::new();
    let copy = dir.program("copy", fs::read(avr()).expect("an emulator"));
    let set = Command::new("setcap").args(["cap_sys_admin+ep", &copy]).output();
    if !set.is_ok_and(|output| output.status.success()) {
        println!(
            "SKIPPED: file capabilities cannot be set here, so nothing was refused with EPERM"
        );
        return;
    }
    // One that lacks the capability in its bounding set may not run the file at all.
    let mut confined = Command::new("setpriv");
    dir.prepare(&mut confined);
    confined.args([
        "--bounding-set",
        "-sys_admin",
        env!("CARGO_BIN_EXE_capscache"),
        "record",
        &copy,
    ]);
    let confined = run(&mut confined);
    assert_eq!(confined.code, Some(2), "{confined:?}");
    for words in [
        "operation not permitted",
        "getcap",
        "no_new_privs",
        "AppArmor",
        "SELinux",
        "journalctl -k",
        "ausearch -m avc",
    ] {
        assert!(confined.stderr.contains(words), "{words}: {confined:?}");
    }
    assert!(!confined.stderr.contains("check its mode"), "{confined:?}");
}

#[test]
fn a_variable_that_emulators_do_not_get_is_named_when_one_cannot_be_probed() {
    let dir = Dir::new();
    for name in ["LD_LIBRARY_PATH", "LD_PRELOAD", "QEMU_MODULE_DIR"] {
        for arguments in [
            &["query", "/bin/false", "machine:pc"][..],
            &["query", "/bin/false", "machine:pc"],
            &["record", "/bin/false"],
        ] {
            let failed = run(dir.command().args(arguments).env(name, ""));
            assert!(!failed.stderr.contains(name), "{failed:?}");
            let failed = run(dir.command().args(arguments).env(name, "/none"));
            assert!(failed.stderr.contains(&format!("{name} is set here")), "{failed:?}");
            assert!(failed.stderr.contains(&format!("--env {name}=")), "{failed:?}");
            let given = format!("{name}=/none");
            let failed =
                run(dir.command().args(arguments).args(["--env", &given]).env(name, "/none"));
            assert!(!failed.stderr.contains("is set here"), "{failed:?}");
        }
        let warm = run(dir.command().args(["warm", "/bin/false"]).env(name, "/none"));
        assert!(warm.stderr.contains(&format!("{name} is set here")), "{warm:?}");
    }
    let good =
        run(dir.command().args(["query", &avr(), "machine:uno"]).env("LD_LIBRARY_PATH", "/none"));
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""));
}

#[test]
fn an_emulator_gets_the_variables_that_are_given_for_it() {
    let dir = Dir::new();
    let wrapper = dir.program(
        "qemu-wrapper",
        format!("#!/bin/sh\n[ \"$A=$B\" = '1=x=y z' ] || {{ echo 'error: no A' >&2; exit 1; }}\nexec {} \"$@\"\n", emulator("avr")),
    );
    let variables = ["--env", "A=1", "--env", "B=x=y z"];
    let without = dir.run(&["query", &wrapper, "machine:uno"]);
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.complaint().contains("no A"), "{without:?}");
    dir.answer(&[&variables[..], &["warm", &wrapper]].concat());
    let query = dir.answer(&[&["query", &wrapper, "machine:uno"][..], &variables].concat());
    assert_eq!(query, "machine:uno\tyes\n");
    assert!(dir.answer(&[&["record", &wrapper][..], &variables].concat()).contains("\"QMP\""));
    for wrong in ["A", "=1", ""] {
        assert!(dir.complains(&["--env", wrong, "list"]).contains("write NAME=VALUE"), "{wrong}");
    }
}

#[test]
fn an_exceeded_time_limit_is_named_with_its_length_and_its_option() {
    let dir = Dir::new();
    let silent = dir.program("silent", "#!/bin/sh\nexec sleep 600\n");
    let start = dir.complains(&["--start-timeout", "1", "record", &silent]);
    assert!(
        start.ends_with(": gave no answer within 1 s; allow more with --start-timeout SECONDS"),
        "{start}"
    );
    let whole = dir.complains(&["--probe-timeout", "1", "query", &silent, "machine:pc"]);
    let expected = ": was not done when the 1 s of the whole probe were over; allow more with --probe-timeout SECONDS";
    assert!(whole.ends_with(expected), "{whole}");
    // Queries block it, and the whole probe is over before each was sent alone.
    let cases =
        "query-qmp-schema|query-command-line-options|query-migrate-capabilities) sleep 600;;";
    let slow = dir.fake("slow", "", cases);
    let over = dir.complains(&["--start-timeout", "3", "--probe-timeout", "5", "record", &slow]);
    assert!(over.contains("cannot complete the probe within 5 s: "), "{over}");
    assert!(over.ends_with("allow more with --probe-timeout SECONDS"), "{over}");
    for wrong in ["0", "-1", "x"] {
        let run = dir.run(&["list", &format!("--start-timeout={wrong}")]);
        assert_eq!(run.code, Some(2), "{wrong}: {run:?}");
    }
}
