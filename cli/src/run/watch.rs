//! Starts a guest, watches it until it ends, and carries out what signals request.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use capscache_run::{Detached, End, Prepared, Running, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::lines::Lines;
use super::{NOT_STARTED, events, print_timing};
use crate::args;
use crate::output;

/// Exit code: QEMU ended unexpectedly.
const EXITED: u8 = 3;
/// Exit code: the guest panicked.
const PANICKED: u8 = 4;
/// Exit code: QEMU was ended by this command.
const ENDED: u8 = 5;

pub(super) fn watch(
    args: &args::Run,
    prepared: Prepared,
    capabilities: Duration,
) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let mut signals = Signals::new().context("cannot handle signals")?;
        match prepared.start_unless_async(signals.next()).await {
            Ok(running) => {
                print_timing(args, running.timing(), capabilities);
                super::warn_of(running.placement());
                until_end(args, running, signals).await
            }
            Err(StartError::Abandoned) => Ok(given_up()),
            Err(error) => Err(error.into()),
        }
    })
}

/// Starts a guest that nothing watches; `None` if a signal ended the start.
pub(super) fn detach(prepared: Prepared) -> Result<Option<Detached>> {
    runtime()?.block_on(async {
        let mut signals = Signals::new().context("cannot handle signals")?;
        match prepared.start_detached_unless_async(signals.next()).await {
            Ok(detached) => Ok(Some(detached)),
            Err(StartError::Abandoned) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a runtime")
}

/// Reports a start that was given up, and returns its code.
pub(super) fn given_up() -> ExitCode {
    output::warn(format_args!("the start was given up on a signal"));
    ExitCode::from(NOT_STARTED)
}

async fn until_end(
    args: &args::Run,
    mut running: Running,
    mut signals: Signals,
) -> Result<ExitCode> {
    let mut is_requested = false;
    let mut lines = Lines::new().context("cannot start a thread")?;
    lines.print(events::running(running.pid(), None, running.placement(), args.format.document())?);
    loop {
        tokio::select! {
            biased;
            () = signals.next() => {
                match is_requested {
                    false => running.shutdown(),
                    true => running.quit(),
                }
                is_requested = true;
            }
            event = running.next_event_async() => match event {
                Some(event) => lines.print(events::event(&event, args.format.document())?),
                None => break,
            },
        }
    }
    let end = running.wait_async().await;
    lines.finish().await;
    let code = match end {
        End::ShutDown | End::Reset => return Ok(ExitCode::SUCCESS),
        End::Panicked => PANICKED,
        End::Quit | End::TimedOut => ENDED,
        _ => EXITED,
    };
    output::warn(format_args!("{end}"));
    Ok(ExitCode::from(code))
}

/// The signals that request an end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for one of them.
    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
