#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

// References in the signatures of functions are the contract with C: a pointer is NULL or that of a living handle.
mod boundary;
pub mod cache;
pub mod code;
pub mod cpu_model;
pub mod emulators;
pub mod entry;
pub mod error;
pub mod error_parts;
pub mod json;
mod kept;
pub mod list;
pub mod lookups;
pub mod machine;
pub mod name_lists;
mod names;
pub mod numbers;
pub mod options;
pub mod property;
pub mod query;
pub mod status;
mod string;
pub mod text;
pub mod version;
