//! Output of the command: the answer on stdout, everything else on stderr.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
pub(crate) use capscache::chain;
use capscache::{Escaped, Tri};
use clap::error::ErrorKind;
use serde_json::Value;

use crate::remedy;
use crate::text::Text;

/// Exit code: an answer is *no*, something is stale, or something failed among others.
pub(crate) const NO: u8 = 1;
/// Exit code: the command failed.
pub(crate) const FAILED: u8 = 2;
/// Exit code: an answer is *unknown*, or there is no entry.
pub(crate) const UNKNOWN: u8 = 3;

const WRITE_FAILED: &str = "cannot write the answer";

/// Standard output. A reader that closed the pipe is not reported as an error.
pub(crate) struct Answer(StdoutLock<'static>);

/// Error: the reader of the answer closed its end of the pipe.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the answer closed the pipe")
    }
}

impl Error for Closed {}

fn mark_closed(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::other(Closed) } else { error }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark_closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark_closed)
    }
}

/// Returns whether an error is that the reader of the answer closed the pipe.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref::<Closed>()).is_some()
}

/// Returns the result of printing. A command goes on behind a closed pipe: its exit code is an answer too.
fn unless_closed(printed: Result<()>) -> Result<()> {
    printed.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) })
}

/// Prints a document for programs, such as XML, unchanged. Output for people is a [`Text`].
pub(crate) fn print_document(document: &str) -> Result<()> {
    unless_closed(print_event(document))
}

/// Prints one of the events of a command that does nothing else. A closed pipe is an error ([`is_closed`]), which ends it.
pub(crate) fn print_event(event: &str) -> Result<()> {
    let mut answer = Answer(io::stdout().lock());
    answer.write_all(event.as_bytes()).and_then(|()| answer.flush()).context(WRITE_FAILED)
}

/// Returns the number of columns of the terminal that stdout is; `None` if it is not one, or has no width.
pub(crate) fn columns() -> Option<usize> {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).ok()?.ws_col;
    (columns > 0).then_some(columns.into())
}

/// Prints text.
pub(crate) fn print(text: &Text) -> Result<()> {
    print_document(&styled(text))
}

/// Returns text for stdout: with its styles on a terminal, and without them elsewhere and with `NO_COLOR`.
pub(crate) fn styled(text: &Text) -> Cow<'_, str> {
    let text = text.with_styles();
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string().into(),
        _ => text.into(),
    }
}

/// Prints what a function writes.
pub(crate) fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut answer = BufWriter::with_capacity(64 * 1024, Answer(io::stdout().lock()));
    unless_closed(write(&mut answer).and_then(|()| answer.flush()).context(WRITE_FAILED))
}

/// Returns a value as compact JSON; a string without quotes.
pub(crate) fn json_line(value: &capscache::format::Value<'_>) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(value).unwrap_or_default(),
    }
}

/// Prints a message on stderr, in one line; text from outside in it is escaped.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    let line = format!("capscache: {}\n", Escaped::new(&message.to_string()));
    // An error of stderr cannot be reported anywhere.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Returns an error with its causes and its remedy, in one line.
pub(crate) fn message(error: &anyhow::Error) -> String {
    chain(error.as_ref()) + remedy::of_error(error)
}

/// Prints an error on stderr.
pub(crate) fn print_error(error: &anyhow::Error) {
    warn(format_args!("{}", message(error)));
}

/// Prints an error about `name` on stderr, and the name if the error does not contain it.
pub(crate) fn print_error_about(name: &str, error: &anyhow::Error) {
    let text = message(error);
    if text.contains(&Escaped::new(name).to_string()) {
        warn(format_args!("{text}"));
    } else {
        warn(format_args!("{name}: {text}"));
    }
}

/// Prints the error of a command line on one line, or help if the command line requests it.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        _ => warn(format_args!("{}", one_line(&error.render().to_string()))),
    }
    ExitCode::from(FAILED)
}

/// Joins the lines of a message of clap.
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

/// Returns the exit code for several answers.
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

/// Returns a QMP command with the strings among its arguments, for people.
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

/// Returns a number with the noun in singular or plural.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_clap_is_joined_to_one_line() {
        let text = "error: unrecognized subcommand 'wram'\n\n  tip: a similar subcommand exists: \
                    'warm'\n\nUsage: capscache [OPTIONS] [COMMAND]\n\nFor more information, try \
                    '--help'.\n";
        assert_eq!(
            one_line(text),
            "unrecognized subcommand 'wram'; a similar subcommand exists: 'warm'; usage: \
             capscache [OPTIONS] [COMMAND]"
        );
    }

    #[test]
    fn an_error_loses_its_number_and_stays_on_one_line() {
        let error = anyhow::Error::from(io::Error::from_raw_os_error(2)).context("cannot\nread");
        assert_eq!(chain(error.as_ref()), "cannot\\nread: No such file or directory");
    }
}
