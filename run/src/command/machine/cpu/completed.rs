//! A CPU as libvirt completes it.

use super::mode::Mode;

/// A CPU.
pub(super) struct Cpu<'a> {
    pub(super) mode: Mode,
    /// The name in QEMU.
    pub(super) name: String,
    pub(super) vendor_id: Option<&'a str>,
    pub(super) migratable: Option<bool>,
    /// The features in libvirt's words, and whether they are on.
    pub(super) features: Vec<(String, bool)>,
}

impl Cpu<'_> {
    /// Changes a feature, or adds it.
    pub(super) fn set(&mut self, feature: &str, is_on: bool) {
        match self.features.iter_mut().find(|(name, _)| name == feature) {
            Some((_, state)) => *state = is_on,
            None => self.features.push((feature.to_owned(), is_on)),
        }
    }
}
