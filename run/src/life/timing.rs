//! The time that each step of a start took.

use std::time::{Duration, Instant};

/// The time that each step of a start took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing(Vec<(&'static str, Duration)>);

impl Timing {
    /// Returns the steps in order, with their names.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        self.0.iter().copied()
    }

    /// Returns the time of all steps.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|(_, time)| *time).sum()
    }

    /// Adds a step at the end.
    pub(super) fn push(&mut self, step: &'static str, time: Duration) {
        self.0.push((step, time));
    }
}

/// A clock of steps that follow each other.
#[derive(Debug)]
pub(super) struct Clock {
    last: Instant,
    pub(super) timing: Timing,
    /// The step that is in progress.
    pub(super) step: &'static str,
}

impl Clock {
    pub(super) fn new(timing: Timing) -> Clock {
        Clock { last: Instant::now(), timing, step: "" }
    }

    /// Starts a step, which ends the one before.
    pub(super) fn start(&mut self, step: &'static str) {
        self.end();
        self.step = step;
    }

    /// Ends the step in progress.
    pub(super) fn end(&mut self) {
        let now = Instant::now();
        if !self.step.is_empty() {
            self.timing.push(self.step, now - self.last);
            self.step = "";
        }
        self.last = now;
    }
}
