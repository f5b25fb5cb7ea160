//! libvirt's map of the CPU models of x86 (and the names of those of ppc64), and the model that it gives a guest whose CPU is close to the host's.
//!
//! The map is a part of libvirt, a folder of XML files: models with their features, and features with their bits in
//! CPUID and model-specific registers.

mod bits;
mod compare;
mod decode;
mod load;
mod tags;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use compare::{Comparison, Policy};
pub use load::CpuMapError;

use bits::{Bits, FeatureBits, Place};

/// The CPU models of x86 that libvirt has.
#[derive(Debug, Default)]
pub struct CpuMap {
    /// The positions of registers in sets of bits.
    places: Vec<Place>,
    /// The vendors: their strings in CPUID, and their names.
    vendors: Vec<(String, String)>,
    features: Vec<Feature>,
    /// The positions of features by their names.
    positions: HashMap<String, usize>,
    models: Vec<Model>,
}

#[derive(Debug)]
struct Feature {
    name: String,
    bits: FeatureBits,
    /// True if a guest with it can be migrated.
    can_migrate: bool,
}

#[derive(Debug, Default)]
struct Model {
    name: String,
    /// True if a guest can get it.
    is_for_guests: bool,
    /// True if it is compared with the host's CPU by its features in the map.
    is_compared: bool,
    /// The position of the vendor.
    vendor: Option<usize>,
    signatures: Vec<Signature>,
    bits: Bits,
    /// The features that QEMU removed from it.
    removed: Vec<String>,
    /// The name of the version that it is an alias of.
    canonical: Option<String>,
}

/// The family and model of a CPU, and a bit for each of its steppings; all if there are none.
#[derive(Clone, Copy, Debug, Default)]
struct Signature {
    family: u32,
    model: u32,
    steppings: u16,
}

/// A CPU model with features, in libvirt's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestCpu {
    /// The name of the model.
    pub model: String,
    /// The name of the vendor.
    pub vendor: Option<String>,
    /// The features, and whether each is on: those that are on come first.
    pub features: Vec<(String, bool)>,
}

impl CpuMap {
    /// Returns true if libvirt has a feature of this name.
    pub fn has_feature(&self, name: &str) -> bool {
        self.positions.contains_key(name)
    }

    /// Returns true if a feature is one of model-specific registers.
    pub fn is_of_registers(&self, name: &str) -> bool {
        let is_msr = |(position, _): &(usize, u32)| {
            matches!(self.places.get(*position), Some(Place::Msr { .. }))
        };
        self.feature(name).is_some_and(|feature| feature.bits.iter().any(is_msr))
    }

    /// Returns true if a model is compared with the host's CPU by its features in the map, rather than by what QEMU
    /// reports of it; `None` if libvirt has no model of this name.
    pub fn is_compared(&self, model: &str) -> Option<bool> {
        self.model(model).map(|model| model.is_compared)
    }

    /// Returns the features that QEMU removed from a model: they are off if a guest does not name them.
    pub fn removed(&self, model: &str) -> &[String] {
        self.model(model).map_or(&[], |model| &model.removed)
    }

    /// Returns true if libvirt has a model of this name.
    pub fn has_model(&self, name: &str) -> bool {
        self.model(name).is_some()
    }

    /// Returns the name of a model's vendor.
    pub fn vendor_of(&self, model: &str) -> Option<&str> {
        let vendor = self.vendors.get(self.model(model)?.vendor?);
        vendor.map(|(_, name)| name.as_str())
    }

    /// Returns the name of the version that a model is an alias of.
    pub fn canonical(&self, model: &str) -> Option<&str> {
        self.model(model)?.canonical.as_deref()
    }

    fn feature(&self, name: &str) -> Option<&Feature> {
        self.positions.get(name).and_then(|position| self.features.get(*position))
    }

    fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Returns the bits of a model with features.
    fn bits_of(&self, cpu: &GuestCpu) -> Option<Bits> {
        let mut bits = self.model(&cpu.model)?.bits.clone();
        for (name, is_on) in &cpu.features {
            let feature = self.feature(name)?;
            match is_on {
                true => bits.add(&feature.bits),
                false => bits.subtract(&feature.bits),
            }
        }
        Some(bits)
    }
}
