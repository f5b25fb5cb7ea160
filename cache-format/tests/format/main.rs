//! The file format: values are read as they were written, damage is found, nothing panics.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod damage;
mod example;
mod explain;
mod file;
mod golden;
mod hostile;
mod hosts;
mod lookup;
mod lossless;
mod queries;
mod replace;
mod schema;
mod sections;
mod strategies;
