//! The service's log on stderr: one line an event, with its priority for the journal.

use std::fmt;
use std::io::{self, IsTerminal};

use capscache::Escaped;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats lines for the journal (`sd-daemon(3)`), or for people.
#[derive(Debug)]
struct Lines {
    for_journal: bool,
}

/// Starts to log, with debug messages if `verbose`.
pub(super) fn start(verbose: bool) {
    let lines = Lines { for_journal: is_journal() };
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(level)
        .event_format(lines)
        .init();
}

/// Returns whether stderr is the descriptor that systemd connected to the journal.
fn is_journal() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = rustix::fs::fstat(io::stderr());
    stderr.is_ok_and(|status| journal == format!("{}:{}", status.st_dev, status.st_ino))
}

impl<S> FormatEvent<S, DefaultFields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.for_journal {
            write!(writer, "capscache: ")?;
        } else {
            let priority = match *event.metadata().level() {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            write!(writer, "<{priority}>")?;
        }
        // One line an event: text of clients and emulators may contain newlines.
        let mut line = String::new();
        context.format_fields(Writer::new(&mut line), event)?;
        writeln!(writer, "{}", Escaped::new(&line))
    }
}
