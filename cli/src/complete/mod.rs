//! `complete`: candidates for the last word of a command line, one a line, for the scripts that `completions` prints.
//!
//! clap knows commands, options and their values. Emulators, sections, kinds of query and names come from this host and
//! from valid entries: nothing is probed.

mod names;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use capscache::discovery::find_emulators;
use capscache::{Capabilities, Escaped, Groups, Lookup};
use capscache_libvirt::Release;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use crate::args::{Arguments, Complete, GlobalOptions};
use crate::inspect;
use crate::output;
use crate::session::{Session, locate};
use crate::source::Source;
use crate::text::Text;

pub(crate) fn run(args: &Complete) -> Result<ExitCode> {
    let words: Vec<OsString> =
        [env!("CARGO_BIN_NAME").into()].into_iter().chain(args.words.iter().cloned()).collect();
    let last = words.len() - 1;
    // A line that cannot be completed has no candidates; messages would be in the way of what is typed.
    let directory = std::env::current_dir().ok();
    let mut command = command_for(Line::of(&words));
    let found = clap_complete::engine::complete(&mut command, words, last, directory.as_deref());
    let mut text = Text::new();
    for candidate in found.unwrap_or_default().iter().filter(|candidate| !candidate.is_hide_set()) {
        // A name that cannot be printed as it is would become another one.
        let value = candidate.get_value().to_str();
        let Some(value) = value.filter(|value| !value.contains(Escaped::hides)) else { continue };
        match candidate
            .get_help()
            .and_then(|help| help.to_string().lines().next().map(str::to_owned))
        {
            Some(help) => text.fields(&[&value, &help]),
            None => text.fields(&[&value]),
        }
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A command line up to the cursor.
#[derive(Clone, Debug)]
struct Line {
    options: GlobalOptions,
    emulator: Option<PathBuf>,
}

impl Line {
    /// `None` if the line says too little: then there are no names.
    fn of(words: &[OsString]) -> Option<Line> {
        let matches = Arguments::command().ignore_errors(true).try_get_matches_from(words).ok()?;
        let options = GlobalOptions::from_arg_matches(&matches).ok()?;
        let (_, command) = matches.subcommand()?;
        Some(Line { options, emulator: emulator_of(command) })
    }

    /// Returns the valid entry of the emulator on the line, for names; `None` if it has none.
    fn capabilities(&self) -> Option<Capabilities> {
        let emulator = locate(self.emulator.as_deref()?);
        match Session::new(self.options.clone(), false).source().ok()? {
            Source::Root(cache) => match cache.lookup(emulator).ok()? {
                Lookup::Hit(capabilities) => Some(capabilities),
                _ => None,
            },
            Source::Service(client, _) => client.get(&emulator, Groups::CORE, true).ok(),
        }
    }
}

fn emulator_of(command: &ArgMatches) -> Option<PathBuf> {
    command.try_get_one::<PathBuf>("emulator").ok().flatten().cloned()
}

/// Returns the command line's description, with candidates for the values that clap does not know.
fn command_for(line: Option<Line>) -> clap::Command {
    let mut command = Arguments::command();
    // Only what is built has arguments.
    command.build();
    let emulators = ArgValueCompleter::new(emulators);
    let sections = {
        let line = line.clone();
        ArgValueCompleter::new(move |current: &OsStr| {
            named(line.as_ref(), current, inspect::list_names(), inspect::kind_names())
        })
    };
    let machines = {
        let line = line.clone();
        ArgValueCompleter::new(move |current: &OsStr| {
            candidates(current, names_of(line.as_ref(), "machine", current.to_str().unwrap_or("")))
        })
    };
    let queries = ArgValueCompleter::new(move |current: &OsStr| {
        let kinds = capscache_query::KINDS.split(", ").collect();
        named(line.as_ref(), current, Vec::new(), kinds)
    });
    let releases = ArgValueCompleter::new(|current: &OsStr| {
        candidates(current, Release::ALL.map(|release| release.to_string()))
    });
    with_completers(command, &|name, argument| match argument.get_id().as_str() {
        // The path that a document names: the file need not be here.
        _ if name == "replay" && argument.get_id() == "emulator" => argument,
        "emulator" | "emulators" | "a" | "b" => argument.add(emulators.clone()),
        "section" => argument.add(sections.clone()),
        "query" => argument.add(queries.clone()),
        "machine" => argument.add(machines.clone()),
        "libvirt" => argument.add(releases.clone()),
        _ => argument,
    })
}

/// Changes each argument of a command's subcommands, with the name of its own.
fn with_completers(command: clap::Command, change: &impl Fn(&str, Arg) -> Arg) -> clap::Command {
    command.mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        with_completers(subcommand.mut_args(|argument| change(&name, argument)), change)
    })
}

/// Returns the names of this host's emulators on `PATH`; or files, once the word is a path.
fn emulators(current: &OsStr) -> Vec<CompletionCandidate> {
    let found = find_emulators(&[]);
    let names = found.iter().filter_map(|path| path.file_name());
    let names = names.filter(|name| locate(Path::new(name)).is_absolute());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let is_path = current.as_encoded_bytes().contains(&b'/');
    if is_path { PathCompleter::file().complete(current) } else { candidates(current, names) }
}

/// Returns words, and names with their kind once that is typed.
fn named(
    line: Option<&Line>,
    current: &OsStr,
    words: Vec<&'static str>,
    kinds: Vec<&'static str>,
) -> Vec<CompletionCandidate> {
    let Some((kind, name)) = current.to_str().and_then(|current| current.split_once(':')) else {
        let words = words.into_iter().map(str::to_owned);
        let kinds = kinds.into_iter().map(|kind| format!("{kind}:"));
        return candidates(current, words.chain(kinds));
    };
    if !kinds.contains(&kind) {
        return Vec::new();
    }
    let names = names_of(line, kind, name);
    candidates(current, names.into_iter().map(|name| format!("{kind}:{name}")))
}

/// Returns the names of a kind that the emulator on the line has and that can complete `name`; none without a valid entry.
fn names_of(line: Option<&Line>, kind: &str, name: &str) -> Vec<String> {
    let capabilities = line.and_then(Line::capabilities);
    capabilities.and_then(|caps| names::of(&caps, kind, name)).unwrap_or_default()
}

/// Returns the texts that begin with the word so far.
fn candidates(
    current: &OsStr,
    texts: impl IntoIterator<Item = String>,
) -> Vec<CompletionCandidate> {
    let begins = |text: &String| text.as_bytes().starts_with(current.as_encoded_bytes());
    texts.into_iter().filter(begins).map(CompletionCandidate::new).collect()
}
