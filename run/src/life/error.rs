//! Errors of a start.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use capscache_format::Escaped;

use super::end::write_output;
use crate::error::Error;
use crate::process::{Exit, SpawnError};
use crate::qmp::QmpError;
use crate::resources::ResourceError;
use crate::root::RootError;
use crate::scope::ScopeError;

/// Error of a guest that did not start. Nothing of it is left then, but its log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no command line for the guest.
    #[error(transparent)]
    Guest(#[from] Error),
    /// The guest has no name.
    #[error("cannot start the guest: it has no name; add the element <name>")]
    NoName,
    /// A file or directory of the root cannot be used, or a guest of the same name runs.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The emulator cannot be executed.
    #[error(transparent)]
    Spawn(Arc<SpawnError>),
    /// Something that the emulator needs from the host cannot be opened or set.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A scope is required, and there is none.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The emulator, or a process that serves a device, ended before the guest ran.
    #[error("cannot start the guest: {}", Ended { program, exit, output })]
    Exited {
        /// The program.
        program: PathBuf,
        /// The end of the process.
        exit: Exit,
        /// The last lines of its output.
        output: String,
    },
    /// The emulator refused a command, or its monitor failed.
    #[error("cannot start the guest: {} failed at the step {step}", Escaped::new(program))]
    Monitor {
        /// The emulator.
        program: PathBuf,
        /// The step.
        step: &'static str,
        /// The cause.
        source: QmpError,
    },
    /// The emulator, or a process that serves a device, did not start in time.
    #[error("cannot start the guest: {}", Late { program, step, limit, output })]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// The step that did not end.
        step: &'static str,
        /// The time that it had.
        limit: Duration,
        /// The last lines of its output.
        output: String,
    },
    /// No thread or runtime for the guest could be started.
    #[error("cannot start a thread")]
    Thread(#[source] Arc<io::Error>),
    /// No random numbers for keys and addresses could be read.
    #[error("cannot read random numbers")]
    Random(#[source] Arc<io::Error>),
    /// The start was given up.
    #[error("the start was given up")]
    Abandoned,
}

impl From<SpawnError> for StartError {
    fn from(error: SpawnError) -> StartError {
        StartError::Spawn(Arc::new(error))
    }
}

struct Ended<'a> {
    program: &'a PathBuf,
    exit: &'a Exit,
    output: &'a str,
}

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Escaped::new(self.program), self.exit)?;
        write_output(f, self.output)
    }
}

struct Late<'a> {
    program: &'a PathBuf,
    step: &'static str,
    limit: &'a Duration,
    output: &'a str,
}

impl fmt::Display for Late<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, seconds) = (Escaped::new(self.program), self.limit.as_secs());
        write!(f, "{program} did not finish the step {} within {seconds} s", self.step)?;
        write_output(f, self.output)
    }
}
