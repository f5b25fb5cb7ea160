//! Transcripts: recordings of the QMP messages of a probe, from which its model can be made without an emulator.
//!
//! A transcript is a sequence of JSON objects, written one a line. `{"capscache": …}` describes the
//! recorded emulator, `{"pass": …}` begins the messages of one emulator (or has the reason why there are none);
//! commands, replies and the greeting stand as QMP has them, a reply with the `id` of its command.
//! `{"supported-cpuid": …}` is the answer of the kernel's KVM meanwhile.
//! `{"quarantined": …}` replaces a reply that never came, and `{"end": …}` counts the
//! objects before it, so that a truncated transcript is detected.
//!
//! libvirt's `.replies` files are such sequences too, without the first two kinds: there each
//! `qmp_capabilities` begins a pass, the first under KVM if `query-kvm` reports so, or the accelerator of
//! `query-accelerators`, a second under TCG.

mod read;
mod record;
mod recording;
mod replay;

pub use self::read::TranscriptError;
pub(crate) use self::record::{Recorder, Subject, write};
pub use self::recording::{Answer, Answers, NoAccelerator, Recording};
pub use self::replay::{replay, replay_under};

/// The maximum size of a transcript: longer than any real one, so that a wrong file is not read into memory.
pub const MAX_TRANSCRIPT_BYTES: u64 = 64 << 20;
