//! The `capscache` command: capabilities of the QEMU emulators of this host.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod args;
mod complete;
mod devaddr;
mod diff;
mod doctor;
mod document;
mod entries;
mod export;
mod format;
mod gc;
mod host;
mod input;
mod inspect;
mod invalidate;
mod libvirt;
mod list;
mod names;
mod output;
mod overview;
mod owner;
mod query;
mod record;
mod remedy;
mod replay;
mod run;
mod serve;
mod session;
mod shell;
mod source;
mod status;
mod table;
mod text;
mod verify;
mod warm;
mod watch;
mod yaml;

use std::mem::ManuallyDrop;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Arguments, Command, LibvirtCommand};
use crate::session::Session;

fn main() -> ExitCode {
    let result = match parse() {
        Ok(arguments) => run(arguments),
        Err(error) => return output::usage(&error),
    };
    match result {
        Ok(code) => code,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(output::FAILED)
        }
    }
}

/// Parses the arguments of this process, as [`clap::Parser::try_parse`] does, but does not free clap's
/// description of them: that is a tenth of the instructions of `query`, in a process that ends soon.
fn parse() -> Result<Arguments, clap::Error> {
    let mut command = ManuallyDrop::new(Arguments::command());
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let session = Session::new(arguments.options, arguments.verbose);
    let Some(command) = arguments.command else { return overview::run(&session, arguments.format) };
    if arguments.format.document().is_some() {
        bail!(
            "cannot use a format before the command, where it is that of the overview; give it after the command"
        );
    }
    match command {
        Command::Warm(args) => warm::run(&session, &args),
        Command::List(args) => list::run(&session, &args),
        Command::Inspect(args) => inspect::run(&session, &args),
        Command::Query(args) => query::run(&session, &args),
        Command::Status(args) => status::run(&session, &args),
        Command::Doctor(args) => doctor::run(&session, &args),
        Command::Invalidate(args) => invalidate::run(&session, &args),
        Command::Gc(args) => gc::run(&session, &args),
        Command::Watch(args) => watch::run(&session, args),
        Command::Verify(args) => verify::run(&session, &args),
        Command::Diff(args) => diff::run(&session, &args),
        Command::Export(args) => export::run(&session, &args),
        Command::Record(args) => record::run(&session, &args),
        Command::Replay(args) => replay::run(&args),
        Command::Devaddr(args) => devaddr::run(&session, &args),
        Command::Libvirt(LibvirtCommand::Seed(args)) => libvirt::seed(&session, &args),
        Command::Run(args) => run::run(&session, &args),
        Command::Serve(args) => serve::run(&session, &args),
        Command::Complete(args) => complete::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}
