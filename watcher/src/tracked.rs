//! Emulators that a watcher tracks.

use std::path::Path;

use capscache::format::{Input, InputRef};
use capscache::{Capabilities, Dependency, Groups};

/// State of one emulator that has an entry, had one, or is to get one.
pub(crate) struct Tracked {
    /// Dependencies of its answers, or of the failure to get them.
    pub(crate) depends_on: Vec<Dependency>,
    /// Recorded values of these.
    inputs: Vec<Input>,
    pub(crate) groups: Groups,
    /// True if its answers are valid, as far as was reported.
    pub(crate) is_valid: bool,
}

impl Tracked {
    /// Returns the state of an emulator with a valid entry.
    pub(crate) fn valid(capabilities: &Capabilities) -> Tracked {
        Tracked {
            depends_on: capabilities.depends_on(),
            inputs: capabilities.inputs().map(InputRef::to_owned).collect(),
            groups: capabilities.groups(),
            is_valid: true,
        }
    }

    /// Returns the state of an emulator that was never probed.
    pub(crate) fn unprobed(emulator: &Path) -> Tracked {
        Tracked {
            depends_on: vec![Dependency::File(emulator.to_owned())],
            inputs: Vec::new(),
            groups: Groups::CORE,
            is_valid: false,
        }
    }

    /// Adds dependencies of the answers, or of the failure to get them.
    pub(crate) fn add_dependencies(&mut self, more: Vec<Dependency>) {
        self.depends_on.extend(more);
        self.depends_on.sort();
        self.depends_on.dedup();
    }

    /// Returns whether both are valid with the same recorded values, whatever the age of the files.
    pub(crate) fn is_unchanged(&self, now: &Tracked) -> bool {
        let ageless = |input: &Input| Input { racy: false, ..input.clone() };
        self.is_valid && self.inputs.iter().map(ageless).eq(now.inputs.iter().map(ageless))
    }

    /// Returns whether a file changed so recently that its content is compared at each lookup.
    pub(crate) fn is_racy(&self) -> bool {
        self.inputs.iter().any(|input| input.racy)
    }
}
