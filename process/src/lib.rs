//! Processes of QEMU between fork and exec, and their ends.
//!
//! `std::process::Command` is not used: it panics when exec fails in a program that ignores SIGCHLD, since there is no
//! child left to wait for (<https://github.com/rust-lang/rust/issues/110317>). Nor is `tokio::process`, which may
//! install a handler of SIGCHLD. A library has to work with the signal settings of its program.
//!
//! In order of use: [`fork`], with the [`Failure`] that a child reports; [`exec`] and [`signals`] for the child, where
//! nothing may allocate; [`Identity`] of the user that it becomes; [`Child`], by which the parent awaits and reaps it;
//! [`Lines`] of its monitor; [`duplicate`] for a descriptor that this process has inherited.

#![deny(unsafe_code)]

mod child;
mod descriptor;
pub mod exec;
mod fork;
mod identity;
mod lines;
pub mod signals;

pub use child::Child;
pub use descriptor::duplicate;
pub use fork::{Failure, Stage, fork, reap_failed};
pub use identity::Identity;
pub use lines::{LineTooLong, Lines};
