//! Addresses against QEMU: a real emulator has each device where the guest says it is.
//!
//! The emulators are those of the distribution. They are started but do not run, and report over QMP where their
//! devices are. A machine whose emulator is not installed is skipped aloud.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod altered;
mod assigned;
mod board;
mod build;
mod check;
mod corpus;
mod devices;
mod guests;
mod plan;
mod plugged;
mod policies;
mod qmp;
mod random;
