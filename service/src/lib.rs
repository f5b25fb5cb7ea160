//! The Varlink service of capscache: answers about emulators over a socket, and keeps entries fresh.
//!
//! For programs that may not read the directory of the cache, or are not written in Rust. Every message,
//! path and query that a client sends is bounded, and what one user takes of the service is limited.
//!
//! ```no_run
//! use capscache_service::{Options, interface, serve};
//!
//! let cache = capscache::Cache::open("/var/cache/capscache")?;
//! let options = Options::new(interface::SOCKET).rewarm(true);
//! serve(cache, &options)?; // until SIGTERM or SIGINT
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In order of use: [`serve`] and its [`Options`]; the types of the [`interface`],
//! whose description is [`interface::DESCRIPTION`]; the [`client::Client`]; the documents ([`export`]) that service and
//! command share.
//!
//! Linux only. Log messages go to `tracing`; nothing is printed.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod backend;
mod call;
pub mod client;
mod connection;
mod convert;
mod error;
mod events;
pub mod export;
#[doc(hidden)]
pub mod fuzzing;
pub mod interface;
mod limits;
mod listener;
mod local_files;
mod options;
mod parameters;
mod peer;
mod permission;
mod refusal;
mod server;
mod supervisor;
mod surroundings;
mod transport;

pub use error::Error;
pub use options::Options;
pub use server::serve;
