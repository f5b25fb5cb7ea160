//! Tests of the command, end to end: a separate process, real emulators, a separate root.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod answers;
mod bad_input;
mod complete;
mod devaddr;
mod disasters;
mod drivers;
mod emulate;
mod exit_codes;
mod firmware;
mod formats;
mod host;
mod kvm;
mod libvirt;
mod manners;
mod outside;
mod reasons;
mod run;
mod schema;
mod seed;
mod shortage;
mod transcripts;
mod upkeep;
mod watch;

#[path = "../support/dir.rs"]
mod dir;

use serde_json::Value;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::{Assert, IntoData, Redactions};
use test_support::{Run, avr, emulator, run, text, x86_64};

use crate::dir::Dir;

/// Sections of `inspect` that every emulator of x86_64 has something in.
const SECTIONS: [&str; 14] = [
    "machines",
    "cpus",
    "host-cpu",
    "devices",
    "objects",
    "types",
    "commands",
    "events",
    "options",
    "migration",
    "tpm",
    "schema",
    "flags",
    "report",
];

impl Dir {
    /// Runs the command to its end.
    fn run(&self, arguments: &[&str]) -> Run {
        run(self.command().args(arguments))
    }

    /// Runs the command, which has to succeed without a message on stderr, and returns its answer.
    fn answer(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}: {run:?}");
        run.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.answer(arguments)).expect("JSON")
    }

    /// Runs commands one after another and returns all that they show: the lines of stderr behind `! `, and an exit
    /// code that is not 0.
    fn session(&self, commands: &[&[&str]]) -> String {
        let mut shown = String::new();
        for arguments in commands {
            let run = self.run(arguments);
            shown += &format!("$ capscache {}\n{}", arguments.join(" "), run.stdout);
            run.stderr.lines().for_each(|line| shown += &format!("! {line}\n"));
            match run.code {
                Some(0) => {}
                Some(code) => shown += &format!("exit code: {code}\n"),
                None => shown += "ended by a signal\n",
            }
        }
        shown
    }

    /// Compares a text with a snapshot, in which `[DIR]` is this directory and `[..]` any text within a line. Snapshots
    /// are only written by `SNAPSHOTS=overwrite cargo test -p capscache-cli --test command`.
    #[track_caller]
    fn assert_snapshot(&self, shown: &str, expected: impl IntoData) {
        let mut redactions = Redactions::new();
        redactions.insert("[DIR]", text(self.directory())).expect("a placeholder");
        let assert = Assert::new().action_env(DEFAULT_ACTION_ENV).redact_with(redactions);
        assert.normalize_paths(false).eq(shown, expected);
    }

    /// Returns the entry of an emulator in `list`.
    fn listed(&self, emulator: &str) -> Option<Value> {
        let list = self.json(&["list", "--json"]);
        let entries = list.as_array().expect("an array");
        entries.iter().find(|entry| entry["emulator"] == emulator).cloned()
    }
}

/// Returns true if the x86_64 emulator runs under KVM here; reports a skip if not.
fn kvm_works() -> bool {
    test_support::kvm_works("x86_64")
}
