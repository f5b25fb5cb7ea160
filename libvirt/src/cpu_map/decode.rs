//! The model that is closest to a CPU.

use super::{Bits, CpuMap, GuestCpu, Model};
use crate::caps::{CpuValue, HostCpu};
use crate::names::x86_feature_of_qemu;

/// The facts that the choice of a model depends on.
#[derive(Default)]
struct Wanted {
    bits: Bits,
    vendor: Option<usize>,
    family: u32,
    model: u32,
    stepping: u32,
}

/// Features by their positions, and whether each is on.
type Difference = Vec<(usize, bool)>;

/// The weight of the first feature that is off; that of each further one is larger by 1.
const FIRST_WEIGHT: usize = 2;

impl CpuMap {
    /// Returns the model that libvirt gives a guest whose CPU is to be close to the host's, of those that an emulator
    /// has: their names, and the features in QEMU's words that the host lacks for each. A guest that can be migrated gets
    /// other features than libvirt reports. `None` if no model fits.
    pub fn host_model(
        &self,
        host: &HostCpu,
        models: &[(&str, Vec<&str>)],
        can_migrate: bool,
    ) -> Option<GuestCpu> {
        let is_filtered = can_migrate && !host.migratability;
        let mut cpu = self.closest(self.wanted(host, can_migrate && host.migratability), models)?;
        if is_filtered {
            let is_kept = |name: &str| self.feature(name).is_some_and(|f| f.can_migrate);
            cpu.features.retain(|(name, _)| is_kept(name));
        }
        Some(cpu)
    }

    /// Returns the model, of those that an emulator has, that libvirt uses in place of one that the emulator lacks.
    pub fn translate(&self, cpu: &GuestCpu, models: &[(&str, Vec<&str>)]) -> Option<GuestCpu> {
        let model = self.model(&cpu.model)?;
        let bits = self.bits_of(cpu)?;
        let signature = model.signatures.first().copied().unwrap_or_default();
        let stepping = match signature.steppings {
            0 => 0,
            steppings => steppings.trailing_zeros(),
        };
        let (family, number) = (signature.family, signature.model);
        let wanted = Wanted { bits, vendor: model.vendor, family, model: number, stepping };
        self.closest(wanted, models)
    }

    fn closest(&self, mut wanted: Wanted, models: &[(&str, Vec<&str>)]) -> Option<GuestCpu> {
        self.drop_broken(&mut wanted);
        let mut best: Option<(&Model, Difference)> = None;
        // The newest models are the last.
        for model in self.models.iter().rev().filter(|model| model.is_for_guests) {
            let Some((_, blockers)) = models.iter().find(|(name, _)| *name == model.name) else {
                continue;
            };
            let is_other = |vendor| wanted.vendor.is_some_and(|wanted| wanted != vendor);
            if model.vendor.is_some_and(is_other) {
                continue;
            }
            let features = self.difference(&wanted.bits, model, blockers)?;
            if best.as_ref().is_none_or(|best| wanted.is_better(model, &features, best)) {
                best = Some((model, features));
            }
        }
        let (model, features) = best?;
        let vendor = wanted.vendor.and_then(|position| self.vendors.get(position));
        let features = features.into_iter();
        let named = features.filter_map(|(at, is_on)| Some((self.name_of(at)?.to_owned(), is_on)));
        Some(GuestCpu {
            model: model.name.clone(),
            vendor: vendor.map(|(_, name)| name.clone()),
            features: named.collect(),
        })
    }

    fn name_of(&self, position: usize) -> Option<&str> {
        self.features.get(position).map(|feature| feature.name.as_str())
    }

    fn wanted(&self, host: &HostCpu, can_migrate: bool) -> Wanted {
        let mut wanted = Wanted::default();
        for property in &host.properties {
            match &property.value {
                CpuValue::Boolean(true) if !can_migrate || property.migratable != Some(false) => {
                    if let Some(feature) = self.feature(x86_feature_of_qemu(&property.name)) {
                        wanted.bits.add(&feature.bits);
                    }
                }
                CpuValue::Boolean(_) => {}
                CpuValue::String(text) if property.name == "vendor" => {
                    wanted.vendor = self.vendors.iter().position(|(string, _)| string == text);
                }
                CpuValue::String(_) => {}
                CpuValue::Number(number) => {
                    let number = u32::try_from(*number).unwrap_or(0);
                    match property.name.as_str() {
                        "family" => wanted.family = number,
                        "model" => wanted.model = number,
                        "stepping" => wanted.stepping = number,
                        _ => {}
                    }
                }
            }
        }
        wanted
    }

    /// Drops transactions, which some CPUs have and cannot run.
    fn drop_broken(&self, wanted: &mut Wanted) {
        let vendor = wanted.vendor.and_then(|position| self.vendors.get(position));
        let is_intel = vendor.is_some_and(|(_, name)| name == "Intel");
        let is_broken = match wanted.model {
            63 => wanted.stepping < 4,
            model => [60, 69, 70].contains(&model),
        };
        if is_intel && wanted.family == 6 && is_broken {
            for feature in ["hle", "rtm"].iter().filter_map(|name| self.feature(name)) {
                wanted.bits.subtract(&feature.bits);
            }
        }
    }

    /// Returns the features in which a CPU differs from a model; `None` if one would be on and off, which libvirt refuses.
    fn difference(&self, wanted: &Bits, model: &Model, blockers: &[&str]) -> Option<Difference> {
        let (mut more, mut less) = (wanted.clone(), model.bits.clone());
        more.subtract_all(&model.bits);
        less.subtract_all(wanted);
        for feature in blockers.iter().filter_map(|name| self.feature(x86_feature_of_qemu(name))) {
            if !more.contains(&feature.bits) {
                less.add(&feature.bits);
            }
        }
        let mut features = self.take_features(&mut more, true);
        let off = self.take_features(&mut less, false);
        let is_twice = |at: usize| features.iter().any(|(on, _)| *on == at);
        if off.iter().any(|(at, _)| is_twice(*at)) {
            return None;
        }
        features.extend(off);
        for removed in model.removed.iter().filter_map(|name| self.positions.get(name)) {
            if !features.iter().any(|(position, _)| position == removed) {
                features.push((*removed, false));
            }
        }
        Some(features)
    }

    /// Takes the features out of a set of bits.
    pub(super) fn take_features(&self, bits: &mut Bits, is_on: bool) -> Difference {
        let mut features = Difference::new();
        for (position, feature) in self.features.iter().enumerate() {
            if bits.contains(&feature.bits) {
                bits.subtract(&feature.bits);
                features.push((position, is_on));
            }
        }
        features
    }

    /// Returns the features that a model with features has.
    pub fn expand<'m>(&'m self, cpu: &'m GuestCpu) -> Vec<&'m str> {
        let Some(model) = self.model(&cpu.model) else { return Vec::new() };
        let own = self.take_features(&mut model.bits.clone(), true);
        let is_off = |name: &str| cpu.features.iter().any(|(other, on)| !on && other == name);
        let own = own.into_iter().filter_map(|(position, _)| self.name_of(position));
        let on = cpu.features.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name.as_str());
        own.chain(on).filter(|name| !is_off(name)).collect()
    }
}

impl Wanted {
    fn is_signature_of(&self, model: &Model) -> bool {
        model.signatures.iter().any(|signature| {
            let is_stepping =
                signature.steppings == 0 || signature.steppings >> (self.stepping & 15) & 1 == 1;
            signature.family == self.family && signature.model == self.model && is_stepping
        })
    }

    /// Returns whether a model is better than the best one so far: by its signature, then by the number of features.
    fn is_better(
        &self,
        model: &Model,
        features: &Difference,
        (best, best_features): &(&Model, Difference),
    ) -> bool {
        match (self.is_signature_of(best), self.is_signature_of(model)) {
            (true, false) => return false,
            (false, true) => return true,
            _ => {}
        }
        let (own, best) = (weight(features), weight(best_features));
        own.0 < best.0 || (own.0 == best.0 && own.1 < best.1)
    }
}

/// Returns the weight of all features, and of those that are off.
fn weight(features: &Difference) -> (usize, usize) {
    let (mut on, mut off, mut each) = (features.len(), 0, FIRST_WEIGHT);
    let mut position = 0;
    // libvirt checks one feature less for each that is off; the others count as features that are on.
    while position < on {
        if features.get(position).is_some_and(|(_, is_on)| !is_on) {
            on -= 1;
            off += each;
            each += 1;
        }
        position += 1;
    }
    (on + off, off)
}
