//! Calls with many replies.

use serde_json::{Value, json};

use crate::{Client, Dir, avr, emulator, wait_until};

/// A monitor that receives all events from now on.
fn monitor(dir: &Dir) -> Client {
    let mut monitor = Client::connect(&dir.socket());
    monitor.begin("Monitor", json!({}));
    let first = monitor.receive();
    assert_eq!(first["parameters"], json!({"events": [], "missed": 0}));
    assert_eq!(first["continues"], true);
    monitor
}

/// The events of a reply about emulators. The notice that watching has begun may come before, after or with them.
fn without_notices(reply: &Value) -> Vec<Value> {
    let events = reply["parameters"]["events"].as_array().unwrap();
    events.iter().filter(|event| event["kind"] != "notice").cloned().collect()
}

/// The next event about an emulator.
fn event(monitor: &mut Client) -> Value {
    loop {
        let reply = monitor.receive();
        assert_eq!(reply["parameters"]["missed"], 0);
        match &without_notices(&reply)[..] {
            [] => {}
            [event] => return event.clone(),
            several => panic!("{several:?}"),
        }
    }
}

#[test]
fn a_client_that_closes_its_sending_side_gets_the_reply_of_warm() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    client.begin("Warm", json!({"emulators": [avr(), emulator("rx")]}));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    for left in [1, 0] {
        let reply = client.receive();
        assert_eq!(reply["parameters"]["left"], left, "{reply}");
        assert_eq!(reply["parameters"]["warmed"][0]["outcome"], "probed", "{reply}");
    }
    assert!(client.next().is_none());
}

#[test]
fn warm_reports_each_emulator_and_the_number_that_is_left() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    client.call("Get", json!({"emulator": avr()}));
    client.begin("Warm", json!({"emulators": [avr(), emulator("rx"), "/bin/true"]}));
    let mut warmed = Vec::new();
    for left in [2, 1, 0] {
        let reply = client.receive();
        assert_eq!(reply["parameters"]["left"], left, "{reply}");
        assert_eq!(reply["continues"], left > 0, "{reply}");
        let of_one = reply["parameters"]["warmed"].as_array().unwrap().clone();
        assert_eq!(of_one.len(), 1);
        warmed.extend(of_one);
    }
    let outcome = |emulator: &str| {
        let found = warmed.iter().find(|warmed| warmed["emulator"] == emulator);
        found.unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome(&avr()), "cached");
    assert_eq!(outcome(&emulator("rx")), "probed");
    assert_eq!(outcome("/bin/true"), "failed");
    let failed = warmed.iter().find(|warmed| warmed["outcome"] == "failed").unwrap();
    assert!(failed["reason"].as_str().unwrap().contains("it sent no QMP greeting"), "{failed}");
    // The connection is good for more.
    assert_eq!(client.call("Status", json!({"emulator": emulator("rx")}))["state"], "valid");
}

#[test]
fn warm_reports_all_emulators_at_once_without_more() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let reply = service.call("Warm", json!({"emulators": [avr(), emulator("rx")], "full": true}));
    assert_eq!((reply["left"].as_u64(), reply["warmed"].as_array().unwrap().len()), (Some(0), 2));
    let entries = service.call("List", json!({}))["entries"].take();
    for entry in entries.as_array().unwrap() {
        assert_eq!(entry["groups"], json!(["core", "devices", "objects", "cpu-models"]));
    }
    let nothing = service.call("Warm", json!({"emulators": []}));
    assert_eq!(nothing, json!({"warmed": [], "left": 0}));
}

#[test]
fn warm_probes_failed_emulators_again() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let count = dir.path("count");
    let script = format!("#!/bin/sh\necho run >> {}\nexit 1\n", count.display());
    let broken = dir.program("qemu-system-broken", &script);
    let runs = || std::fs::read_to_string(&count).unwrap_or_default().lines().count();
    let mut client = service.connect();
    client.error("Get", json!({"emulator": broken}));
    let once = runs();
    assert!(once > 0);
    client.error("Get", json!({"emulator": broken}));
    assert_eq!(runs(), once, "it is remembered");
    let warmed = client.call("Warm", json!({"emulators": [broken]}))["warmed"][0].take();
    assert_eq!(warmed["outcome"], "failed");
    assert_eq!(runs(), 2 * once);
}

#[test]
fn monitor_reports_operations_of_other_clients() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let (mut one, mut two) = (monitor(&dir), monitor(&dir));
    let mut client = service.connect();
    let mut both = |kind: &str, emulator: &str| {
        let events = [&mut one, &mut two].map(event);
        assert_eq!(events[0], events[1]);
        assert_eq!((&events[0]["kind"], &events[0]["emulator"]), (&kind.into(), &emulator.into()));
        events[0].clone()
    };
    client.call("Get", json!({"emulator": avr()}));
    both("refreshed", &avr());
    client.call("Get", json!({"emulator": avr()}));
    client.error("Get", json!({"emulator": "/bin/true"}));
    let failed = both("failed", "/bin/true");
    assert!(failed["reason"].as_str().unwrap().contains("it sent no QMP greeting"), "{failed}");
    client.error("Get", json!({"emulator": "/bin/true"}));
    client.call("Invalidate", json!({"emulators": [avr()]}));
    let dropped = both("dropped", &avr());
    assert!(!dropped["reason"].as_str().unwrap().is_empty());
}

#[test]
fn monitor_needs_more() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let (error, _) = service.connect().error("Monitor", json!({}));
    assert_eq!(error, "ExpectedMore");
}

#[test]
fn monitors_end_with_a_last_reply_when_the_service_ends() {
    let dir = Dir::new();
    let mut service = dir.serve(&[]);
    let mut monitor = monitor(&dir);
    assert!(service.stop().success());
    let mut last = monitor.receive();
    while last["continues"] == true {
        assert_eq!(without_notices(&last), [Value::Null; 0]);
        last = monitor.receive();
    }
    assert_eq!((&last["continues"], &last["parameters"]["events"]), (&false.into(), &json!([])));
    assert!(monitor.next().is_none());
}

#[test]
fn monitors_that_disconnect_leave_no_descriptor_open() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    service.wait_for_watcher();
    let before = service.descriptors();
    for _ in 0..20 {
        drop(monitor(&dir));
    }
    // Without any event that would have been written to them.
    wait_until("their descriptors are free", || service.descriptors() <= before);
}

#[test]
fn a_probe_finishes_after_its_client_disconnects() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut monitor = monitor(&dir);
    let mut client = service.connect();
    client.send(&json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": avr()}}));
    drop(client);
    assert_eq!(event(&mut monitor)["emulator"], avr());
    assert_eq!(service.call("Status", json!({"emulator": avr()}))["state"], "valid");
}
