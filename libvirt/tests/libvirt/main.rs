//! libvirt's flags and XML: from recorded sessions, from synthetic ones, and from hostile files.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod corpus;
mod cpu_map;
mod domain;
mod domcaps;
mod flags;
mod folder;
mod golden;
mod hostile;
mod releases;
mod replies;
mod rules;
mod seed;
