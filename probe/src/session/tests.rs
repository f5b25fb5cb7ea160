use std::time::{Duration, Instant};

use test_support::DEADLINE;

use super::fake::{Fake, block_on, short};
use super::*;
use crate::error::Exit;
use crate::limits::Limits;

async fn start<'t>(fake: &Fake, budget: &'t Budget<'t>) -> Result<Session<'t>, StartError> {
    Session::start(&fake.launch("tcg"), budget).await
}

/// Starts a fake, sends `commands`, and returns the replies up to the loss, and the output.
fn query(
    fake: &Fake,
    limits: &Limits,
    commands: &[&str],
) -> (Vec<(u64, Reply)>, SessionError, String) {
    block_on(async {
        let budget = Budget::new(limits);
        let mut session = start(fake, &budget).await.unwrap();
        for command in commands {
            session.send(&Request::new(*command));
        }
        let mut replies = Vec::new();
        loop {
            match session.reply().await {
                Ok((id, reply, _)) => replies.push((id, reply)),
                Err(loss) => return (replies, loss, session.end().await),
            }
        }
    })
}

fn start_error(script: &str, limits: &Limits) -> StartError {
    let fake = Fake::new(script);
    let error = block_on(start(&fake, &Budget::new(limits))).unwrap_err();
    fake.assert_gone();
    error
}

fn returned(text: &str) -> Reply {
    Reply::Return(text.into())
}

#[test]
fn an_emulator_that_never_greets_times_out() {
    let began = Instant::now();
    let error = start_error("echo starting >&2; sleep 1000", &short());
    let StartError::NoGreeting { cause: SessionError::Silent { waited }, output, .. } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((waited, output.as_str()), (Duration::from_secs(2), "starting\n"));
    assert!((waited..DEADLINE).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn the_error_of_an_emulator_that_exits_before_it_greets_has_its_status_and_last_line() {
    let error =
        start_error("echo one; echo 'invalid accelerator kvm' >&2; exit 3", &Limits::default());
    let StartError::NoGreeting { cause, output, .. } = &error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "exited with status 3: invalid accelerator kvm");
    assert_eq!(output, "one\ninvalid accelerator kvm\n");
    let expected = format!(": it sent no QMP greeting: {cause}");
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[test]
fn an_emulator_that_greets_and_exits_is_not_ready() {
    let error = start_error("greet; exit 4", &Limits::default());
    let StartError::NotReady { source: SessionError::Exited { exit, .. }, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(exit, Exit::Status(4));
}

#[test]
fn another_greeting_is_not_qmp() {
    let error = start_error("say '{\"hello\": 1}'; sleep 1000", &Limits::default());
    let StartError::NotQmp { line, .. } = error else { panic!("{error:?}") };
    assert_eq!(line, "{\"hello\": 1}");
}

#[test]
fn a_background_child_that_holds_all_descriptors_open_does_not_delay_the_loss() {
    let began = Instant::now();
    // setsid leaves the process group; descriptors 1, 2 and 3 stay open in it.
    let fake = Fake::new("negotiate; trap '' TERM; setsid sleep 1000 & echo $! ; receive; exit 5");
    let (replies, loss, output) = query(&fake, &Limits::default(), &["one"]);
    assert_eq!(replies, []);
    assert_eq!(loss.to_string(), format!("exited with status 5: {}", output.trim()));
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    let child = Pid::from_raw(output.trim().parse().unwrap()).unwrap();
    assert_eq!(rustix::process::test_kill_process(child), Err(rustix::io::Errno::SRCH));
}

#[test]
fn replies_that_were_sent_before_the_end_are_read() {
    let fake = Fake::new("negotiate; receive; answer 1; receive; answer 2; kill -SEGV $$");
    let (replies, loss, _) = query(&fake, &Limits::default(), &["one", "two", "three"]);
    assert_eq!(replies, [(1, returned("1")), (2, returned("2"))]);
    assert_eq!(loss.to_string(), "was killed by signal 11 (SIGSEGV)");
}

#[test]
fn events_blank_lines_unknown_keys_and_replies_to_no_command_are_skipped() {
    let fake = Fake::new(
        r#"negotiate; receive
        say '{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}'
        say ''
        say '{"return": "another", "id": 77}'
        say '{"return": "text", "id": "1"}'
        say '{"return": "fraction", "id": 1.0}'
        say '{"return": "none"}'
        say '{"new": [1], "id": 1, "return": {"a": [1.50, "}"]}}'
        say '{"return": "twice", "id": 1}'
        exit 0"#,
    );
    let (replies, loss, _) = query(&fake, &Limits::default(), &["one"]);
    assert_eq!(replies, [(1, returned(r#"{"a": [1.50, "}"]}"#))]);
    assert_eq!(loss.to_string(), "exited with status 0");
}

#[test]
fn a_refusal_is_a_reply() {
    let fake = Fake::new(
        r#"negotiate; receive; say "{\"id\": $id, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}"; receive"#,
    );
    let (replies, ..) = query(&fake, &Limits::default(), &["one"]);
    let refused = Reply::Error { class: "CommandNotFound".into(), desc: "no".into() };
    assert_eq!(replies, [(1, refused)]);
}

#[test]
fn lines_that_are_not_qmp_are_losses_with_a_reason() {
    for (line, expected) in [
        ("oops", "sent a line that is not QMP (expected value at line 1 column 1): oops"),
        (
            r#"{"id": 1}"#,
            r#"sent a line that is not QMP (neither an error nor a return, or both): {"id": 1}"#,
        ),
    ] {
        let fake = Fake::new(&format!("negotiate; receive; say '{line}'; sleep 1000"));
        let (_, loss, _) = query(&fake, &Limits::default(), &["one"]);
        assert_eq!(loss.to_string(), expected);
    }
    let fake = Fake::new(r#"negotiate; receive; say '{"id": 1, "error": {}}'; sleep 1000"#);
    let (_, loss, _) = query(&fake, &Limits::default(), &["one"]);
    assert!(loss.to_string().contains("a malformed error: missing field `class`"), "{loss}");
}

#[test]
fn a_line_that_is_not_utf8_is_a_loss() {
    let fake =
        Fake::new(r#"negotiate; receive; printf '{"return": "\377", "id": 1}\n' >&3; sleep 1000"#);
    let (_, loss, _) = query(&fake, &Limits::default(), &["one"]);
    assert!(matches!(loss, SessionError::NotUtf8 { valid_bytes: 12 }), "{loss:?}");
}

#[test]
fn an_endless_line_is_refused_while_it_is_read() {
    let fake = Fake::new(r"negotiate; receive; yes | tr -d '\n' >&3");
    let limits = Limits { line_bytes: 1 << 20, ..Limits::default() };
    let (_, loss, _) = query(&fake, &limits, &["one"]);
    assert_eq!(loss.to_string(), "sent a line of more than 1048576 bytes");
    fake.assert_gone();
}

#[test]
fn endless_lines_are_refused() {
    let fake = Fake::new(r#"negotiate; receive; yes '{"event": "X"}' >&3"#);
    let limits = Limits { total_bytes: 4 << 20, ..Limits::default() };
    let (_, loss, _) = query(&fake, &limits, &["one"]);
    assert_eq!(loss.to_string(), "sent more than 4194304 bytes in one probe");
}

#[test]
fn an_emulator_that_sends_events_without_answering_times_out() {
    let fake = Fake::new(r#"negotiate; receive; while :; do say '{"event": "X"}'; done"#);
    let (_, loss, _) = query(&fake, &short(), &["one"]);
    assert_eq!(loss.to_string(), "gave no answer within 2 s");
}

#[test]
fn an_emulator_that_closes_its_monitor_and_runs_on_is_distinguished_from_one_that_ended() {
    let fake = Fake::new("negotiate; receive; exec 3>&-; sleep 1000");
    let (_, loss, _) = query(&fake, &Limits::default(), &["one"]);
    assert!(matches!(loss, SessionError::ClosedMonitor), "{loss:?}");
    fake.assert_gone();
}

#[test]
fn an_emulator_that_floods_its_stderr_is_not_blocked_by_it() {
    let fake = Fake::new(
        r#"negotiate; receive; yes warning | head -c 1000000 >&2; echo last >&2; answer 1; exit 0"#,
    );
    let limits = Limits { tail_bytes: 20, ..Limits::default() };
    let (replies, _, output) = query(&fake, &limits, &["one"]);
    assert_eq!(replies, [(1, returned("1"))]);
    assert_eq!(output.len(), 20);
    assert!(output.ends_with("warning\nlast\n"), "{output}");
}

#[test]
fn writing_more_than_a_socket_holds_does_not_block_reading() {
    let Some(qemu) = Fake::installed("qemu-system-x86_64") else { return };
    block_on(async {
        let limits = Limits::default();
        let budget = Budget::new(&limits);
        let mut session = start(&qemu, &budget).await.unwrap();
        // QEMU 7.2 reads byte by byte: 2 µs each. A socket holds some 200 KB in each direction.
        let padding = serde_json::json!({ "typename": "x".repeat(20_000) });
        let ids: Vec<_> = (0..25)
            .map(|_| session.send(&Request::with("device-list-properties", &padding)))
            .collect();
        for expected in ids {
            let (id, reply, _) = session.reply().await.unwrap();
            assert_eq!(id, expected);
            assert!(matches!(reply, Reply::Error { .. }), "{reply:?}");
        }
        let rest = (64 << 20) - 25 * 20_000;
        assert_eq!(budget.sent(rest), Err(Exceeded(64 << 20)), "replies count too");
        session.end().await;
    });
    qemu.assert_gone();
}

#[test]
fn the_executable_is_that_of_the_peer_of_the_monitor() {
    let Some(qemu) = Fake::installed("qemu-system-x86_64") else { return };
    let real = std::fs::canonicalize(&qemu.path).unwrap();
    // The last one leaves the process group, too.
    for script in [
        r#"exec "$REAL" "$@""#,
        r#""$REAL" "$@"; exit $?"#,
        r#"setsid --wait "$REAL" "$@"; exit $?"#,
    ] {
        let wrapper = Fake::new(&script.replace("$REAL", qemu.path.to_str().unwrap()));
        block_on(async {
            let limits = Limits::default();
            let budget = Budget::new(&limits);
            let mut session = start(&wrapper, &budget).await.unwrap();
            let executable = session.take_executable().unwrap();
            assert_eq!(executable.path, real);
            let (opened, there) = (executable.file.metadata().unwrap(), real.metadata().unwrap());
            use std::os::unix::fs::MetadataExt;
            assert_eq!((opened.dev(), opened.ino()), (there.dev(), there.ino()));
            session.end().await;
        });
        wrapper.assert_gone();
        qemu.assert_gone();
    }
}
