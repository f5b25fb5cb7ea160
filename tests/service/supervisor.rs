//! Communication of the service with systemd.

use serde_json::json;

use crate::{Client, Dir, avr, has};

#[test]
fn the_supervisor_is_notified_when_the_service_is_ready_alive_and_about_to_end() {
    let dir = Dir::new();
    let mut command = dir.command();
    command.args(["serve", "--socket"]).arg(dir.socket()).env("WATCHDOG_USEC", "200000");
    let mut service = dir.start(command);
    for _ in 0..3 {
        let notification = service.supervisor.wait_for("WATCHDOG=1");
        assert!(notification.contains("STATUS=Serving"), "{notification}");
    }
    assert!(service.stop().success());
    service.supervisor.wait_for("STOPPING=1");
}

#[test]
fn a_supervisor_that_does_not_receive_holds_up_no_call() {
    let dir = Dir::new();
    let mut command = dir.command();
    // A message each 50 ms: the queue of the supervisor's socket has room for a few (net.unix.max_dgram_qlen).
    command.args(["serve", "--socket"]).arg(dir.socket()).env("WATCHDOG_USEC", "100000");
    let mut service = dir.start(command);
    let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let messages: u32 = queue.trim().parse::<u32>().unwrap() + 10;
    let began = std::time::Instant::now();
    while began.elapsed() < messages * std::time::Duration::from_millis(50) {
        service.call("Get", json!({"emulator": avr()}));
    }
    assert!(service.stop().success());
}

#[test]
fn an_activated_service_answers_on_the_socket_that_it_was_passed() {
    if !has("systemd-socket-activate") {
        return;
    }
    let dir = Dir::new();
    let mut service = dir.activate();
    // The first connection starts it, and waits until it answers.
    let mut client = Client::connect(&dir.socket());
    assert_eq!(client.call("Get", json!({"emulator": avr()}))["arch"], "avr");
    service.supervisor.wait_for("READY=1");
    assert_eq!(service.call("List", json!({}))["entries"].as_array().unwrap().len(), 1);
    assert!(service.log().contains("at the socket that was passed"), "{}", service.log());
    assert!(service.stop().success());
    assert!(dir.socket().exists(), "it belongs to the process that made it");
}

#[test]
fn lines_for_the_journal_begin_with_their_priority_and_others_with_the_name() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let mut plain = dir.serve(&[]);
    plain.stop();
    let serving = format!("serving {} at {}", dir.root().display(), dir.socket().display());
    let log = plain.log();
    assert!(log.starts_with(&format!("capscache: {serving}\n")), "{log}");
    assert!(log.lines().all(|line| line.starts_with("capscache: ")), "{log}");
    assert!(log.ends_with("capscache: stopped\n"), "{log}");

    std::fs::remove_file(dir.path("log")).unwrap();
    let log = std::fs::File::create(dir.path("log")).unwrap().metadata().unwrap();
    let mut command = dir.command();
    command.args(["serve", "--socket"]).arg(dir.socket());
    command.env("JOURNAL_STREAM", format!("{}:{}", log.dev(), log.ino()));
    let mut service = dir.start(command);
    service.stop();
    let log = service.log();
    assert!(log.starts_with(&format!("<6>{serving}\n")), "{log}");
    assert!(log.lines().all(|line| line.starts_with("<6>")), "{log}");
}
