//! The environment that emulators get, as far as their answers depend on it.

use std::ffi::OsString;

use capscache_format::{Evidence, Input, Variable};

use super::{Check, Compare, FastCheck, HostFacts, Present};

use super::{record_state, wrapper::Routes};
use capscache_format::Scope;

/// Compares environments. Only the cache has the environment that an emulator would get: `entries` compares it
/// with the recorded one.
pub(super) struct Environment;

/// Records the variables that were given to an emulator, and `PATH` if a wrapper searches it. `None` if
/// there are none.
pub(crate) fn record(routes: &Routes, variables: &[Variable]) -> Option<Input> {
    let mut deciding = sorted(variables);
    deciding.retain(|(name, _)| name != "PATH" || routes.use_path);
    let is_empty = deciding.is_empty();
    let evidence = Evidence::Environment { variables: deciding };
    (!is_empty).then(|| record_state(Scope::Binary, evidence))
}

/// Variables sorted by name and value, each once.
pub(crate) fn sorted(variables: &[Variable]) -> Vec<Variable> {
    let mut sorted = variables.to_vec();
    sorted.sort();
    sorted.dedup();
    sorted
}

/// The recorded variables; none if answers depend on none.
pub(crate) fn recorded(inputs: &[Input]) -> &[Variable] {
    let recorded = inputs.iter().find_map(|input| match &input.evidence {
        Evidence::Environment { variables } => Some(&variables[..]),
        _ => None,
    });
    recorded.unwrap_or_default()
}

/// Splits variables into `PATH` and the others.
pub(crate) fn split_path(variables: &[Variable]) -> (Vec<Variable>, Vec<Variable>) {
    variables.iter().cloned().partition(|(name, _): &(OsString, OsString)| name == "PATH")
}

/// Formats variables for messages.
pub(crate) fn describe(variables: &[Variable]) -> String {
    let assignment = |(name, value): &Variable| {
        format!("{}={}", name.to_string_lossy(), value.to_string_lossy())
    };
    variables.iter().map(assignment).collect::<Vec<_>>().join(" ")
}

impl Compare for Environment {
    fn fast_checks(&self, _: &Input, _: &HostFacts) -> Option<Vec<FastCheck>> {
        Some(Vec::new())
    }

    fn full_check(&self, _: &Input, _: &Present<'_>) -> Check {
        Check::Same
    }

    fn holds_for_failure(&self, _: &Input, _: &HostFacts) -> bool {
        true
    }

    fn describe(&self, input: &Input) -> String {
        describe(recorded(std::slice::from_ref(input)))
    }
}
