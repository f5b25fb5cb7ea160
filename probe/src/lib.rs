//! Asks a QEMU emulator over QMP what it can do.
//!
//! ```no_run
//! use capscache_probe::{Options, probe};
//!
//! let probed = probe("/usr/bin/qemu-system-x86_64".as_ref(), &Options::default())?;
//! println!("{} facts, executable {}", probed.model.facts().count(), probed.ran.executable.path.display());
//! # Ok::<(), capscache_probe::ProbeError>(())
//! ```
//!
//! In the order in which one meets them: [`probe`] with its [`Options`] and [`Limits`], [`Probed`],
//! [`ProbeError`]; [`replay`] for the model from a transcript. What comes out is a
//! [`Model`](capscache_format::Model) without inputs: what to compare later is the caller's to know.
//!
//! An emulator is started at most once for each accelerator, and again for each query that kills
//! it, up to [`Limits::restarts`] times. It gets an empty environment, no descriptors but its
//! monitor, and a temporary directory that goes with the probe and is all that it can write to where the
//! kernel has Landlock. It dies with the prober, and so does all that it started; root may name another
//! user for it to run as. No signal handler is installed, and a caller that ignores SIGCHLD
//! is tolerated.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod cpuid;
mod error;
mod executable;
mod files;
mod host;
mod interview;
mod learn;
mod limits;
mod pass;
mod probe;
mod process;
mod questions;
mod scratch;
mod security;
mod session;
mod spawn;
mod transcript;
mod user;

pub use error::{Exit, InterviewError, Loss, StartError};
pub use executable::module_directories_of;
pub use host::{is_native, kvm_opens};
pub use learn::LearnError;
pub use limits::Limits;
pub use pass::{AnswerError, RanExecutable};
pub use probe::{Options, ProbeError, Probed, TimedOut, chain, locate, note_failure, probe};
pub use process::Executable;
pub use security::SecurityModules;
pub use transcript::{MAX_TRANSCRIPT_BYTES, TranscriptError, replay, replay_under};
pub use user::User;

/// For the fuzzer, which has to reach what only an emulator's bytes reach otherwise.
#[doc(hidden)]
pub mod fuzzing {
    /// Cuts what an emulator sent, in `pieces` of these sizes less one, and understands every line.
    pub fn lines(pieces: &[u8], sent: &[u8]) {
        crate::session::understand_all(pieces, sent);
    }
}
