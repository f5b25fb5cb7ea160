//! The result of `warm` for one emulator as JSON.

use std::path::Path;

use capscache::Accelerator;
use serde_json::{Value, json};

use super::Outcome;
use crate::entries;
use crate::output;

/// Returns what happened to an emulator, in the form that docs/json.md specifies.
pub(super) fn result(emulator: &Path, outcome: &Outcome) -> Value {
    let (result, caps, error) = match outcome {
        Outcome::Probed(caps, _) => ("probed", Some(caps), None),
        Outcome::Cached(caps) => ("cached", Some(caps), None),
        Outcome::Shared(caps, _) => ("same-file", Some(caps), None),
        Outcome::NotStored(caps, error) => ("not-stored", Some(caps), Some(error)),
        Outcome::Failed(error) => ("failed", None, Some(error)),
    };
    let milliseconds = match outcome {
        Outcome::Probed(_, elapsed) => u64::try_from(elapsed.as_millis()).ok(),
        _ => None,
    };
    let same_file_as = match outcome {
        Outcome::Shared(_, first) => Some(first.to_string_lossy()),
        _ => None,
    };
    let accelerators =
        caps.map(|caps| caps.accelerators().map(Accelerator::name).collect::<Vec<_>>());
    json!({
        "emulator": emulator.to_string_lossy(),
        "result": result,
        "milliseconds": milliseconds,
        "same-file-as": same_file_as,
        "reason": error.map(|error| output::chain(error.as_ref())),
        "version": caps.map(|caps| entries::version(caps.version())),
        "arch": caps.map(|caps| caps.arch()),
        "accelerators": accelerators,
        "missing": caps.map(|caps| caps.missing()),
    })
}
