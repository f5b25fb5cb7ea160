//! `gc`: removes what nobody needs any more.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::output::{self, count};
use crate::session::Session;

pub(crate) fn run(session: &Session) -> Result<ExitCode> {
    let collected = session.cache()?.collect_garbage()?;
    let mut text = String::new();
    for emulator in &collected.emulators {
        let _ = writeln!(text, "dropped: {}, which is gone", emulator.display());
    }
    for release in &collected.releases {
        let _ = writeln!(text, "removed: {}, of an older release", release.display());
    }
    let numbers = [
        (collected.damaged, "damaged entry", "damaged entries"),
        (collected.failures, "failure that is over", "failures that are over"),
        (collected.temporaries, "file that a writer left", "files that writers left"),
        (
            collected.scratch_directories,
            "directory that a probe left",
            "directories that probes left",
        ),
    ];
    for (number, one, several) in numbers {
        if number > 0 {
            let _ = writeln!(text, "removed: {}", count(number, one, several));
        }
    }
    if text.is_empty() {
        text.push_str("nothing to remove\n");
    }
    output::print(&text)?;
    for (file, why) in &collected.skipped {
        output::warn(format_args!("left alone: {}: {why}", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}
