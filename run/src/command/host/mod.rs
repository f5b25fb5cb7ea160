//! Parts of the host: network, devices, directories.

mod rom;

pub(super) mod filesystems;
pub(super) mod hostdevs;
pub(super) mod interfaces;
