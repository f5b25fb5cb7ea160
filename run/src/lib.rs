//! Starts QEMU guests that are described in libvirt's domain XML, without a daemon.
//!
//! ```no_run
//! use capscache_run::{Root, Run};
//!
//! let guest = capscache_domain::Guest::from_xml(&std::fs::read_to_string("guest.xml")?)?;
//! let entry = capscache_format::Entry::open(std::fs::read("entry.caps")?)?;
//! let mut running = Run::new(guest, Root::new("/srv/guests")?).prepare(&entry)?.start()?;
//! while let Some(event) = running.next_event() {
//!     println!("{}", event.name);
//! }
//! println!("{}", running.wait());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The types in the order of their use: [`Run`] with its [`Root`], [`Sources`] of secrets and [`User`]; [`Prepared`] has the
//! completed guest and its [`Command`]; [`Running`] returns [`Event`]s and the [`End`], [`Detached`] does not. Each call that
//! waits has an async counterpart, which works on any executor; a guest has a thread of its own while it runs.
//!
//! Nothing outside the root is written but what the guest itself names, no signal handler is installed, and a program
//! that ignores SIGCHLD is supported.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod alias;
mod command;
mod context;
mod emulator;
mod error;
mod host;
mod identity;
mod images;
mod life;
mod paths;
mod process;
mod props;
mod qmp;
mod resources;
mod root;
mod scope;
mod secret;
mod stat;
mod user;
mod uuid;
mod view;

pub use command::{Command, NodePolicy, Password, Setup, Swtpm, Thread, VideoProcess, command};
pub use emulator::{default_emulator, named_emulator};
pub use error::Error;
pub use host::{
    Assigned, AssignedNetwork, Below, CharacterTls, Descriptor, Firmware, Helper, Host, HostIp,
    HostRoute, Link, Port, Probe, Sasl, Spice, Tap, Tls, Vnc,
};
pub use life::{Deadlines, Detached, End, Prepared, QueryError, Run, Running, StartError, Timing};
pub use process::{Exit, SpawnError};
pub use qmp::{Event, QmpError};
pub use resources::ResourceError;
pub use root::{Root, RootError};
pub use scope::{Placement, Scope, ScopeError};
pub use secret::store::Sources;
pub use secret::{Encrypted, SecretError, SecretId, SecretUsage, Secrets};
pub use user::User;
