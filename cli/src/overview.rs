//! The command without a subcommand: a short overview of this host, and what to do next.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{Escaped, Status};
use serde_json::{Value, json};

use crate::entries;
use crate::format::OutputFormat;
use crate::host::{self, Service};
use crate::output;
use crate::session::Session;
use crate::source::Source;
use crate::table::{BAD, Cell, DOUBTFUL, FAINT, GOOD, HEADING, PLAIN, Table};
use crate::text::Text;

/// The emulator that the next steps name, where it is found: it has most to show.
const EXAMPLE: &str = "qemu-system-x86_64";

/// Emulators with the states of their entries, or the reason why those are unknown.
type Found = Result<Vec<(PathBuf, Status)>, String>;

/// Prints the overview. A cache that cannot be used is part of it, and not an error.
pub(crate) fn run(session: &Session, format: OutputFormat) -> Result<ExitCode> {
    // Before the source is opened, for which root may become another user.
    let (watchers, service) = (host::watchers(), host::service());
    let source = session.source();
    let found: Found = match &source {
        Ok(source) => host::emulators(source).map_err(|error| output::message(&error)),
        Err(error) => Err(output::message(error)),
    };
    if let Some(format) = format.document() {
        let cache = cache_as_json(session, source.as_ref().ok(), &found)?;
        format.print(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cache": cache,
            "emulators": found.ok().map(emulators_as_json),
            "service": service_as_json(&service),
            "watchers": watchers,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::of_pairs();
    table.pair("cache", cache(session, source.as_ref().ok())?);
    table.pair("emulators", emulators(&found));
    table.pair("service", self::service(&service));
    table.pair("watcher", self::watchers(&watchers));
    let mut text = Text::new();
    text.styled(HEADING, concat!("capscache ", env!("CARGO_PKG_VERSION")));
    text.line(": the capabilities of this host's QEMU emulators");
    text.append(&table.render());
    text.end();
    text.styled(HEADING, "Next");
    text.end();
    text.append(&next(&found).render());
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn cache(session: &Session, source: Option<&Source>) -> Result<Cell> {
    let root = session.root()?;
    let by = if matches!(source, Some(Source::Service(..))) { ", through the service" } else { "" };
    let absent = if root.exists() { "" } else { " (does not exist yet)" };
    Ok(format!("{}{by}{absent}", Escaped::new(&root)).into())
}

fn cache_as_json(session: &Session, source: Option<&Source>, found: &Found) -> Result<Value> {
    let root = session.root()?;
    Ok(json!({
        "root": root.to_string_lossy(),
        "exists": root.exists(),
        "by-service": matches!(source, Some(Source::Service(..))),
        "reason": found.as_ref().err(),
    }))
}

fn emulators_as_json(found: Vec<(PathBuf, Status)>) -> Value {
    found.iter().map(|(emulator, status)| entries::state(emulator, status)).collect()
}

fn service_as_json(service: &Service) -> Value {
    let (state, info, reason) = match &service.info {
        None => ("not-running", None, None),
        Some(Ok(info)) => ("running", Some(info), None),
        Some(Err(error)) => ("failed", None, Some(output::chain(error))),
    };
    json!({
        "socket": service.socket.to_string_lossy(),
        "state": state,
        "version": info.map(|info| &info.version),
        "root": info.map(|info| info.root.to_string_lossy()),
        "reason": reason,
    })
}

fn emulators(found: &Found) -> Cell {
    let found = match found {
        Ok(found) if found.is_empty() => {
            return Cell::styled(host::NO_EMULATORS, BAD);
        }
        Ok(found) => found,
        Err(error) => return Cell::styled(error, BAD),
    };
    let mut text = format!("{} found", found.len());
    for state in ["valid", "stale", "missing", "failed", "damaged", "unreadable"] {
        let number = found.iter().filter(|(_, status)| status.name() == state).count();
        if number > 0 {
            text.push_str(&format!(", {number} {state}"));
        }
    }
    let all_are_valid = found.iter().all(|(_, status)| matches!(status, Status::Valid));
    Cell::styled(text, if all_are_valid { GOOD } else { DOUBTFUL })
}

fn service(service: &Service) -> Cell {
    let socket = Escaped::new(&service.socket);
    match &service.info {
        None => "not running".into(),
        Some(Ok(info)) => {
            let (version, root) = (&info.version, Escaped::new(&info.root));
            format!("running at {socket}: version {version}, serves {root}").into()
        }
        Some(Err(error)) => Cell::styled(output::chain(error), BAD),
    }
}

fn watchers(processes: &[u32]) -> Cell {
    host::running(processes).map_or("not running".into(), Cell::from)
}

/// Returns the commands to run next, and what they do.
fn next(found: &Found) -> Table {
    let mut table = Table::of_pairs();
    let mut step = |command: &str, purpose: &str| {
        table.row([Cell::styled(command, PLAIN), Cell::styled(purpose, FAINT)]);
    };
    let emulators = found.as_deref().unwrap_or_default();
    if emulators.iter().any(|(_, status)| !matches!(status, Status::Valid)) {
        step("capscache warm --all", "probe the emulators without a valid entry");
    }
    let is_example = |(path, _): &&(PathBuf, Status)| path.file_name() == Some(EXAMPLE.as_ref());
    let example = emulators.iter().find(is_example).or(emulators.first());
    if let Some(name) = example.and_then(|(path, _)| path.file_name()) {
        let name = Escaped::new(name);
        step(&format!("capscache inspect {name}"), "show what it can do");
        step(&format!("capscache query {name} cpu:host@kvm"), "answer yes, no or unknown");
    }
    step("capscache doctor", "check this host, with a remedy for each finding");
    step("capscache help", "list all commands");
    table
}
