//! Where the answer goes, and where everything else does.

use std::error::Error;
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use capscache::Tri;
pub(crate) use capscache_service::text::{chain, printable, without_number};
use clap::error::ErrorKind;
use serde_json::Value;

use crate::document;
use crate::text::Text;

/// Exit code: an answer is *no*, something is stale, or something failed among others.
pub(crate) const NO: u8 = 1;
/// Exit code: the command could not do what it was told.
pub(crate) const FAILED: u8 = 2;
/// Exit code: an answer is *unknown*, or there is no entry.
pub(crate) const UNKNOWN: u8 = 3;

const UNWRITTEN: &str = "cannot write the answer";

/// Standard output, buffered. Its closed end is no error that anybody wants to read about.
pub(crate) struct Answer(StdoutLock<'static>);

/// The reader of the answer has seen enough.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the answer")
    }
}

impl Error for Closed {}

fn closed(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::other(Closed) } else { error }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
    }
}

/// Whether an error is that the reader of the answer has seen enough.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref::<Closed>()).is_some()
}

/// Prints a document for programs, such as XML, as it is. What people read is a [`Text`].
pub(crate) fn print_document(document: &str) -> Result<()> {
    let mut answer = Answer(io::stdout().lock());
    answer.write_all(document.as_bytes()).and_then(|()| answer.flush()).context(UNWRITTEN)
}

/// Prints text, with its styles on a terminal, and without them elsewhere and with `NO_COLOR`.
pub(crate) fn print(text: &Text) -> Result<()> {
    let text = text.with_styles();
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => {
            print_document(&anstream::adapter::strip_str(text).to_string())
        }
        _ => print_document(text),
    }
}

/// Prints compact JSON on one line.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut answer = BufWriter::with_capacity(64 * 1024, Answer(io::stdout().lock()));
    document::write_json(value, &mut answer).and_then(|()| answer.flush()).context(UNWRITTEN)
}

/// Prints JSON made for reading.
pub(crate) fn print_json_pretty(value: &impl serde::Serialize) -> Result<()> {
    let mut answer = BufWriter::with_capacity(64 * 1024, Answer(io::stdout().lock()));
    document::write_json_pretty(value, &mut answer).and_then(|()| answer.flush()).context(UNWRITTEN)
}

/// A value as compact JSON; text without quotes.
pub(crate) fn json_line(value: &capscache::format::Value<'_>) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(value).unwrap_or_default(),
    }
}

/// Says something on stderr, in one line; what others named or said in it is escaped.
pub(crate) fn warn(what: fmt::Arguments<'_>) {
    let line = format!("capscache: {}\n", printable(&what.to_string()));
    // There is nobody left to be told that this cannot be told.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Says on stderr what went wrong.
pub(crate) fn complain(error: &anyhow::Error) {
    warn(format_args!("{}", chain(error.as_ref())));
}

/// Says on stderr what went wrong with one of several things.
pub(crate) fn complain_about(name: &str, error: &anyhow::Error) {
    let text = chain(error.as_ref());
    if text.contains(&printable(name)) {
        warn(format_args!("{text}"));
    } else {
        warn(format_args!("{name}: {text}"));
    }
}

/// Says on one line what is wrong with a command line; prints help where that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => warn(format_args!("{}", one_line(&error.render().to_string()))),
    }
    ExitCode::from(FAILED)
}

/// clap tells over several lines what fits on one.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with("For more information") {
            break;
        }
        let (between, part) = match part.split_once(": ") {
            Some(("error", rest)) => ("", rest.to_owned()),
            Some(("tip", rest)) => ("; ", rest.to_owned()),
            Some(("Usage", rest)) => ("; usage: ", rest.to_owned()),
            _ => (" ", part.to_owned()),
        };
        line.push_str(between);
        line.push_str(&part);
    }
    line
}

/// What several answers come to, as an exit code.
pub(crate) fn code_of(answers: impl IntoIterator<Item = Tri>) -> ExitCode {
    let mut code = 0;
    for answer in answers {
        match answer {
            Tri::No => return ExitCode::from(NO),
            Tri::Unknown => code = UNKNOWN,
            Tri::Yes => {}
        }
    }
    ExitCode::from(code)
}

/// A QMP command with the strings among its arguments, as a person would say it.
pub(crate) fn command(name: &str, arguments: Option<&str>) -> String {
    fn strings(value: &Value, text: &mut String) {
        match value {
            Value::String(string) => {
                text.push(' ');
                text.push_str(string);
            }
            Value::Object(object) => object.values().for_each(|value| strings(value, text)),
            _ => {}
        }
    }
    let mut text = name.to_owned();
    if let Some(arguments) = arguments.and_then(|json| serde_json::from_str(json).ok()) {
        strings(&arguments, &mut text);
    }
    text
}

/// A number of things.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_over_several_lines_comes_on_one() {
        let text = "error: unrecognized subcommand 'wram'\n\n  tip: a similar subcommand exists: \
                    'warm'\n\nUsage: capscache [OPTIONS] <COMMAND>\n\nFor more information, try \
                    '--help'.\n";
        assert_eq!(
            one_line(text),
            "unrecognized subcommand 'wram'; a similar subcommand exists: 'warm'; usage: \
             capscache [OPTIONS] <COMMAND>"
        );
    }

    #[test]
    fn an_error_loses_its_number_and_stays_on_one_line() {
        let error = anyhow::Error::from(io::Error::from_raw_os_error(2)).context("cannot\nread");
        assert_eq!(chain(error.as_ref()), "cannot\\nread: No such file or directory");
    }
}
