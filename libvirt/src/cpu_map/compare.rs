//! Comparison of a guest's CPU with the host's.

use super::{Bits, CpuMap, GuestCpu};

/// The request of a guest for a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The feature is on, even if the host lacks it.
    Force,
    /// The feature is on.
    Require,
    /// The feature is on if the host has it.
    Optional,
    /// The feature is off.
    Disable,
    /// The feature is off, and a host that has it is refused.
    Forbid,
}

/// The result of a comparison of a guest's CPU with the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The host has what the guest requests, and nothing else.
    Same,
    /// The host has more than what the guest requests.
    More,
    /// The host lacks a feature that the guest requests.
    Missing(String),
    /// The host has a feature that the guest forbids.
    Forbidden,
    /// The vendor is another one.
    Vendor,
    /// libvirt has no model, or no feature, of a name.
    Unknown(String),
}

impl CpuMap {
    /// Compares a guest's CPU with the host's by the features of models in the map.
    pub fn compare(
        &self,
        host: &GuestCpu,
        model: Option<&str>,
        vendor: Option<&str>,
        features: &[(String, Policy)],
    ) -> Comparison {
        if vendor.is_some_and(|vendor| host.vendor.as_deref() != Some(vendor)) {
            return Comparison::Vendor;
        }
        if let Some((name, _)) = features.iter().find(|(name, _)| !self.has_feature(name)) {
            return Comparison::Unknown(name.clone());
        }
        let unknown = |name: &str| Comparison::Unknown(name.to_owned());
        let Some(host_bits) = self.bits_of(host) else { return unknown(&host.model) };
        let mut required = self.bits_with(features, Policy::Require);
        if let Some(name) = model {
            let Some(model) = self.model(name) else { return unknown(name) };
            required.add_all(&model.bits);
        }
        if host_bits.intersects(&self.bits_with(features, Policy::Forbid)) {
            return Comparison::Forbidden;
        }
        let others = [Policy::Force, Policy::Optional, Policy::Disable];
        let others = others.map(|policy| self.bits_with(features, policy));
        others.iter().for_each(|bits| required.subtract_all(bits));
        let mut missing = required.clone();
        missing.subtract_all(&host_bits);
        if !missing.is_empty() {
            let first = self.features.iter().find(|feature| missing.contains(&feature.bits));
            return Comparison::Missing(first.map(|f| f.name.clone()).unwrap_or_default());
        }
        let mut more = host_bits;
        more.subtract_all(&required);
        others.iter().for_each(|bits| more.subtract_all(bits));
        if more.is_empty() { Comparison::Same } else { Comparison::More }
    }

    /// Returns true if a model with features has a feature.
    pub fn has(&self, cpu: &GuestCpu, feature: &str) -> bool {
        let bits = self.bits_of(cpu);
        bits.zip(self.feature(feature)).is_some_and(|(bits, f)| bits.contains(&f.bits))
    }

    fn bits_with(&self, features: &[(String, Policy)], policy: Policy) -> Bits {
        let mut bits = Bits::default();
        for (name, _) in features.iter().filter(|(_, own)| *own == policy) {
            if let Some(feature) = self.feature(name) {
                bits.add(&feature.bits);
            }
        }
        bits
    }
}
