//! Tests of reading and writing guests.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod corpus;
mod hostile;
mod json;
mod passwords;
mod strict;
mod written;
