//! Emulators that refuse commands: a program that plays one.

use std::path::Path;

use capscache_run::{End, StartError};

use crate::{Dir, guest_with};

/// Plays an emulator that shuts down when its guest is to run, and refuses a command.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import json, socket, sys
REFUSED = "@REFUSED@"
chardev = next(word for word in sys.argv if "charmonitor" in word)
number = next(part for part in chardev.split(",") if part.startswith("fd="))
client = socket.socket(fileno=int(number[3:])).accept()[0].makefile("rw")
def send(message):
    client.write(json.dumps(message) + "\n")
    client.flush()
send({"QMP": {"version": {}, "capabilities": []}})
for line in client:
    request = json.loads(line)
    name = request["execute"]
    if name == REFUSED:
        error = {"class": "GenericError", "desc": "it will not"}
        send({"id": request["id"], "error": error})
        continue
    send({"id": request["id"], "return": {}})
    if name == "cont":
        send({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}})
    if name == "quit":
        break
"#;

/// Returns a guest whose emulator refuses a command; `None` where it cannot be played.
fn guest(dir: &Dir, refused: &str, elements: &str) -> Option<String> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&paths).any(|path| path.join("python3").exists()) {
        println!("SKIPPED: python3 is not installed");
        return None;
    }
    let program = dir.path("emulator");
    test_support::write_program(&program, PROGRAM.replace("@REFUSED@", refused));
    let xml = guest_with("refused", elements, "", "");
    Some(xml.replace(&test_support::x86_64(), program.to_str().unwrap()))
}

fn run(dir: &Dir, xml: &str) -> Result<capscache_run::Running, StartError> {
    let path = ("PATH".to_owned(), std::env::var("PATH").unwrap());
    let home = ("HOME".to_owned(), std::env::var("HOME").unwrap_or_default());
    let run = dir.run(xml).environment(vec![path, home]);
    run.prepare(&crate::entry()).unwrap().start()
}

#[test]
fn a_guest_whose_restart_or_end_is_refused_is_ended_with_the_error() {
    let cases = [
        ("system_reset", "<on_poweroff>restart</on_poweroff>"),
        ("quit", "<on_poweroff>destroy</on_poweroff>"),
    ];
    for (command, elements) in cases {
        let dir = Dir::new();
        let Some(xml) = guest(&dir, command, elements) else { return };
        let end = run(&dir, &xml).unwrap().wait();
        match command {
            // It has come to its end by itself.
            "quit" => assert_eq!(end, End::ShutDown),
            _ => {
                assert_eq!(end, End::Refused { command, desc: "it will not".to_owned() });
                let text = format!(
                    "the emulator refused the command {command}, and was ended: it will not"
                );
                assert_eq!(end.to_string(), text);
            }
        }
        assert!(!Path::new(&dir.path("root/run/guest/refused")).exists());
    }
}

#[test]
fn a_start_whose_last_command_is_refused_is_reported_with_its_step() {
    let dir = Dir::new();
    let Some(xml) = guest(&dir, "cont", "") else { return };
    let error = run(&dir, &xml).unwrap_err();
    let StartError::Monitor { step, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*step, "cont");
    assert_eq!(source.to_string(), "it refused the command cont: it will not");
}
