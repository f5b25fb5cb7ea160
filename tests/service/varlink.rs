//! An independent client: Python's `varlink`, from PyPI.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use crate::{Dir, avr, emulator, has};

/// A Python that has `varlink`, in a virtual environment below the build's directory; returns `None` and reports a
/// skip where it cannot be installed.
fn python() -> Option<PathBuf> {
    if !has("python3") {
        return None;
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let environment = directory.join("python-varlink-31");
    // Tests run in separate processes.
    let lock = File::create(directory.join("python-varlink-31.lock")).unwrap();
    lock.lock().unwrap();
    let python = environment.join("bin/python");
    let works = || {
        let import = Command::new(&python).args(["-c", "import varlink"]).output();
        import.is_ok_and(|run| run.status.success())
    };
    if works() {
        return Some(python);
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment).output();
    let made = made.expect("python3 starts");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "varlink==31.0.0"])
        .output();
    if !works() {
        println!(
            "SKIPPED: no varlink for Python here, neither installed nor from PyPI: {made:?} {installed:?}"
        );
        return None;
    }
    Some(python)
}

const CLIENT: &str = r#"
import json, sys, varlink

socket, avr, rx = sys.argv[1:]
client = varlink.Client.new_with_address("unix:" + socket)
interface = client.get_interface("io.capscache.Cache")
methods = {name for name, member in interface.members.items() if type(member).__name__ == "_Method"}
called = set()

def call(connection, method, *arguments, **parameters):
    called.add(method)
    return getattr(connection, method)(*arguments, **parameters)

with client.open("io.capscache.Cache") as cache, client.open("io.capscache.Cache") as watching:
    events = call(watching, "Monitor", _more=True)
    assert next(events) == {"events": [], "missed": 0}

    def wait_for(kind, emulator):
        while not any((event["kind"], event.get("emulator")) == (kind, emulator)
                      for event in next(events)["events"]):
            pass

    info = call(cache, "GetInfo")
    assert info["format"] == 2 and info["root"].startswith("/"), info
    got = call(cache, "Get", avr)
    assert (got["state"], got["arch"], got["accelerators"]) == ("valid", "avr", ["tcg"]), got
    wait_for("refreshed", avr)
    assert call(cache, "Get", rx, True)["state"] == "missing"
    answered = call(cache, "Query", avr, ["machine:uno", "machine:q35", "command:blockdev-add"])
    assert answered["answers"] == ["yes", "no", "yes"], answered
    document = json.loads(call(cache, "Export", avr, "json")["document"])
    assert document["arch"] == "avr" and document["emulator"] == avr
    assert [entry["emulator"] for entry in call(cache, "List")["entries"]] == [avr]
    assert call(cache, "Status", avr) == {"state": "valid"}

    left = []
    for progress in call(cache, "Warm", [avr, rx], _more=True):
        left.append(progress["left"])
        assert len(progress["warmed"]) == 1 and progress["warmed"][0]["outcome"] != "failed"
    assert left == [1, 0], left
    wait_for("refreshed", rx)
    assert call(cache, "Invalidate", [rx])["dropped"] == [rx]
    wait_for("dropped", rx)

    for arguments, error in [
        (("Get", "/nowhere"), "io.capscache.Cache.NoSuchEmulator"),
        (("Get", "/bin/true"), "io.capscache.Cache.NotAnEmulator"),
        (("Query", avr, ["nonsense"]), "io.capscache.Cache.BadQuery"),
        (("Get", "relative"), "io.capscache.Cache.BadPath"),
    ]:
        try:
            call(cache, *arguments)
        except varlink.VarlinkError as failed:
            assert failed.error() == error, failed
        else:
            raise AssertionError(arguments)

assert called == methods, methods - called
print("called", *sorted(called))
"#;

#[test]
fn pythons_varlink_calls_every_method_both_streams_included() {
    let Some(python) = python() else { return };
    let dir = Dir::new();
    let _service = dir.serve(&[]);
    let mut client = Command::new(python);
    client.args(["-c", CLIENT]).arg(dir.socket()).args([avr(), emulator("rx")]);
    let run = client.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(
        String::from_utf8_lossy(&run.stdout),
        "called Export Get GetInfo Invalidate List Monitor Query Status Warm\n"
    );
}

#[test]
fn pythons_varlink_activates_the_service_on_demand() {
    let Some(python) = python() else { return };
    if !has("systemd-socket-activate") {
        return;
    }
    let dir = Dir::new();
    let _service = dir.activate();
    let mut client = Command::new(python);
    client.args(["-c", CLIENT]).arg(dir.socket()).args([avr(), emulator("rx")]);
    let run = client.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
