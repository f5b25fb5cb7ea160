//! Bits of CPUID and model-specific registers.

/// A register of a leaf of CPUID, or of a model-specific register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cpuid { function: u32, index: u32, register: u8 },
    Msr { index: u32, register: u8 },
}

/// The bits of a feature: the position of each register, and its bits.
pub(super) type FeatureBits = Vec<(usize, u32)>;

/// A set of bits, by the positions of registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u32>);

impl Bits {
    /// Adds bits of a register.
    fn add_at(&mut self, position: usize, bits: u32) {
        if position >= self.0.len() {
            self.0.resize(position + 1, 0);
        }
        if let Some(own) = self.0.get_mut(position) {
            *own |= bits;
        }
    }

    /// Adds the bits of a feature.
    pub(super) fn add(&mut self, feature: &FeatureBits) {
        feature.iter().for_each(|(position, bits)| self.add_at(*position, *bits));
    }

    /// Takes the bits of a feature away.
    pub(super) fn subtract(&mut self, feature: &FeatureBits) {
        for (position, bits) in feature {
            if let Some(own) = self.0.get_mut(*position) {
                *own &= !bits;
            }
        }
    }

    /// Adds all bits of another set.
    pub(super) fn add_all(&mut self, other: &Bits) {
        other.0.iter().enumerate().for_each(|(position, bits)| self.add_at(position, *bits));
    }

    /// Takes all bits of another set away.
    pub(super) fn subtract_all(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, bits)| *own &= !bits);
    }

    /// Returns true if all bits of a feature are in the set.
    pub(super) fn contains(&self, feature: &FeatureBits) -> bool {
        feature.iter().all(|(position, bits)| {
            self.0.get(*position).is_some_and(|own| own & bits == *bits) || *bits == 0
        })
    }

    /// Returns true if a bit of another set is in this one.
    pub(super) fn intersects(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).any(|(own, bits)| own & bits != 0)
    }

    /// Returns true if there is no bit.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }
}
