//! The watcher on real emulators: after any change of the dependencies of entries, all entries are
//! fresh in the end, and each step is reported.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod chaos;
mod directories;
mod entries;
mod fixture;
mod limits;
mod mounts;
mod packages;
mod probing;
