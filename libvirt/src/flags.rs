//! Evaluation of libvirt's capability flags.

use std::fmt;
use std::sync::LazyLock;

use capscache_format::{
    Accelerator, Entry, Fact, FactKey, FactKind, Facts, Group, Tri, Unanswered, Value,
};
use serde::{Deserialize, Serialize};

use crate::arch;
use crate::release::Release;
use crate::table::{COUNT, FLAGS, Flag, GATES, Source};
use crate::unknown::UnknownFlag;
use crate::values::is_true;

/// A set of flags, by their numbers in [`FLAGS`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagSet([u64; WORDS]);

const WORDS: usize = COUNT.div_ceil(64);

impl FlagSet {
    /// Returns whether the flag with this name is set; `None` for an unknown name.
    pub fn get(&self, name: &str) -> Option<bool> {
        Some(self.contains(number(name)?))
    }

    /// The names of the set flags, in libvirt's order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        FLAGS.iter().enumerate().filter(|(number, _)| self.contains(*number)).map(|(_, f)| f.name)
    }

    /// The number of set flags.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns true if no flag is set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Sets the flag with this name; returns false for an unknown name.
    pub fn insert(&mut self, name: &str) -> bool {
        number(name).is_some_and(|number| {
            self.set(number, true);
            true
        })
    }

    /// Returns true if a flag of the table is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).unwrap_or(false)
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn set(&mut self, number: usize, to: bool) {
        if let Some(word) = self.0.get_mut(number / 64) {
            let bit = 1 << (number % 64);
            *word = if to { *word | bit } else { *word & !bit };
        }
    }
}

impl fmt::Debug for FlagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn number(name: &str) -> Option<usize> {
    let found = BY_NAME.binary_search_by_key(&key(name), |number| key(FLAGS[*number].name)).ok()?;
    Some(BY_NAME[found])
}

/// The order of [`BY_NAME`]: lengths are compared first, since comparing strings takes most of the time.
fn key(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// The flag with this name, retired or not.
pub fn find(name: &str) -> Option<&'static Flag> {
    number(name).map(|number| &FLAGS[number])
}

/// The numbers of all flags, sorted by the [`key`] of their names.
// A hash table would be faster, but Valgrind reports a static one as possibly lost.
static BY_NAME: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut sorted: Vec<usize> = (0..COUNT).collect();
    sorted.sort_unstable_by_key(|number| key(FLAGS[*number].name));
    sorted
});

/// The flags of an emulator, as a release of libvirt sets them.
pub fn flags<B: AsRef<[u8]>>(entry: &Entry<B>, release: Release) -> FlagSet {
    Emulator::of(entry, release).flags()
}

/// Returns whether a release of libvirt sets a flag for an emulator: *unknown* if none of its sources was
/// reported.
///
/// # Errors
/// [`UnknownFlag`].
pub fn flag<B: AsRef<[u8]>>(
    entry: &Entry<B>,
    name: &str,
    release: Release,
) -> Result<Tri, UnknownFlag> {
    find_live(name, release).map(|flag| has(entry, flag, release))
}

/// Finds the flag with this name, if a reply can make a release of libvirt set it.
///
/// # Errors
/// [`UnknownFlag`].
pub fn find_live(name: &str, release: Release) -> Result<&'static Flag, UnknownFlag> {
    let flag = find(name).ok_or_else(|| UnknownFlag::new(name, release))?;
    if flag.since > release {
        return Err(UnknownFlag::Later { name: flag.name, release, since: flag.since });
    }
    if !flag.is_live(release) {
        return Err(UnknownFlag::Retired { name: flag.name, release });
    }
    Ok(flag)
}

/// The same as [`flag`], for a flag that was found before.
pub fn has<B: AsRef<[u8]>>(entry: &Entry<B>, flag: &Flag, release: Release) -> Tri {
    match Emulator::of(entry, release).has(flag) {
        // A module that could not be opened may set it.
        Tri::No if entry.lacks_modules() => Tri::Unknown,
        has => has,
    }
}

/// An entry as a release of libvirt reads it: its first pass is under the host's accelerator, and a fact of
/// the binary that is missing there may come from any other pass.
///
/// For several queries of one entry: each fact is read from the entry when it is needed.
#[derive(Debug)]
pub struct Emulator<'a> {
    facts: Facts<'a>,
    pub(crate) release: Release,
    /// QEMU's version, 1,000,000 × major + 1,000 × minor + micro.
    pub(crate) version: u32,
    /// libvirt's name of the architecture.
    pub(crate) arch: Option<&'static str>,
    /// The hardware accelerator of the first pass, if it had one.
    pub(crate) hardware: Option<Accelerator>,
    kvm: Tri,
}

impl<'a> Emulator<'a> {
    /// Returns a release's view of an entry.
    pub fn of<B: AsRef<[u8]>>(entry: &'a Entry<B>, release: Release) -> Emulator<'a> {
        let version = entry.version();
        let part = |number: u64| u32::try_from(number).unwrap_or(0);
        let mut emulator = Emulator {
            facts: entry.facts(),
            release,
            version: part(version.major)
                .saturating_mul(1_000_000)
                .saturating_add(part(version.minor).saturating_mul(1000))
                .saturating_add(part(version.micro)),
            arch: arch::name(entry.arch(), release),
            hardware: None,
            kvm: Tri::Unknown,
        };
        emulator.kvm = match emulator.answer(Accelerator::Kvm, FactKind::Kvm) {
            Some(answer) => {
                Tri::from(["enabled", "present"].iter().all(|key| is_true(answer.get(key))))
            }
            None if Tri::from(&entry.accelerator(Accelerator::Kvm)).is_no() => Tri::No,
            None => Tri::Unknown,
        };
        let ran = |accelerator| emulator.answer(accelerator, FactKind::Ran).is_some();
        emulator.hardware = if emulator.kvm.is_yes() {
            Some(Accelerator::Kvm)
        } else if ran(Accelerator::Hvf) {
            Some(Accelerator::Hvf)
        } else {
            None
        };
        emulator
    }

    /// The accelerator of libvirt's first pass.
    pub(crate) fn first(&self) -> Accelerator {
        self.hardware.unwrap_or(Accelerator::Tcg)
    }

    /// The reply under an accelerator.
    pub(crate) fn answer(&self, accelerator: Accelerator, kind: FactKind) -> Option<Value<'a>> {
        match self.facts.get(FactKey { group: Group::Core, accelerator, kind })? {
            Fact::Answered(value) => Some(value),
            Fact::Refused | Fact::Quarantined => None,
        }
    }

    /// The reply in the first pass.
    pub(crate) fn first_answer(&self, kind: FactKind) -> Option<Value<'a>> {
        self.answer(self.first(), kind)
    }

    /// The first of `list` whose string `key` is `name`.
    fn named(list: Value<'a>, key: &str, name: &str) -> Option<Value<'a>> {
        list.as_array()?.find(key, name)
    }

    /// The flags that are set.
    pub fn flags(&self) -> FlagSet {
        let mut set = FlagSet::default();
        for (number, flag) in FLAGS.iter().enumerate() {
            set.set(number, self.has(flag).is_yes());
        }
        set
    }

    /// Returns whether a flag is set: *unknown* if a source was not reported.
    pub fn has(&self, flag: &Flag) -> Tri {
        let works = self.works(flag.name);
        if works.is_no() {
            return Tri::No;
        }
        let mut has = Tri::No;
        for source in flag.sources(self.release) {
            let open = gate(source).map_or(Tri::Yes, |gate| self.has_named(gate));
            match (open, self.evaluate(source)) {
                (Tri::Yes, Tri::Yes) => return works,
                (Tri::No, _) | (_, Tri::No) => {}
                _ => has = Tri::Unknown,
            }
        }
        has
    }

    /// Returns true if the emulator reports all that a flag is set for, and only the host is not known to support it.
    pub(crate) fn lacks_only_the_host_for(&self, name: &str) -> bool {
        let sources = || find(name).into_iter().flat_map(|flag| flag.sources(self.release));
        sources().any(|source| self.evaluate(source).is_yes())
    }

    /// Returns whether the flag with this name is set.
    pub(crate) fn has_named(&self, name: &str) -> Tri {
        find(name).map_or(Tri::No, |flag| self.has(flag))
    }

    /// Returns whether the feature behind a flag works: libvirt ignores a type whose query fails. What the
    /// kernel says of TDX is not in an entry.
    fn works(&self, name: &str) -> Tri {
        let kind = match name {
            "sev-guest" | "sev-snp-guest" => FactKind::Sev,
            "sgx-epc" => FactKind::Sgx,
            "tdx-guest" => return Tri::Unknown,
            _ => return Tri::Yes,
        };
        let accelerator = self.first();
        match self.facts.get(FactKey { group: Group::Core, accelerator, kind }) {
            Some(Fact::Answered(answer)) if kind == FactKind::Sgx => {
                Tri::from(answer.get("sections").and_then(Value::as_array).is_some())
            }
            Some(Fact::Answered(_)) => Tri::Yes,
            Some(Fact::Refused) => Tri::No,
            Some(Fact::Quarantined) | None => Tri::Unknown,
        }
    }

    /// Returns whether a source sets its flags, regardless of its gate.
    fn evaluate(&self, source: Source) -> Tri {
        match source {
            Source::Kvm => self.kvm,
            Source::Hvf => Tri::from(self.hardware == Some(Accelerator::Hvf)),
            Source::Mshv => Tri::No,
            Source::Type(name) => self.list_has(FactKind::Types, "name", name),
            Source::Command(name) => self.facts.schema().has(name),
            Source::Schema(paths) => {
                let schema = self.facts.schema();
                all(paths.iter().map(|path| schema.has(path)))
            }
            Source::All(sources) => all(sources.iter().map(|source| self.evaluate(*source))),
            Source::Device(name, property) => {
                self.property(FactKind::Devices, name, property, |_| true)
            }
            Source::DisabledByDefault(name, property) => {
                let is_false =
                    |property: Value<'_>| property.get("default-value")?.as_bool().map(|on| !on);
                self.property(FactKind::Devices, name, property, |p| is_false(p).unwrap_or(false))
            }
            Source::Object(name, property) => {
                self.property(FactKind::Objects, name, property, |_| true)
            }
            Source::Machine(name, property) => {
                let Some(typename) = self.machine_type(name) else {
                    let machines = self.first_answer(FactKind::Machines);
                    return if machines.is_some() { Tri::No } else { Tri::Unknown };
                };
                self.property(FactKind::Objects, &typename, property, |_| true)
            }
            Source::Option(name) => {
                self.option(name).map_or(Tri::Unknown, |option| Tri::from(option.is_some()))
            }
            Source::Parameter(name, parameter) => {
                self.option(name).map_or(Tri::Unknown, |option| {
                    let parameters = option.and_then(|option| option.get("parameters"));
                    Tri::from(parameters.and_then(|p| Self::named(p, "name", parameter)).is_some())
                })
            }
            Source::Migration(name) => {
                self.list_has(FactKind::MigrationCapabilities, "capability", name)
            }
            Source::TpmModel(name) => self.list_holds(FactKind::TpmModels, name),
            // libvirt queries the types only if there are models.
            Source::TpmType(name) => match self.facts.core(FactKind::TpmModels) {
                Ok(_) => self.list_holds(FactKind::TpmTypes, name),
                Err(Unanswered::Refused { .. }) => Tri::No,
                Err(_) => Tri::Unknown,
            },
            Source::CpuModel(name) => {
                let of = |accelerator| {
                    let models = self.answer(accelerator, FactKind::CpuDefinitions)?;
                    Some(Self::named(models, "name", name).is_some())
                };
                let has = [of(self.first()), of(Accelerator::Tcg)];
                if has.contains(&Some(true)) {
                    Tri::Yes
                } else if has.contains(&None) {
                    Tri::Unknown
                } else {
                    Tri::No
                }
            }
            Source::Flag(name) => self.has_named(name),
            Source::Without(name) => match self.has_named(name) {
                Tri::Yes => Tri::No,
                Tri::No => Tri::Yes,
                Tri::Unknown => Tri::Unknown,
            },
            Source::Before(version) => Tri::from(self.version < version),
            Source::Architecture(names) => {
                Tri::from(self.arch.is_some_and(|arch| names.contains(&arch)))
            }
        }
    }

    /// Returns whether a list of objects has one whose `key` is `name`.
    fn list_has(&self, kind: FactKind, key: &str, name: &str) -> Tri {
        self.facts
            .core(kind)
            .map_or(Tri::Unknown, |list| Tri::from(Self::named(list, key, name).is_some()))
    }

    /// Returns whether a list of strings has `name`.
    fn list_holds(&self, kind: FactKind, name: &str) -> Tri {
        let list = self.facts.core(kind).ok().and_then(Value::as_array);
        list.map_or(Tri::Unknown, |list| {
            Tri::from(list.iter().any(|element| element.as_str() == Some(name)))
        })
    }

    /// Returns whether a type has a matching property. A type whose query was refused has none.
    fn property(
        &self,
        kind: FactKind,
        typename: &str,
        property: &str,
        is_wanted: impl Fn(Value<'a>) -> bool,
    ) -> Tri {
        let Some(list) = self.facts.core(kind).ok().and_then(|lists| lists.get(typename)) else {
            // A name that is not a type was not queried.
            return match self.list_has(FactKind::Types, "name", typename) {
                Tri::No => Tri::No,
                _ => Tri::Unknown,
            };
        };
        let found = list.as_array().and_then(|list| list.find("name", property));
        Tri::from(found.is_some_and(is_wanted))
    }

    /// The QOM type of a machine; `None` if libvirt does not query it.
    fn machine_type(&self, name: &str) -> Option<String> {
        let canonical = match name {
            "none" => "none",
            "generic-pc" if self.arch.is_some_and(arch::is_x86) => "generic-pc",
            "generic-pc" => return None,
            alias => {
                let machines = self.first_answer(FactKind::Machines)?;
                let machine = Self::named(machines, "alias", alias)
                    .or_else(|| Self::named(machines, "name", alias))?;
                machine.get("name")?.as_str()?
            }
        };
        Some(format!("{canonical}-machine"))
    }

    /// A group of command-line options: the last one of its name. `None` if none were reported.
    fn option(&self, name: &str) -> Option<Option<Value<'a>>> {
        let options = self.facts.core(FactKind::CommandLineOptions).ok()?.as_array()?;
        let is_named =
            |option: &Value<'_>| option.get("option").is_some_and(|own| own.as_str() == Some(name));
        Some(options.iter().filter(is_named).last())
    }
}

/// Returns whether all answers are yes: *unknown* if one is, and the others do not matter.
fn all(answers: impl Iterator<Item = Tri> + Clone) -> Tri {
    if answers.clone().all(Tri::is_yes) {
        Tri::Yes
    } else if answers.clone().any(Tri::is_no) {
        Tri::No
    } else {
        Tri::Unknown
    }
}

/// The flag without which libvirt does not query a source.
fn gate(source: Source) -> Option<&'static str> {
    let (Source::Device(typename, _)
    | Source::DisabledByDefault(typename, _)
    | Source::Object(typename, _)) = source
    else {
        return match source {
            Source::CpuModel(_) => Some("query-cpu-definitions"),
            _ => None,
        };
    };
    GATES.iter().find(|(gated, _)| *gated == typename).map(|(_, gate)| *gate)
}
