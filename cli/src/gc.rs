//! `gc`: removes entries of emulators that no longer exist, and leftovers.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Escaped;

use crate::output::{self, count};
use crate::session::Session;
use crate::text::Text;

pub(crate) fn run(session: &Session) -> Result<ExitCode> {
    let report = session.cache()?.collect_garbage()?;
    let mut text = Text::new();
    for emulator in &report.emulators {
        text.line(format_args!("dropped: {}, which is gone", Escaped::new(emulator)));
    }
    for release in &report.releases {
        text.line(format_args!("removed: {}, of an older release", Escaped::new(release)));
    }
    let numbers = [
        (report.damaged, "damaged entry", "damaged entries"),
        (report.failures, "expired failure", "expired failures"),
        (report.temporaries, "leftover file of a writer", "leftover files of writers"),
        (
            report.scratch_directories,
            "leftover directory of a probe",
            "leftover directories of probes",
        ),
    ];
    for (number, one, several) in numbers {
        if number > 0 {
            text.line(format_args!("removed: {}", count(number, one, several)));
        }
    }
    if text.is_blank() {
        text.line("nothing to remove");
    }
    output::print(&text)?;
    for (file, why) in &report.skipped {
        output::warn(format_args!("cannot remove {}: {why}", Escaped::new(file)));
    }
    Ok(ExitCode::SUCCESS)
}
