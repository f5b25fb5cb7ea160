//! libvirt's own cache of capabilities: which of its files are accepted, and filling it.
//!
//! A [`Seeder`] examines libvirt as it is installed, without starting it, and the host. [`Seeder::check`] returns what
//! libvirt would do with its file of an emulator, and [`Seeder::write`] replaces the file by one from an entry.
//!
//! ```no_run
//! use std::path::Path;
//! use capscache_libvirt::seed::{Instance, Options};
//!
//! # fn entry_of(emulator: &Path) -> capscache_format::Entry<Vec<u8>> { unimplemented!() }
//! let seeder = Options::new(Instance::System).open()?;
//! for emulator in seeder.emulators() {
//!     if !seeder.check(&emulator)?.is_accepted() {
//!         let identity = seeder.identify(&emulator)?;
//!         seeder.write(&emulator, &entry_of(&emulator), &identity)?; // an entry of the cache
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod daemon;
mod directory;
mod error;
mod options;
mod search;
mod seeder;
mod user;

pub use self::error::SeedError;
pub use self::options::{Instance, Options};
pub use self::seeder::{Identity, Seeder, State};
pub use self::user::QemuUser;
pub use crate::root::Times;
