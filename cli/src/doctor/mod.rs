//! `doctor`: checks of this host, each with a remedy. Nothing is probed and nothing is written.

mod emulators;
mod kvm;
mod libvirt;
mod root;
mod service;
mod users;
mod watcher;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::args;
use crate::output;
use crate::session::Session;
use crate::table::{BAD, Cell, DOUBTFUL, FAINT, GOOD, Table};
use crate::text::Text;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Answers are right, but slower or fewer than they could be.
    Warning,
    /// Answers are missing.
    Failure,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// The part of the host.
    part: &'static str,
    state: State,
    found: String,
    /// `None` where nothing has to be done.
    remedy: Option<String>,
}

impl Check {
    fn ok(part: &'static str, found: impl Into<String>) -> Check {
        Check { part, state: State::Ok, found: found.into(), remedy: None }
    }

    fn warning(part: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { remedy: Some(remedy.into()), state: State::Warning, ..Check::ok(part, found) }
    }

    fn failure(part: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { state: State::Failure, ..Check::warning(part, found, remedy) }
    }

    /// Returns the failure of an error of the cache, whose message ends with its remedy.
    fn of_error(part: &'static str, error: &anyhow::Error) -> Check {
        let otherwise = "give another root with --root DIR";
        Check::of_message(part, State::Failure, &output::message(error), otherwise)
    }

    /// Returns a finding whose message ends with its remedy, or has the remedy `otherwise`.
    fn of_message(part: &'static str, state: State, message: &str, otherwise: &str) -> Check {
        let (found, remedy) = message.split_once("; ").unwrap_or((message, otherwise));
        Check { state, ..Check::warning(part, found, remedy) }
    }
}

/// All findings, as JSON has them.
#[derive(Debug, Serialize)]
struct Report {
    /// The worst state.
    state: State,
    checks: Vec<Check>,
}

pub(crate) fn run(session: &Session, args: &args::Doctor) -> Result<ExitCode> {
    // In the order of the answer, except that the rights of the caller are examined before the source is opened, for
    // which root may become another user.
    let [kvm, directory, watcher, service, libvirt] = [
        kvm::check(),
        root::check(&session.root()?),
        watcher::check(),
        service::check(),
        libvirt::check(),
    ];
    let source = session.source();
    let checks = [
        kvm,
        directory,
        root::check_access(session, &source)?,
        watcher,
        service,
        libvirt,
        emulators::check(&source),
    ];
    let checks = checks.concat();
    let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    let report = Report { state, checks };
    if let Some(format) = args.format.document() {
        format.print(&report)?;
    } else {
        output::print(&as_text(&report.checks))?;
    }
    Ok(ExitCode::from(if state == State::Failure { output::NO } else { 0 }))
}

fn as_text(checks: &[Check]) -> Text {
    let mut table = Table::new(&[]);
    for check in checks {
        let state = match check.state {
            State::Ok => Cell::styled("ok", GOOD),
            State::Warning => Cell::styled("warning", DOUBTFUL),
            State::Failure => Cell::styled("failure", BAD),
        };
        table.row([state, check.part.into(), check.found.clone().into()]);
        if let Some(remedy) = &check.remedy {
            table.row(["".into(), Cell::styled("remedy", FAINT), remedy.clone().into()]);
        }
    }
    table.render()
}
