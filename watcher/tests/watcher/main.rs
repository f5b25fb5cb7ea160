//! The watcher on real emulators: whatever happens to what entries depend on, they are fresh in the
//! end, and what was done is told.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod chaos;
mod directories;
mod entries;
mod limits;
mod mounts;
mod packages;
mod probing;
mod world;
