//! The life of a guest: starts it, reports its events, shuts it down, and reports how it ended.

mod actions;
mod block_on;
mod cpu;
mod detached;
mod end;
mod error;
mod helpers;
mod launch;
mod prepared;
mod runner;
mod running;
mod setup;
mod start;
mod timing;

pub use self::detached::Detached;
pub use self::end::End;
pub use self::error::StartError;
pub use self::prepared::{Deadlines, Prepared};
pub use self::running::{QueryError, Running};
pub use self::start::Run;
pub use self::timing::Timing;
