//! Queries a QEMU emulator over QMP for its capabilities.
//!
//! ```no_run
//! use capscache_probe::{Options, probe};
//!
//! let probed = probe("/usr/bin/qemu-system-x86_64".as_ref(), &Options::default())?;
//! println!("{} facts, executable {}", probed.model.facts().count(), probed.ran.executable.path.display());
//! # Ok::<(), capscache_probe::ProbeError>(())
//! ```
//!
//! The types in the order of their use: [`probe`] with its [`Options`] and [`Limits`], [`Probed`],
//! [`ProbeError`]; [`replay`] for the model from a transcript, [`Recording`] for its replies. The result is a
//! [`Model`](capscache_format::Model) without inputs: the caller decides which ones to record.
//!
//! An emulator is started at most once for each accelerator, and again for each query that kills
//! it, up to [`Limits::restarts`] times. It gets an empty environment, no descriptors but its
//! monitor, and a temporary directory that is removed with the probe and is all that it can write to where
//! the kernel has Landlock. It dies with the prober, and so do all its descendants; root may have it run as
//! another user. No signal handler is installed, and a caller that ignores SIGCHLD is supported.
//!
//! A query by which the emulator is lost is *quarantined*: the probe goes on without it, and its answer is
//! unknown.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod cpuid;
mod error;
mod exchange;
mod executable;
mod host;
mod limits;
mod model_builder;
mod modules;
mod pass;
mod probe;
mod process;
mod queries;
mod scratch;
mod security;
mod session;
mod spawn;
mod transcript;
mod user;

pub use cpuid::supported_cpuid;
pub use error::{ExchangeError, Exit, SessionError, StartError};
pub use executable::module_directories_of;
pub use host::{is_native, kvm_max_vcpus, kvm_opens};
pub use limits::Limits;
pub use model_builder::{BuildError, note_failure};
pub use pass::{AnswerError, RanExecutable};
pub use probe::{Options, ProbeError, Probed, TimedOut, locate, probe};
pub use process::Executable;
pub use security::SecurityModules;
pub use session::Reply;
pub use transcript::{
    Answer, Answers, MAX_TRANSCRIPT_BYTES, NoAccelerator, Recording, TranscriptError, replay,
    replay_under,
};
pub use user::User;

/// Entry points for the fuzzer to code that otherwise only an emulator's data reaches.
#[doc(hidden)]
pub mod fuzzing {
    /// Splits data from an emulator, in `pieces` of these sizes less one, into lines, and parses every line.
    pub fn lines(pieces: &[u8], sent: &[u8]) {
        crate::session::parse_all(pieces, sent);
    }
}
