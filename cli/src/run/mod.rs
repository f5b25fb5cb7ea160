//! `run`: starts a guest and watches it.

mod events;
mod lines;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use capscache::{Escaped, Groups};
use capscache_domain::{Guest, MAX_BYTES, ReadError};
use capscache_run::{
    Deadlines, Placement, Prepared, Root, Run, Scope, Sources, Timing, User, default_emulator,
    named_emulator,
};

use crate::args;
use crate::document::escape_xml;
use crate::input;
use crate::output;
use crate::session::{Session, default_run_root, locate};

/// Exit code: the guest did not start.
const NOT_STARTED: u8 = 1;
/// Exit code: the arguments are wrong.
const USAGE: u8 = 2;

pub(crate) fn run(session: &Session, args: &args::Run) -> Result<ExitCode> {
    let sources = |root: &Root| {
        let mut sources = Sources::new(root);
        args.secret.iter().try_for_each(|secret| sources.add(secret)).map(|()| sources)
    };
    let root = match session.options().root.clone().map_or_else(default_run_root, Ok) {
        Ok(root) => Root::new(root)?,
        Err(error) => return fail(&error, USAGE),
    };
    let secrets = match sources(&root) {
        Ok(sources) => sources,
        Err(error) => return fail(&anyhow!("cannot use a secret: {error}"), USAGE),
    };
    let user = match args.user.as_deref().map(find_user).transpose() {
        Ok(user) => user,
        Err(error) => return fail(&error, USAGE),
    };
    match start(session, args, root, secrets, user) {
        Ok(code) => Ok(code),
        Err(error) => fail(&error, NOT_STARTED),
    }
}

/// Prints an error and returns a code.
fn fail(error: &anyhow::Error, code: u8) -> Result<ExitCode> {
    output::print_error(error);
    Ok(ExitCode::from(code))
}

fn find_user(name: &str) -> Result<User> {
    User::find(name).with_context(|| format!("cannot find the user {}", Escaped::new(name)))
}

fn start(
    session: &Session,
    args: &args::Run,
    root: Root,
    secrets: Sources,
    user: Option<User>,
) -> Result<ExitCode> {
    let started = Instant::now();
    let guest = read(args)?;
    let emulator = match named_emulator(&guest) {
        Some(emulator) => emulator,
        None => locate(default_emulator(guest.os.arch.as_deref()).as_ref()),
    };
    let cached = session.within(root.path());
    let entry = cached.answers(&cached.source()?, &emulator, Groups::CORE, args.probing)?;
    let capabilities = started.elapsed();
    let shutdown = Duration::from_secs(args.timeout.into());
    let prepared = Run::new(guest, root)
        .emulator(emulator)
        .environment(environment(session)?)
        .secrets(secrets)
        .user(user)
        .scope(scope(args.scope))
        .deadlines(Deadlines { shutdown, ..Deadlines::default() })
        .prepare(&entry)?;
    if args.dry_run {
        output::print_document(&prepared.command().to_shell())?;
    } else if args.print_xml {
        output::print_document(&escape_xml(&prepared.guest().to_public_xml()))?;
    } else if args.detach {
        return detach(args, prepared, capabilities);
    } else {
        return watch::watch(args, prepared, capabilities);
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &args::Run) -> Result<Guest> {
    let name = Escaped::new(&args.guest);
    let text = input::read(&args.guest, MAX_BYTES as u64)?;
    Guest::from_xml(&text).map_err(|error| {
        let ReadError { position, path, cause } = error;
        anyhow!("cannot read the guest in {name}: {position}: {path}: {cause}")
    })
}

/// Returns the environment of emulators: `PATH`, and what `--env` names.
fn environment(session: &Session) -> Result<Vec<(String, String)>> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let given = session.options().env.iter().map(|(name, value)| {
        let text = |text: &std::ffi::OsString| text.clone().into_string();
        let pair = (text(name), text(value));
        match pair {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(anyhow!("cannot pass {}: it is not UTF-8", Escaped::new(name))),
        }
    });
    std::iter::once(Ok(("PATH".to_owned(), path))).chain(given).collect()
}

fn detach(args: &args::Run, prepared: Prepared, capabilities: Duration) -> Result<ExitCode> {
    let Some(detached) = watch::detach(prepared)? else { return Ok(watch::given_up()) };
    print_timing(args, detached.timing(), capabilities);
    warn_of(detached.placement());
    let monitor = Some(detached.monitor());
    let line =
        events::running(detached.pid(), monitor, detached.placement(), args.format.document())?;
    output::print_document(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports that a guest has no scope although there is a manager that makes some.
fn warn_of(placement: &Placement) {
    if let Placement::Failed(error) = placement {
        let error = anyhow::Error::from(error.clone()).context("the guest runs without a scope");
        output::print_error(&error);
    }
}

/// Returns the use of a scope.
fn scope(scope: args::Scope) -> Scope {
    match scope {
        args::Scope::Auto => Scope::Auto,
        args::Scope::None => Scope::None,
        args::Scope::Required => Scope::Required,
    }
}

/// Prints the time of each step, if it is to be printed.
fn print_timing(args: &args::Run, timing: &Timing, capabilities: Duration) {
    if !args.timing {
        return;
    }
    let first = std::iter::once(("capabilities from the cache", capabilities));
    for (step, time) in first.chain(timing.steps()) {
        eprintln!("{step}: {}", time.as_micros());
    }
    eprintln!("all: {}", (capabilities + timing.total()).as_micros());
}
