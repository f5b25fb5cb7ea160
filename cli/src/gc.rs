//! `gc`: removes what nobody needs any more.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Escaped;

use crate::output::{self, count};
use crate::session::Session;
use crate::text::Text;

pub(crate) fn run(session: &Session) -> Result<ExitCode> {
    let collected = session.cache()?.collect_garbage()?;
    let mut text = Text::new();
    for emulator in &collected.emulators {
        text.line(format_args!("dropped: {}, which is gone", Escaped::new(emulator)));
    }
    for release in &collected.releases {
        text.line(format_args!("removed: {}, of an older release", Escaped::new(release)));
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
            text.line(format_args!("removed: {}", count(number, one, several)));
        }
    }
    if text.is_blank() {
        text.line("nothing to remove");
    }
    output::print(&text)?;
    for (file, why) in &collected.skipped {
        output::warn(format_args!("left alone: {}: {why}", Escaped::new(file)));
    }
    Ok(ExitCode::SUCCESS)
}
