//! Output of `warm`: a line for each running probe on a terminal, a line for each emulator, a summary; for programs
//! the results in one document.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use capscache::{Capabilities, Escaped};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{Outcome, document};
use crate::format::DocumentFormat;
use crate::output;
use crate::session::join;
use crate::table::{BAD, DOUBTFUL, FAINT, PLAIN};
use crate::text::Text;

/// Interval between redraws of a running probe's line.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Progress {
    began: Instant,
    emulators: Vec<PathBuf>,
    /// File names where they are unique, otherwise paths, escaped.
    names: HashMap<PathBuf, String>,
    width: usize,
    full: bool,
    format: Option<DocumentFormat>,
    lines: Option<MultiProgress>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    probed: usize,
    shared: usize,
    cached: usize,
    failed: usize,
    /// The results for programs.
    results: HashMap<PathBuf, Value>,
}

/// The line of a running probe.
pub(super) struct Running(Option<ProgressBar>);

impl Running {
    pub(super) fn end(self) {
        if let Some(line) = self.0 {
            line.finish_and_clear();
        }
    }
}

impl Progress {
    pub(super) fn new(
        emulators: &[PathBuf],
        full: bool,
        format: Option<DocumentFormat>,
    ) -> Progress {
        let mut uses = HashMap::new();
        for emulator in emulators {
            *uses.entry(emulator.file_name()).or_insert(0) += 1;
        }
        let name = |emulator: &PathBuf| {
            let short = emulator.file_name().filter(|_| uses[&emulator.file_name()] == 1);
            let name = Escaped::new(short.unwrap_or(emulator.as_os_str())).to_string();
            (emulator.clone(), name)
        };
        let names: HashMap<_, _> = emulators.iter().map(name).collect();
        Progress {
            began: Instant::now(),
            emulators: emulators.to_vec(),
            width: names.values().map(|name| name.chars().count()).max().unwrap_or(0),
            names,
            full,
            format,
            lines: std::io::stderr().is_terminal().then(MultiProgress::new),
            tally: Mutex::default(),
        }
    }

    /// Shows that a probe is running.
    pub(super) fn begin(&self, emulator: &Path) -> Running {
        Running(self.lines.as_ref().map(|lines| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .expect("the template is well-formed");
            let line = lines.add(ProgressBar::new_spinner().with_style(style));
            line.set_message(self.name(emulator).to_owned());
            line.enable_steady_tick(TICK);
            line
        }))
    }

    /// Shows the result for an emulator; keeps it for the document that programs get.
    pub(super) fn show(&self, emulator: &Path, outcome: Outcome) -> Result<()> {
        let mut tally = self.tally();
        if self.format.is_some() {
            tally.results.insert(emulator.to_owned(), document::result(emulator, &outcome));
        }
        let (capabilities, (style, end), error) = match outcome {
            Outcome::Cached(caps) => {
                tally.cached += 1;
                (Some(caps), (FAINT, "cached".to_owned()), None)
            }
            Outcome::Probed(caps, elapsed) => {
                tally.probed += 1;
                (Some(caps), (PLAIN, format!("probed in {:.2} s", elapsed.as_secs_f64())), None)
            }
            Outcome::Shared(caps, first) => {
                tally.shared += 1;
                (Some(caps), (FAINT, format!("same file as {}", self.name(&first))), None)
            }
            Outcome::NotStored(caps, error) => {
                tally.failed += 1;
                (Some(caps), (BAD, "probed, not stored".to_owned()), Some(error))
            }
            Outcome::Failed(error) => {
                tally.failed += 1;
                (None, (BAD, "FAILED".to_owned()), Some(error))
            }
        };
        let mut text = Text::new();
        text.add(format_args!("{:width$}", self.name(emulator), width = self.width));
        if let Some(caps) = &capabilities {
            let accelerators = join(&caps.accelerators().collect::<Vec<_>>(), " ");
            let (version, arch) = (caps.version(), Escaped::new(caps.arch()));
            text.add(format_args!("  {version:8} {arch:12} {accelerators:9}"));
        }
        text.blanks(2);
        text.styled(style, end);
        text.end();
        if let Some(caps) = &capabilities {
            text.append(&missing(caps));
            if self.full {
                text.append(&quarantined(caps));
            }
        }
        self.suspend(|| {
            if let Some(error) = &error {
                output::print_error_about(self.name(emulator), error);
            }
            match self.format {
                Some(_) => Ok(()),
                None => output::print(&text),
            }
        })
    }

    /// Shows the summary, or the document; returns whether an emulator failed.
    pub(super) fn finish(self) -> Result<bool> {
        let Tally { probed, shared, cached, failed, ref results } = *self.tally();
        if let Some(format) = self.format {
            let results: Vec<_> =
                self.emulators.iter().filter_map(|one| results.get(one)).collect();
            format.print(&results)?;
            return Ok(failed > 0);
        }
        let parts = [
            (probed, "probed"),
            (shared, "the same file as another"),
            (cached, "cached"),
            (failed, "failed"),
        ];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<_> = parts.map(|(number, result)| format!("{number} {result}")).collect();
        let emulators = output::count(probed + shared + cached + failed, "emulator", "emulators");
        let seconds = self.began.elapsed().as_secs_f64();
        let mut text = Text::new();
        text.line(format_args!("{emulators} in {seconds:.2} s: {}", parts.join(", ")));
        output::print(&text)?;
        Ok(failed > 0)
    }

    fn name<'a>(&'a self, emulator: &'a Path) -> &'a str {
        self.names.get(emulator).map_or("", String::as_str)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `write` while the lines of running probes are hidden.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.lines {
            Some(lines) => lines.suspend(write),
            None => write(),
        }
    }
}

/// Renders a line for each part of the answers that is missing, with the reason.
fn missing(caps: &Capabilities) -> Text {
    let mut text = Text::new();
    for reason in caps.missing() {
        text.blanks(4);
        text.styled(DOUBTFUL, format_args!("missing: {reason}"));
        text.end();
    }
    text
}

/// Renders a line for each query that is left out.
fn quarantined(caps: &Capabilities) -> Text {
    let mut text = Text::new();
    for query in caps.report().unwrap_or_default().quarantined {
        let command = output::command(&query.command, query.arguments.as_deref());
        text.line(format_args!("    quarantined: {command}: {}", query.reason));
    }
    text
}
