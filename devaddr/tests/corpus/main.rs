//! libvirt's own guests, if present: each gets the controllers and addresses that libvirt gave it.
//!
//! The folder is `shared/libvirt` beside the repository, or `$CAPSCACHE_LIBVIRT_CORPUS`. It holds `guests/`, with
//! pairs of a guest and of the same after libvirt completed it, and `corpus/`, with recordings of the emulators.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod addresses;
mod cases;
mod compare;
mod refused;
mod usb;
