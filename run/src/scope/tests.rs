use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::message::Writer;
use super::message::tests::{job_removed, message};
use super::*;

/// The scope of a guest `web` with the process 7.
const UNIT: &str = "capscache-web-7.scope";

/// The end of the call that makes the scope: an array with the number of the process, and an empty one.
const LAST: &[u8] = b"\x04\0\0\0\x07\0\0\0\0\0\0\0";

fn bus_at(socket: &Path) -> Option<Bus> {
    Bus::at(format!("unix:path={}", socket.display()), Some("machine.slice"))
}

/// A bus that answers one client, and returns what it was sent.
fn bus(
    answer: impl FnOnce(&mut UnixStream) + Send + 'static,
) -> (TempDir, Option<Bus>, JoinHandle<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        while !received.windows(LAST.len()).any(|window| window == LAST) {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).unwrap();
            assert!(count > 0, "the call did not end as expected: {received:?}");
            received.extend(&part[..count]);
        }
        answer(&mut stream);
        received
    });
    let bus = bus_at(&socket);
    (directory, bus, thread)
}

/// The time that a scope may take here; more than any does on a machine under load.
const LIMIT: Duration = Duration::from_secs(3);

async fn place(bus: Option<Bus>, scope: Scope) -> Result<Placement, ScopeError> {
    place_by(bus, scope, "web", &[7], LIMIT).await
}

fn answers(result: &str) -> Vec<u8> {
    let empty = Writer::default();
    let returned = |serial| message(2, &[], serial, &empty);
    let ok = b"OK 0123456789abcdef\r\n".to_vec();
    let other = job_removed("other.scope", "failed");
    [ok, returned(1), returned(2), other, job_removed(UNIT, result), returned(3)].concat()
}

#[tokio::test]
async fn a_scope_is_there_when_its_job_is_done() {
    let (_directory, bus, thread) = bus(|stream| {
        for byte in answers("done") {
            stream.write_all(&[byte]).unwrap();
        }
    });
    let placement = place(bus, Scope::Required).await.unwrap();
    assert!(matches!(placement, Placement::Scope { unit } if unit == UNIT));
    let sent = String::from_utf8_lossy(&thread.join().unwrap()).into_owned();
    assert!(sent.starts_with("\0AUTH EXTERNAL 3"), "{sent:?}");
    for text in ["BEGIN\r\n", "arg2='capscache-web-7.scope'", "machine.slice", "Guest web"] {
        assert!(sent.contains(text), "{text}: {sent:?}");
    }
}

#[tokio::test]
async fn a_failed_job_is_an_error_only_where_a_scope_is_required() {
    for scope in [Scope::Auto, Scope::Required] {
        let (_directory, bus, thread) = bus(|stream| stream.write_all(&answers("failed")).unwrap());
        let error = match place(bus, scope).await {
            Ok(Placement::Failed(error)) if scope == Scope::Auto => error,
            Err(error) if scope == Scope::Required => error,
            other => panic!("{other:?}"),
        };
        let text = "cannot make the scope capscache-web-7.scope: the result of its job is failed";
        assert_eq!(error.to_string(), text);
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn what_the_manager_refuses_is_named() {
    let (_directory, bus, thread) = bus(|stream| {
        let mut text = Writer::default();
        text.string("Access denied");
        let name = "org.freedesktop.DBus.Error.AccessDenied";
        stream.write_all(b"OK 0\r\n").unwrap();
        stream.write_all(&message(3, &[(4, "s", name), (8, "g", "s")], 3, &text)).unwrap();
    });
    let error = place(bus, Scope::Required).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make a scope: org.freedesktop.DBus.Error.AccessDenied: Access denied"
    );
    thread.join().unwrap();
}

#[test]
fn only_a_required_scope_may_take_the_whole_time_of_the_start() {
    assert_eq!(time_of(Scope::None, LIMIT), None);
    assert_eq!(time_of(Scope::Auto, LIMIT), Some(Duration::from_millis(200)));
    assert_eq!(time_of(Scope::Required, LIMIT), Some(LIMIT));
}

#[tokio::test]
async fn a_required_scope_is_an_error_if_the_bus_hangs() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (_directory, hanging, thread) = bus(move |_| assert!(stopped.recv().is_err()));
    let error = place(hanging, Scope::Required).await.unwrap_err();
    assert!(matches!(error, ScopeError::TimedOut { limit } if limit == LIMIT));
    drop(stop);
    thread.join().unwrap();
}

#[tokio::test]
async fn a_bus_that_hangs_is_given_up_and_one_that_dies_is_an_error() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (_directory, hanging, thread) = bus(move |_| assert!(stopped.recv().is_err()));
    let placement = place_by(hanging, Scope::Auto, "web", &[7], PATIENCE).await.unwrap();
    assert!(
        matches!(placement, Placement::Failed(ScopeError::TimedOut { limit }) if limit == PATIENCE)
    );
    drop(stop);
    thread.join().unwrap();
    let (_directory, dying, thread) = bus(|_| ());
    let error = place(dying, Scope::Required).await.unwrap_err();
    assert!(matches!(error, ScopeError::Io { .. }), "{error:?}");
    thread.join().unwrap();
    let (_directory, rejecting, thread) =
        bus(|stream| stream.write_all(b"REJECTED EXTERNAL\r\n").unwrap());
    let error = place(rejecting, Scope::Required).await.unwrap_err();
    assert!(matches!(error, ScopeError::Malformed), "{error:?}");
    thread.join().unwrap();
}

#[tokio::test]
async fn without_a_bus_or_a_manager_a_guest_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bus");
    for bus in [None, bus_at(&socket)] {
        let error = place(bus, Scope::Required).await.unwrap_err();
        assert!(matches!(error, ScopeError::NoManager), "{error:?}");
    }
    assert!(matches!(place(bus_at(&socket), Scope::Auto).await, Ok(Placement::Inherited)));
    assert!(matches!(place(None, Scope::None).await, Ok(Placement::Inherited)));
    // A real bus on which nothing manages units.
    let address = format!("--address=unix:path={}", socket.display());
    let arguments = ["--session", "--nofork", "--nopidfile", "--print-address", &address];
    let daemon = Command::new("dbus-daemon").args(arguments).stdout(Stdio::piped()).spawn();
    let Ok(mut daemon) = daemon else {
        println!("SKIPPED: dbus-daemon is not installed");
        return;
    };
    let mut first = [0];
    daemon.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let error = place(bus_at(&socket), Scope::Required).await.unwrap_err();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(matches!(error, ScopeError::NoManager), "{error:?}");
}

#[test]
fn names_of_units_have_the_characters_and_the_length_that_systemd_accepts() {
    assert_eq!(unit("web 1/é", 7), r"capscache-web\x201\x2f\xc3\xa9-7.scope");
    assert!(unit(&" ".repeat(500), u32::MAX).len() <= 255);
}
