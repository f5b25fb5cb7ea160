//! Limits: of many callers and of bad ones, the others are answered, and the memory of the service stays bounded.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_support::rights::can_change_user;

use crate::{Client, Dir, Ends, NOBODY, Service, as_user, avr, has, wait_until};

const MEBIBYTE: usize = 1 << 20;

fn query() -> Value {
    json!({"emulator": avr(), "queries": ["machine:uno", "device:loader"]})
}

/// Queries that many times, one call after the other; returns the longest time of a call.
fn run_queries(client: &mut Client, times: usize) -> Duration {
    let (parameters, expected) = (query(), json!(["yes", "yes"]));
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let began = Instant::now();
        assert_eq!(client.call("Query", parameters.clone())["answers"], expected);
        longest = longest.max(began.elapsed());
    }
    longest
}

/// A service with one entry.
fn warm(dir: &Dir) -> Service {
    let service = dir.serve(&[]);
    run_queries(&mut service.connect(), 1);
    service
}

#[test]
fn three_hundred_thousand_queries_over_one_connection_are_all_answered() {
    const CALLS: usize = 300_000;
    let dir = Dir::new();
    let service = warm(&dir);
    let mut client = service.connect();
    let parameters = query();
    let call = json!({"method": "io.capscache.Cache.Query", "parameters": parameters}).to_string();
    let expected = br#"{"parameters":{"answers":["yes","yes"]}}"#;
    let expected = [&expected[..], b"\0"].concat();
    let began = Instant::now();
    let mut reply = vec![0; expected.len()];
    for _ in 0..CALLS {
        client.send_bytes(call.as_bytes());
        std::io::Read::read_exact(&mut client.reader, &mut reply).unwrap();
        assert_eq!(reply, expected);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{CALLS} calls, each after the answer to the one before, in {seconds:.2} s");
}

#[test]
fn sixty_four_connections_at_once_are_all_answered() {
    let dir = Dir::new();
    let service = warm(&dir);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| run_queries(&mut service.connect(), 200));
        }
    });
}

#[test]
fn a_thousand_idle_connections_do_not_slow_other_callers() {
    let dir = Dir::new();
    let service = warm(&dir);
    let before = service.kilobytes("VmRSS:");
    let mut idle: Vec<Client> = (0..1000).map(|_| service.connect()).collect();
    run_queries(&mut service.connect(), 1000);
    let each = service.kilobytes("VmRSS:").saturating_sub(before) / 1000;
    assert!(each < 16, "{each} KB for an idle connection");
    run_queries(&mut idle[999], 10);
    run_queries(&mut idle[0], 10);
}

/// Returns whether the peer has closed a connection, as a writer observes it.
fn is_closed_after(stream: &mut UnixStream, bytes: &[u8]) -> bool {
    match stream.write_all(bytes) {
        Ok(()) => false,
        Err(error)
            if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
        {
            true
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn messages_without_end_are_cut_off_and_cost_no_memory() {
    let dir = Dir::new();
    let service = warm(&dir);
    let before = service.kilobytes("VmHWM:");
    let long = vec![b'x'; 100 * MEBIBYTE];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = service.connect();
                assert!(is_closed_after(&mut client.stream, &long));
            });
        }
        scope.spawn(|| run_queries(&mut service.connect(), 2000));
    });
    let grown = service.kilobytes("VmHWM:") - before;
    assert!(grown < 64 << 10, "{grown} KB");
}

#[test]
fn a_message_of_one_mebibyte_is_taken_and_a_longer_one_is_not() {
    let dir = Dir::new();
    let service = warm(&dir);
    let of_length = |length: usize| {
        let call = |padding: &str| {
            json!({"method": "io.capscache.Cache.GetInfo", "parameters": {"padding": padding}})
                .to_string()
        };
        call(&"x".repeat(length - call("").len()))
    };
    let mut client = service.connect();
    for _ in 0..3 {
        client.send_bytes(of_length(MEBIBYTE).as_bytes());
        assert_eq!(client.receive()["parameters"]["format"], capscache::format::FORMAT_VERSION);
    }
    let mut longer = of_length(MEBIBYTE + 1).into_bytes();
    longer.push(0);
    // It may be found too long before it was sent as a whole.
    is_closed_after(&mut client.stream, &longer);
    assert!(client.next().is_none());
}

/// The work of a thread on one message: parsing, answering and refusing are bounded by count.
#[test]
fn no_message_of_a_mebibyte_delays_other_callers() {
    let dir = Dir::new();
    let service = warm(&dir);
    let query = |queries: Value| {
        let parameters = json!({"emulator": avr(), "queries": queries});
        json!({"method": "io.capscache.Cache.Query", "parameters": parameters})
    };
    let in_parameters = |padding: Value| {
        let parameters = json!({"emulator": avr(), "queries": [], "padding": padding});
        json!({"method": "io.capscache.Cache.Query", "parameters": parameters})
    };
    let long = MEBIBYTE - 400;
    let dots = |count: usize| format!("property:{}", ".".repeat(count));
    let schema = "schema:blockdev-add/arg-type/+file/aio".to_owned();
    let queries = |one: String, count: usize| json!(vec![one; count.min(1024)]);
    let invalid = "org.varlink.service.InvalidParameter";
    let bad = "io.capscache.Cache.BadQuery";
    for (what, message, error) in [
        ("dots", query(json!([dots(long - 9)])), bad),
        ("the longest queries", query(queries(dots(4087), long / 4100)), ""),
        ("as many queries", query(queries(dots(990), 1024)), ""),
        ("as many queries of the schema", query(queries(schema, 1024)), ""),
        ("as many queries of firmware", query(queries("firmware:uefi".to_owned(), 1024)), ""),
        ("empty arrays", in_parameters(json!(vec![json!([]); long / 3])), invalid),
        ("empty objects", in_parameters(json!(vec![json!({}); long / 3])), invalid),
        ("numbers", in_parameters(json!(vec![1; long / 2])), invalid),
        ("escapes", in_parameters(json!("\u{1}".repeat(long / 6))), ""),
        ("an endless number", query(json!(["1".repeat(long)])), bad),
    ] {
        let message = message.to_string();
        assert!(message.len() <= MEBIBYTE, "{what}: {}", message.len());
        let before = service.busy();
        let mut client = service.connect();
        client.send_bytes(message.as_bytes());
        // Calls of others are answered meanwhile.
        run_queries(&mut service.connect(), 1);
        let reply = client.receive();
        assert_eq!(reply["error"].as_str().unwrap_or_default(), error, "{what}");
        let (Some(before), Some(after)) = (before, service.busy()) else { continue };
        let busy = after - before;
        println!("{what}: the thread that answers was busy for {busy:?}");
        // Not optimized, as tests are.
        assert!(busy < Duration::from_millis(200), "{what}: {busy:?}");
    }
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    let dir = Dir::new();
    let service = warm(&dir);
    let mut other = service.connect();
    let deep = "[".repeat(100_000);
    let deep_call = format!("{{\"method\":\"io.capscache.Cache.List\",\"parameters\":{deep}");
    let binary: Vec<u8> = (1..=255).collect();
    for garbage in [
        &b""[..],
        b"\n",
        b"{}",
        b"[]",
        b"null",
        b"17",
        b"{\"method\": 3}",
        b"{\"method\": \"io.capscache.Cache.List\"",
        b"{\"method\": \"io.capscache.Cache.List\"} x",
        b"{\"method\": \"io.capscache.Cache.List\", \"more\": 1}",
        b"GET / HTTP/1.1\r\n\r\n",
        deep.as_bytes(),
        deep_call.as_bytes(),
        &binary,
    ] {
        let mut client = service.connect();
        client.send_bytes(garbage);
        assert!(
            client.next().is_none(),
            "{:?}",
            String::from_utf8_lossy(&garbage[..garbage.len().min(60)])
        );
        run_queries(&mut other, 1);
    }
}

#[test]
fn clients_that_send_a_byte_at_a_time_or_never_read_delay_no_other() {
    let dir = Dir::new();
    let service = warm(&dir);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let call = json!({"method": "io.capscache.Cache.GetInfo"}).to_string();
                let mut slow = service.connect();
                for byte in call.bytes().chain([0]) {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    slow.stream.write_all(&[byte]).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                }
                assert_eq!(
                    slow.receive()["parameters"]["format"],
                    capscache::format::FORMAT_VERSION
                );
            });
        }
        let mut never_read = Vec::new();
        for _ in 0..16 {
            let mut client = service.connect();
            client.stream.set_nonblocking(true).unwrap();
            let call = json!({
                "method": "io.capscache.Cache.Export",
                "parameters": {"emulator": avr(), "format": "json"},
            });
            let bytes = call.to_string() + "\0";
            // As many calls as the socket takes, without reading the answers.
            while client.stream.write(bytes.as_bytes()).is_ok() {}
            never_read.push(client);
        }
        // Others of the same user are answered meanwhile, also for calls that take time.
        let mut client = service.connect();
        run_queries(&mut client, 5000);
        client.call("Status", json!({"emulator": avr(), "thorough": true}));
        assert_eq!(client.call("List", json!({}))["entries"].as_array().unwrap().len(), 1);
        done.store(true, Ordering::Relaxed);
    });
    let most = service.kilobytes("VmHWM:");
    assert!(most < 128 << 10, "{most} KB");
}

#[test]
fn a_flood_of_long_messages_of_one_user_leaves_time_to_the_others() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = warm(&dir);
    let queries: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let parameters = json!({"emulator": avr(), "queries": queries});
    let call = json!({"method": "io.capscache.Cache.Query", "parameters": parameters}).to_string();
    assert!(call.len() > MEBIBYTE / 2 && call.len() < MEBIBYTE);
    let done = AtomicBool::new(false);
    let flood = || {
        let mut client = service.connect();
        while !done.load(Ordering::Relaxed) {
            client.send_bytes(call.as_bytes());
            assert_eq!(client.receive()["error"], "org.varlink.service.InvalidParameter");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| as_user(NOBODY, flood));
        }
        let longest = run_queries(&mut service.connect(), 3000);
        println!("longest of 3000 calls beside the flood: {longest:?}");
        done.store(true, Ordering::Relaxed);
    });
    let most = service.kilobytes("VmHWM:");
    assert!(most < 256 << 10, "{most} KB");
}

#[test]
fn a_client_that_sends_without_end_delays_neither_other_callers_nor_the_end_of_the_service() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let mut service = warm(&dir);
    let calls = |call: Value| (call.to_string() + "\0").repeat(2000);
    let oneway = calls(json!({"method": "io.capscache.Cache.GetInfo", "oneway": true}));
    let queries = calls(json!({"method": "io.capscache.Cache.Query", "parameters": query()}));
    let (done, socket) = (AtomicBool::new(false), dir.socket());
    let sent = AtomicUsize::new(0);
    let flood = |calls: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let mut unread = stream.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut unread, &mut std::io::sink()));
        while !done.load(Ordering::Relaxed) && stream.write_all(calls.as_bytes()).is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for calls in [&oneway, &oneway, &queries] {
            scope.spawn(|| as_user(NOBODY, || flood(calls)));
        }
        wait_until("the flood has begun", || sent.load(Ordering::Relaxed) > 3);
        let before = sent.load(Ordering::Relaxed);
        run_queries(&mut service.connect(), 300);
        service.connect().call("Status", json!({"emulator": avr(), "thorough": true}));
        wait_until("the flood went on", || sent.load(Ordering::Relaxed) > before);
        assert!(service.stop().success());
    });
    assert!(service.log().ends_with("capscache: stopped\n"), "{}", service.log());
}

#[test]
fn a_user_with_many_connections_is_answered_no_more_often_than_one_with_one() {
    const CONNECTIONS: usize = 100;
    const CALLS: usize = 200;
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = warm(&dir);
    let queries = json!({"emulator": avr(), "queries": vec!["machine:uno"; 1000]});
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = as_user(NOBODY, || service.connect());
                while !done.load(Ordering::Relaxed) {
                    client.call("Query", queries.clone());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("all of them query", || answered.load(Ordering::Relaxed) > CONNECTIONS);
        let mut client = service.connect();
        let before = answered.load(Ordering::Relaxed);
        run_queries(&mut client, CALLS);
        let theirs = answered.load(Ordering::Relaxed) - before;
        println!("{theirs} calls of the other user were answered during {CALLS} of this one");
        // In the order of arrival it would be as many as there are connections.
        assert!(
            theirs < CALLS * CONNECTIONS / 10,
            "{theirs} calls of the other user during {CALLS} of this one"
        );
    });
}

#[test]
fn unfinished_messages_of_one_user_are_bounded_together_and_others_go_on() {
    if !can_change_user() {
        return;
    }
    let dir = Dir::new();
    let service = warm(&dir);
    let unfinished = vec![b'x'; MEBIBYTE - 1];
    let mut kept = 0;
    let hoard: Vec<Client> = as_user(NOBODY, || {
        let clients = (0..64).map(|_| {
            let mut client = service.connect();
            kept += usize::from(!is_closed_after(&mut client.stream, &unfinished));
            client
        });
        clients.collect()
    });
    assert!((8..64).contains(&kept), "{kept}");
    let grown = service.kilobytes("VmRSS:");
    assert!(grown < 96 << 10, "{grown} KB");
    // Root's long messages are counted separately.
    let mut client = service.connect();
    let call = json!({"method": "io.capscache.Cache.GetInfo", "padding": "x".repeat(MEBIBYTE / 2)});
    client.send(&call);
    assert_eq!(client.receive()["parameters"]["format"], capscache::format::FORMAT_VERSION);
    drop(hoard);
    as_user(NOBODY, || {
        let mut client = service.connect();
        wait_until("the space of closed connections is free", || {
            client.stream.write_all(&[&unfinished[..], b"\0"].concat()).is_ok()
        });
    });
}

#[test]
fn one_user_cannot_take_all_connections() {
    if !can_change_user() || !has("prlimit") {
        return;
    }
    let dir = Dir::new();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=512:512", "--", env!("CARGO_BIN_EXE_capscache"), "serve", "--socket"]);
    command.arg(dir.socket());
    dir.prepare(&mut command);
    let service = dir.start(command);
    let theirs: Vec<Client> = as_user(NOBODY, || (0..256).map(|_| service.connect()).collect());
    as_user(NOBODY - 1, || run_queries(&mut service.connect(), 10));
    run_queries(&mut service.connect(), 10);
    let mut served = 0;
    for mut client in theirs {
        client.stream.set_nonblocking(false).unwrap();
        let call = json!({"method": "io.capscache.Cache.GetInfo"}).to_string() + "\0";
        if client.stream.write_all(call.as_bytes()).is_ok() && client.next().is_some() {
            served += 1;
        }
    }
    assert_eq!(served, 64, "a quarter of what there are descriptors for");
}

#[test]
fn a_failed_accept_does_not_end_the_service() {
    if !has("prlimit") {
        return;
    }
    let dir = Dir::new();
    let service = warm(&dir);
    service.wait_for_watcher();
    let mut before = service.connect();
    run_queries(&mut before, 1);
    let limit = |descriptors: usize| {
        let pid = format!("--pid={}", service.child.id());
        let limit = format!("--nofile={descriptors}:");
        assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
    };
    // Open connections stay open.
    limit(3);
    let mut waiting = service.connect();
    waiting.send(&json!({"method": "io.capscache.Cache.GetInfo"}));
    wait_until("it was logged", || service.log().contains("cannot accept a connection"));
    run_queries(&mut before, 100);
    limit(512);
    assert_eq!(waiting.receive()["parameters"]["format"], capscache::format::FORMAT_VERSION);
    run_queries(&mut service.connect(), 100);
}
