//! Emulators that are broken or malicious: each probe ends in time, leaves nothing, and reports the cause.

use super::*;

/// Limits for those that never answer; long enough for all they do before, on a machine under load.
fn brief() -> Task {
    Task { seconds: Some((3, 30)), ..Task::default() }
}

/// Returns the error of a probe of a script that is not an emulator.
fn failure(script: &str, task: Task) -> String {
    let fake = Fake::new(script);
    let path = fake.path.to_str().unwrap().to_owned();
    probed(&fake, task).unwrap_err().replace(&path, "EMULATOR")
}

/// Probes an emulator with other answers to some commands.
fn probe_fake(cases: &str, task: Task) -> Result<Outcome, String> {
    probed(&Fake::qemu(cases), task)
}

fn quarantined(cases: &str, task: Task) -> Vec<(String, String)> {
    let outcome = probe_fake(cases, task).unwrap();
    assert_eq!(outcome.ran.iter().collect::<Vec<_>>(), ["tcg"]);
    outcome.quarantined
}

fn one(command: &str, reason: &str) -> Vec<(String, String)> {
    vec![(command.to_owned(), reason.to_owned())]
}

const NO_GREETING: &str = "cannot start EMULATOR: it sent no QMP greeting";

#[test]
fn a_correct_emulator_is_probed_and_nothing_is_left() {
    let outcome = probe_fake("", Task::default()).unwrap();
    assert_eq!(outcome.quarantined, []);
    assert_eq!(outcome.restarts, 0);
    assert_eq!(outcome.outputs, [""]);
}

#[test]
fn one_that_never_sends_anything() {
    let error = failure("trap '' TERM HUP INT QUIT; sleep 1000 & wait; sleep 1000", brief());
    assert_eq!(error, format!("{NO_GREETING}: gave no answer within 3 s"));
}

#[test]
fn one_that_sends_a_byte_a_second() {
    let script = "while :; do printf '{' >&3; sleep 1; done";
    let error = failure(script, brief());
    assert_eq!(error, format!("{NO_GREETING}: gave no answer within 3 s"));
}

#[test]
fn one_that_answers_a_byte_a_second() {
    let slow =
        probe_fake("query-kvm) while :; do printf '{' >&3; sleep 1; done;;", brief()).unwrap();
    assert_eq!(slow.quarantined, one("query-kvm", "gave no answer within 3 s"));
    assert_eq!(slow.restarts, 2);
}

#[test]
fn one_whose_greeting_is_a_line_without_end() {
    let error = failure("yes | tr -d '\\n' >&3", Task::default());
    assert_eq!(error, format!("{NO_GREETING}: sent a line of more than 8388608 bytes"));
}

#[test]
fn one_whose_answer_is_a_line_without_end() {
    let queries = quarantined("query-qmp-schema) yes | tr -d '\\n' >&3;;", Task::default());
    assert_eq!(queries, one("query-qmp-schema", "sent a line of more than 8388608 bytes"));
}

#[test]
fn one_that_sends_five_gigabytes_of_lines() {
    let cases = r#"query-kvm) yes '{"event": "X"}' | head -c 5368709120 >&3;;"#;
    let error = probe_fake(cases, Task::default()).unwrap_err();
    assert_eq!(
        error,
        "cannot read the replies: the emulator sent more than 67108864 bytes in one probe"
    );
}

#[test]
fn one_that_sends_too_much_over_all_its_processes_under_all_accelerators() {
    if !kvm_works() {
        return;
    }
    // 40 MB under each accelerator, over two processes.
    let noise = r#"yes '{"event": "X"}' | head -c 20000000 >&3"#;
    let cases = format!("query-kvm) {noise}; exit 1;;");
    let limit = "sent more than 67108864 bytes in one probe";
    let error = probed(&Fake::native_qemu(&cases), Task::default());
    let error = error.map_or_else(|error| error, |outcome| outcome.failures.join("\n"));
    assert!(error.contains(limit), "{error}");
}

#[test]
fn one_that_sends_what_is_not_utf8() {
    let queries =
        quarantined(r#"query-kvm) printf '{"return": "\377", "id": 1}\n' >&3;;"#, brief());
    assert_eq!(queries, one("query-kvm", "sent a line that is not UTF-8 from byte 12 on"));
}

#[test]
fn one_whose_answer_nests_deep() {
    let cases = r#"query-kvm) printf '{"return": ' >&3; flood [ 1000000; flood ] 1000000; say ", \"id\": $id}";;"#;
    let error = probe_fake(cases, Task::default()).unwrap_err();
    let expected = "cannot use the reply to query-kvm: it is not JSON that a model can hold: \
                    recursion limit exceeded at line 1 column 128";
    assert_eq!(error, expected);
}

#[test]
fn one_whose_answer_nests_without_end() {
    let cases = r#"query-kvm) printf '{"return": ' >&3; flood [ 1000000; say '';;"#;
    let queries = quarantined(cases, Task::default());
    let reason = format!(
        "sent a line that is not QMP (EOF while parsing a list at line 1 column 1000011): {{\"return\": {}",
        "[".repeat(189)
    );
    assert_eq!(queries, one("query-kvm", &reason));
}

#[test]
fn one_that_sends_a_key_twice() {
    let cases = r#"query-kvm) say "{\"return\": 1, \"return\": 2, \"id\": $id}";;"#;
    let queries = quarantined(cases, Task::default());
    let reason = "sent a line that is not QMP (duplicate field `return` at line 1 column 22): \
                  {\"return\": 1, \"return\": 2, \"id\": 8}";
    assert_eq!(queries[0].0, "query-kvm");
    assert_eq!(queries[0].1.split("\"id\"").next(), reason.split("\"id\"").next());
}

#[test]
fn one_that_sends_a_key_twice_in_an_answer() {
    let cases = r#"query-target) answer '{"arch": "fake", "arch": "avr"}';;"#;
    assert_eq!(quarantined(cases, Task::default()), []);
}

#[test]
fn one_that_sends_unknown_ids_and_events_in_between() {
    let noise = r#"say '{"event": "X", "timestamp": {"seconds": 1, "microseconds": 2}}'
        say '{"return": 1, "id": 999}'; say '{"return": 1, "id": "x"}'; say '{"return": 1}'
        say "{\"return\": 1, \"id\": -$id}"; say "{\"return\": 1, \"id\": $id.0}"; say '';"#;
    let cases = format!("query-kvm) {noise} answer '{{\"enabled\": false}}';;");
    assert_eq!(quarantined(&cases, Task::default()), []);
}

#[test]
fn one_that_answers_under_a_wrong_id_only() {
    let queries = quarantined(r#"query-kvm) id=9$id; answer '{"enabled": false}';;"#, brief());
    // The harmless query that follows is answered, so only this one never is.
    assert_eq!(queries, one("query-kvm", "gave no answer within 3 s"));
}

#[test]
fn one_that_does_not_greet() {
    let said = failure("id=0; answer '{}'; sleep 1000", brief());
    let expected = "cannot start EMULATOR: it sent no QMP greeting, but \
                    {\"return\": {}, \"id\": 0}";
    assert_eq!(said, expected);
    let said = failure("say hello; sleep 1000", brief());
    assert!(said.ends_with(": it sent no QMP greeting, but hello"), "{said}");
}

#[test]
fn one_whose_wrapper_closes_its_monitor() {
    let Some(qemu) = Fake::installed("qemu-system-x86_64") else { return };
    let error = failure(&format!("exec {} \"$@\" 3<&-", qemu.path.display()), Task::default());
    let expected = "cannot connect to the monitor of EMULATOR: the program that starts QEMU there \
                    closed descriptor 3: exited with status 1: ";
    assert!(error.starts_with(expected), "{error}");
    assert!(
        error.contains("fd=3") && error.contains("; make it pass on that descriptor ("),
        "{error}"
    );
}

#[test]
fn one_that_ends_after_its_greeting() {
    let error = failure("greet; echo 'cannot go on' >&2; exit 4", brief());
    let expected = "cannot negotiate QMP with EMULATOR: exited with status 4: \
                    cannot go on";
    assert_eq!(error, expected);
}

#[test]
fn one_that_ends_at_the_first_command_or_any_later_one() {
    const WORDS: &str = "exited with status 1: one too many";
    for n in 1.. {
        let before = "count=$((count + 1)); [ $count = N ] && { echo 'one too many' >&2; exit 1; }";
        let fake = Fake::qemu_that_first(&before.replace('N', &n.to_string()), "");
        match probed(&fake, Task::default()) {
            Ok(outcome) if outcome.restarts == 0 => {
                assert_eq!(outcome.quarantined, []);
                assert!(n > 10, "a probe sends {n} queries");
                break;
            }
            Ok(outcome) => {
                assert!(outcome.quarantined.iter().all(|(_, reason)| reason.ends_with(WORDS)));
                assert!(outcome.outputs[0].starts_with("one too many\n[it exited"), "{outcome:?}");
                assert!(outcome.restarts <= 32, "{outcome:?}");
            }
            Err(error) => assert!(error.ends_with(WORDS), "{n}: {error}"),
        }
    }
}

#[test]
fn one_that_leaves_a_child_with_its_monitor_and_its_output() {
    let cases = "query-kvm) setsid sleep 1000 & echo 'left a child' >&2; exit 1;;";
    let queries = quarantined(cases, Task::default());
    assert_eq!(queries, one("query-kvm", "exited with status 1: left a child"));
}

#[test]
fn one_that_forks_and_ignores_every_signal_it_can() {
    let cases =
        "query-kvm) trap '' TERM HUP INT QUIT PIPE IO; (while :; do sleep 1; done) & wait;;";
    let queries = quarantined(cases, brief());
    assert_eq!(queries, one("query-kvm", "gave no answer within 3 s"));
}

/// Returns a case that answers with numbered machines.
fn machines(from: u32, to: u32) -> String {
    let machines = format!(r#"seq -f '{{"name":"%.0f"}},' {from} {to} | tr -d '\n' >&3"#);
    format!(r#"query-machines) printf '{{"return":[' >&3; {machines}; say "{{}}],\"id\":$id}}";;"#)
}

#[test]
fn one_with_a_million_machines() {
    let error = probe_fake(&machines(1_000_001, 2_000_000), Task::default()).unwrap_err();
    let reason = "it sent a line of more than 8388608 bytes";
    assert_eq!(error, format!("cannot continue without a reply to query-machines: {reason}"));
}

#[test]
fn one_with_as_many_machines_as_a_model_can_hold() {
    let outcome = probe_fake(&machines(1, 199_000), Task::default()).unwrap();
    assert_eq!(outcome.quarantined, []);
    assert!(outcome.bytes > 3_000_000, "{} bytes", outcome.bytes);
    let error = probe_fake(&machines(1, 201_000), Task::default()).unwrap_err();
    let reason = "the answers hold more than 200000 distinct values";
    let start = "cannot use the reply to query-machines: it is not JSON that a model can hold";
    assert!(error.starts_with(&format!("{start}: {reason}")), "{error}");
}

#[test]
fn one_with_a_hundred_thousand_devices() {
    let cases = r#"qom-list-types) printf '{"return":[' >&3
        seq -f '{"name":"%.0f"},' 1 100000 | tr -d '\n' >&3; say "{}],\"id\":$id}";;"#;
    let error = probe_fake(cases, Task { devices: true, ..Task::default() }).unwrap_err();
    let expected = "cannot use the reply to qom-list-types: it leads to too many queries";
    assert_eq!(error, expected);
}

#[test]
fn one_whose_devices_have_endless_names() {
    let cases = r#"qom-list-types) printf '{"return":[{"name":"' >&3; flood x 5000000; say "\"}],\"id\":$id}";;"#;
    let error = probe_fake(cases, Task { devices: true, ..Task::default() }).unwrap_err();
    let expected = "cannot use the reply to qom-list-types: it leads to too many queries";
    assert_eq!(error, expected);
}

/// Returns cases that give the same answer to eight commands, and under KVM to two of them.
fn eight_times(answer: &str) -> String {
    let some = ["tpm-models", "tpm-types", "accelerators", "gic-capabilities", "sev-capabilities"];
    let names: Vec<_> = some.map(|name| format!("{{\"name\": \"query-{name}\"}}")).into();
    let always = ["qmp-schema", "command-line-options", "migrate-capabilities"];
    let pattern: Vec<_> = some.iter().chain(&always).map(|name| format!("query-{name}")).collect();
    format!("query-commands) answer '[{}]';; {}) {answer};;", names.join(", "), pattern.join("|"))
}

/// Returns an answer of a text with this number of bytes, which differs from all others.
fn text(bytes: u32) -> String {
    format!(r#"printf '{{"return": "%s' $id >&3; flood x {bytes}; say "\", \"id\": $id}}""#)
}

/// Returns an answer of this number of numbers.
fn numbers(count: u32) -> String {
    let bytes = 2 * count;
    format!(r#"printf '{{"return": [%s,' $id >&3; flood 0, {bytes}; say "0], \"id\": $id}}""#)
}

/// Returns an answer of this number of objects, of which each has a key, an array and a number of its own.
fn objects(count: u32) -> String {
    let objects = r#"sed 's/.*/{"a&":[-&]},/' | tr -d '\n' >&3"#;
    format!(r#"printf '{{"return": [' >&3; seq {count} | {objects}; say "{{}}], \"id\": $id}}""#)
}

#[test]
fn one_whose_answers_are_longer_than_any_qemus() {
    let error = probe_fake(&eight_times(&text(8_000_000)), Task::default()).unwrap_err();
    let expected =
        "cannot read the replies: the emulator answered with more than 25165824 bytes in one probe";
    assert_eq!(error, expected);
}

#[test]
fn one_whose_answers_hold_more_values_than_any_qemus() {
    let error = probe_fake(&eight_times(&numbers(2_000_000)), Task::default()).unwrap_err();
    let reason = "the answers hold more than 2097152 values";
    assert!(error.ends_with(&format!(": {reason}")), "{error}");
}

#[test]
fn one_whose_answers_hold_more_distinct_values_than_any_qemus() {
    let error = probe_fake(&eight_times(&objects(210_000)), Task::default()).unwrap_err();
    let reason = "it is not JSON that a model can hold: the answers hold more than 200000 distinct \
                  values at line 1 column";
    assert!(error.contains(&format!(": {reason}")), "{error}");
}

#[test]
fn one_whose_answers_are_as_long_as_they_may_be() {
    for record in [false, true] {
        let task = Task { record, ..Task::default() };
        let outcome = probe_fake(&eight_times(&text(3_000_000)), task).unwrap();
        assert_eq!(outcome.quarantined, []);
        assert!(outcome.bytes > 8 * 3_000_000, "{} bytes", outcome.bytes);
    }
}

#[test]
fn one_that_answers_as_much_as_it_may_in_every_way_under_two_accelerators() {
    if !kvm_works() {
        return;
    }
    let (numbers, objects, text) = (numbers(1_800_000), objects(190_000), text(1_600_000));
    let answer =
        format!("case $name in *-schema) {numbers};; *-gic-*) {objects};; *) {text};; esac");
    let fake = Fake::native_qemu(&eight_times(&answer));
    for record in [false, true] {
        let outcome = probed(&fake, Task { record, ..Task::default() }).unwrap();
        assert_eq!(outcome.ran.len(), 2);
        assert_eq!(outcome.quarantined, []);
        assert!(outcome.bytes > 18_000_000, "{} bytes", outcome.bytes);
    }
}

#[test]
fn one_whose_refusals_are_as_long_as_they_may_be() {
    let refusal = r#"printf '{"error": {"class": "GenericError", "desc": "' >&3; flood no 8000000
        say "\"}, \"id\": $id}""#;
    let outcome = probe_fake(&eight_times(refusal), Task::default()).unwrap();
    assert_eq!(outcome.quarantined, []);
    assert_eq!(outcome.refused.len(), 8);
    assert!(outcome.refused.iter().all(|(_, desc)| *desc == "no".repeat(2000)));
}

#[test]
fn one_whose_schema_has_cycles_and_missing_types() {
    let schema = r#"[
        {"name": "turn", "meta-type": "command", "arg-type": "0", "ret-type": "gone"},
        {"name": "0", "meta-type": "object", "members": [{"name": "in", "type": "1"}]},
        {"name": "1", "meta-type": "array", "element-type": "2"},
        {"name": "2", "meta-type": "alternate", "members": [{"type": "1"}, {"type": "0"}]},
        {"name": "0", "meta-type": "object", "members": [{"name": "in", "type": "0"}]},
        {"name": "self", "meta-type": "array", "element-type": "self"},
        {"meta-type": "object"}, {"name": 7, "meta-type": []}, 7, null]"#;
    let cases = format!("query-qmp-schema) answer '{}';;", schema.replace('\n', " "));
    for (path, expected) in [
        ("turn/arg-type/in", "yes"),
        (&format!("turn/arg-type{}", "/in".repeat(5000)), "no"),
        ("turn/arg-type/out", "no"),
        ("turn/ret-type/anything", "no"),
        ("self/self", "no"),
    ] {
        let task = Task { schema: path.to_owned(), ..Task::default() };
        let outcome = probe_fake(&cases, task).unwrap();
        assert_eq!(outcome.schema, expected, "{:.60}", path);
    }
}

#[test]
fn one_that_stops_responding_after_an_answer() {
    let queries = quarantined("query-kvm) answer '{}'; exec 3>&-; sleep 1000;;", brief());
    assert_eq!(queries, one("query-kvm", "answered, then closed its monitor"));
    let queries = quarantined("query-kvm) answer '{}'; sleep 1000;;", brief());
    assert_eq!(queries, one("query-kvm", "answered, then stopped responding"));
}

#[test]
fn one_that_runs_under_another_accelerator_than_the_requested_one() {
    let error =
        probe_fake(r#"query-kvm) answer '{"enabled": true}';;"#, Task::default()).unwrap_err();
    assert_eq!(error, "cannot probe under TCG: query-kvm reports that KVM is in use");
    if !kvm_works() {
        return;
    }
    let fake = Fake::native_qemu(r#"query-kvm) answer '{"enabled": false}';;"#);
    let outcome = probed(&fake, Task::default()).unwrap();
    assert_eq!(outcome.ran.iter().collect::<Vec<_>>(), ["tcg"]);
    assert_eq!(
        outcome.failures,
        ["cannot probe under KVM: query-kvm reports that KVM is not in use"]
    );
}

#[test]
fn one_that_floods_its_output() {
    let cases = "query-kvm) yes noise >&2;;";
    let queries = quarantined(cases, brief());
    assert_eq!(queries, one("query-kvm", "gave no answer within 3 s"));
}

#[test]
fn one_that_leaves_files_behind() {
    let cases =
        r#"query-kvm) mkdir -p "$TMPDIR/a/b" && echo text > "$TMPDIR/a/b/file"; answer '{}';;"#;
    assert_eq!(quarantined(cases, Task::default()), []);
}
