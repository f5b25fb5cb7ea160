//! The check before an emulator is started in the background.

use std::path::Path;

use capscache::Dependency;
use capscache::discovery::files_that_may_run;
use capscache::trust::{Untrusted, check_trusted};

/// Checks with [`check_trusted`] all files that a probe of an emulator may run: the emulator, the files that it
/// names if it is a script, and those that it ran and loaded before. Returns whether these are certainly all, as
/// [`files_that_may_run`] does.
///
/// # Errors
/// [`Untrusted`] for the first that another user could have written.
pub fn check_probe(emulator: &Path, ran_before: &[Dependency]) -> Result<bool, Untrusted> {
    let (named, are_all) = files_that_may_run(emulator);
    named.iter().chain(ran_before).try_for_each(|runs| check_trusted(runs.path()))?;
    Ok(are_all)
}
