//! Character devices, and what is built like them.

pub(super) mod channels;
pub(super) mod chardev;
pub(super) mod consoles;
pub(super) mod parallels;
pub(super) mod redirdevs;
pub(super) mod serials;
mod sets;
pub(super) mod smartcards;
pub(super) mod tls;
pub(super) mod tpm;

pub(super) use sets::count_sets;
