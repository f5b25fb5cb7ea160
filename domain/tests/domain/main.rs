//! Tests of reading and writing guests.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod corpus;
mod hostile;
mod json;
mod strict;
mod written;
