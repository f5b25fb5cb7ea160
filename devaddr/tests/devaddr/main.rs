//! Tests of addresses: libvirt's rules, errors, policies, changes of one device, and time.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod errors;
mod growth;
mod guests;
mod incremental;
mod permitted;
mod policies;
mod rules;
mod time;
