//! Tests of the command, end to end: its own process, real emulators, a root of its own.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod answers;
mod bad_input;
mod disasters;
mod firmware;
mod kvm;
mod libvirt;
mod manners;
mod outside;
mod reasons;
mod shortage;
mod transcripts;
mod upkeep;
mod watch;

#[path = "../support/dir.rs"]
mod dir;

use serde_json::Value;
use test_support::{Run, avr, emulator, run, text, x86_64};

use crate::dir::Dir;

impl Dir {
    /// Runs the command to its end.
    fn run(&self, arguments: &[&str]) -> Run {
        run(self.command().args(arguments))
    }

    /// Runs the command, which has to succeed without a word on stderr, and returns its answer.
    fn answer(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}: {run:?}");
        run.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.answer(arguments)).expect("JSON")
    }

    /// Returns what `list` prints of an emulator.
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
