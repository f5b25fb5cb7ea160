//! Helpers that the tests of several packages share: the emulators and the rights of this system, programs to write
//! and to run. `dir.rs` beside this package is a module of the tests that run the command.

#![forbid(unsafe_code)]

mod emulators;
mod files;
mod luks;
mod properties;
pub mod rights;
mod run;
mod users;
mod wait;

pub use emulators::{avr, emulator, has, kvm_opens, kvm_works, native, x86_64};
pub use files::{age, replace_program, text, write_program};
pub use luks::create_luks;
pub use properties::property;
pub use run::{Run, run};
pub use users::{NOBODY, as_user};
pub use wait::{DEADLINE, wait_until};
