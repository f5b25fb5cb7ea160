//! What an entry says, in the vocabulary of drivers.
//!
//! Every getter reads the file where it lies and allocates nothing unless it fails.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;

use crate::entry::Entry;
use crate::kind::{Accelerator, FactKind, Group};
use crate::model::{Fact, FactKey};
use crate::schema::Schema;
use crate::tri::{Tri, Unanswered};
use crate::value::{Array, Value};

/// In the place of an answer: QEMU was asked, and it ended or went deaf.
///
/// (`null` stands where it answered with an error.)
pub(crate) fn is_quarantined(value: Value<'_>) -> bool {
    value.as_bool() == Some(false)
}

/// A QEMU version, `query-version`'s `qemu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 7 of 7.2.22.
    pub major: u64,
    /// 2 of 7.2.22.
    pub minor: u64,
    /// 22 of 7.2.22.
    pub micro: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.major, self.minor, self.micro))
    }
}

/// What the emulator answered whatever runs the guest's instructions.
impl<B: AsRef<[u8]>> Entry<B> {
    /// The version of QEMU (`query-version`); 0.0.0 in a damaged entry.
    pub fn version(&self) -> Version {
        let qemu =
            answered(self.core_fact(FactKind::Version)).and_then(|version| version.get("qemu"));
        let part = |key| qemu.and_then(|qemu| qemu.get(key)?.as_u64()).unwrap_or(0);
        Version { major: part("major"), minor: part("minor"), micro: part("micro") }
    }

    /// The distributor's name for this build (`query-version`'s `package`), often empty.
    pub fn package(&self) -> &str {
        answered(self.core_fact(FactKind::Version))
            .and_then(|v| v.get("package")?.as_str())
            .unwrap_or("")
    }

    /// QEMU's name of the guest's architecture (`query-target`), such as `x86_64`; empty in a
    /// damaged entry.
    pub fn arch(&self) -> &str {
        answered(self.core_fact(FactKind::Target))
            .and_then(|v| v.get("arch")?.as_str())
            .unwrap_or("")
    }

    /// What the emulator answers under `accelerator`.
    ///
    /// # Errors
    /// [`Unanswered::Absent`] if it cannot run under it; [`Unanswered::DidNotRun`] if it should
    /// have, and failed.
    pub fn accelerator(&self, accelerator: Accelerator) -> Result<Accelerated<'_, B>, Unanswered> {
        let key = FactKey { group: Group::Core, accelerator, kind: FactKind::Ran };
        settle(self.fact(key), "accelerator", accelerator.name()).map_err(|why| match why {
            Unanswered::NeverAsked { what, name } => self.absent(what, &name),
            Unanswered::Refused { .. } => Unanswered::DidNotRun { accelerator },
            other => other,
        })?;
        Ok(Accelerated { entry: self, accelerator })
    }

    /// The answers of the best accelerator that the emulator ran under: KVM before TCG.
    ///
    /// # Errors
    /// [`Unanswered::Absent`] in a damaged entry.
    pub fn best(&self) -> Result<Accelerated<'_, B>, Unanswered> {
        match self.accelerators().next() {
            Some(accelerator) => Ok(Accelerated { entry: self, accelerator }),
            None => Err(self.absent("accelerator", "")),
        }
    }

    /// The QMP schema (`query-qmp-schema`).
    pub fn schema(&self) -> Schema<'_> {
        Schema::new(self.binary_fact(Group::Core, FactKind::Schema))
    }

    /// The names of the QMP commands, in the order of `query-commands`, or of the schema where
    /// that was not asked.
    pub fn commands(&self) -> Vec<&str> {
        match answered(self.core_fact(FactKind::Commands)).and_then(Value::as_array) {
            Some(commands) => {
                commands.iter().filter_map(|command| command.get("name")?.as_str()).collect()
            }
            None => self.schema().names("command").collect(),
        }
    }

    /// Whether there is a QMP command `name`.
    pub fn has_command(&self, name: &str) -> Tri {
        match answered(self.core_fact(FactKind::Commands)).and_then(Value::as_array) {
            Some(commands) => Tri::from(commands.find("name", name).is_some()),
            None => self.schema().has_entry("command", name),
        }
    }

    /// Whether there is a QMP event `name`.
    pub fn has_event(&self, name: &str) -> Tri {
        self.schema().has_entry("event", name)
    }

    /// The concrete QOM types, in the order of `qom-list-types`.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        self.array(FactKind::Types).map(Type)
    }

    /// The QOM type `name`, abstract or not (`qom-list-types`).
    ///
    /// # Errors
    /// [`Unanswered`]; [`Unanswered::NeverAsked`] for one that only others inherit from, where
    /// abstract types were not asked for.
    pub fn qom_type(&self, name: &str) -> Result<Type<'_>, Unanswered> {
        if let Some(all @ Fact::Answered(_)) = self.core_fact(FactKind::AllTypes) {
            let all = settle_array(Some(all), "type", name)?;
            return all.find("name", name).map(Type).ok_or_else(|| self.absent("type", name));
        }
        let concrete = settle_array(self.core_fact(FactKind::Types), "type", name)?;
        if let Some(found) = concrete.find("name", name) {
            return Ok(Type(found));
        }
        let is_parent = concrete.iter().any(|one| Type(one).parent() == Some(name));
        Err(if is_parent { never_asked("type", name) } else { self.absent("type", name) })
    }

    /// That there is no such thing; or, where modules could not be opened, that there may be one.
    fn absent(&self, what: &'static str, name: &str) -> Unanswered {
        match self.incomplete() {
            Some(short) if !short.unopened.is_empty() => {
                Unanswered::Incomplete { what, name: name.to_owned(), reason: short.reason }
            }
            _ => absent(what, name),
        }
    }

    /// Whether `device_add` can make a `name`: a concrete QOM type that is a device.
    pub fn has_device(&self, name: &str) -> Tri {
        self.implements(FactKind::DeviceTypes, name)
    }

    /// Whether `object_add` can make a `name`: a concrete QOM type that is user-creatable.
    pub fn has_object(&self, name: &str) -> Tri {
        self.implements(FactKind::ObjectTypes, name)
    }

    /// The properties of a device (`device-list-properties`).
    ///
    /// # Errors
    /// [`Unanswered::Absent`] for a type that is no concrete device;
    /// [`Unanswered::NotProbed`] without [`Group::Devices`], except for the devices that drivers
    /// ask about at start-up.
    pub fn device(&self, name: &str) -> Result<Properties<'_>, Unanswered> {
        if self.has_device(name).is_no() {
            return Err(absent("device", name));
        }
        if let Err(why @ Unanswered::Incomplete { .. }) = self.qom_type(name) {
            return Err(why);
        }
        self.properties(Group::Devices, FactKind::Devices, "device", name)
    }

    /// The properties of an object (`qom-list-properties`), user-creatable or one of the other
    /// types that drivers ask about at start-up, such as `none-machine`.
    ///
    /// # Errors
    /// [`Unanswered::Absent`] for a type that does not exist or is no such object;
    /// [`Unanswered::NotProbed`] without [`Group::Objects`].
    pub fn object(&self, name: &str) -> Result<Properties<'_>, Unanswered> {
        match self.qom_type(name) {
            Err(Unanswered::Absent { .. }) => return Err(absent("object", name)),
            Err(why @ Unanswered::Incomplete { .. }) => return Err(why),
            _ => {}
        }
        self.properties(Group::Objects, FactKind::Objects, "object", name)
    }

    /// The command-line options, in the order of `query-command-line-options`.
    pub fn command_line_options(&self) -> impl Iterator<Item = CommandLineOption<'_>> {
        self.array(FactKind::CommandLineOptions).map(CommandLineOption)
    }

    /// The group of command-line options `name`, such as `sandbox`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn command_line_option(&self, name: &str) -> Result<CommandLineOption<'_>, Unanswered> {
        let fact = self.core_fact(FactKind::CommandLineOptions);
        let options = settle_array(fact, "command-line option", name)?;
        let found = options.find("option", name).map(CommandLineOption);
        found.ok_or_else(|| self.absent("command-line option", name))
    }

    /// Whether migration knows the capability `name` (`query-migrate-capabilities`).
    pub fn has_migration_capability(&self, name: &str) -> Tri {
        self.names_of(FactKind::MigrationCapabilities, "migration capability", name)
    }

    /// Whether there is the TPM model `name` (`query-tpm-models`).
    pub fn has_tpm_model(&self, name: &str) -> Tri {
        self.names_of(FactKind::TpmModels, "TPM model", name)
    }

    /// Whether there is the TPM backend `name` (`query-tpm-types`).
    pub fn has_tpm_type(&self, name: &str) -> Tri {
        self.names_of(FactKind::TpmTypes, "TPM type", name)
    }

    /// The names of the accelerators that were built in (`query-accelerators`; before QEMU 11.1,
    /// the types whose name ends in `-accel`).
    pub fn accelerators_present(&self) -> Vec<&str> {
        let fact = answered(self.core_fact(FactKind::Accelerators));
        match fact.and_then(|value| value.get("present")?.as_array()) {
            Some(present) => present.iter().filter_map(Value::as_str).collect(),
            None => self
                .types()
                .filter(|known| !known.is_abstract())
                .filter_map(|known| known.name().strip_suffix("-accel"))
                .collect(),
        }
    }

    /// An answer about the binary in QMP's own form.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn core(&self, kind: FactKind) -> Result<Value<'_>, Unanswered> {
        settle(self.core_fact(kind), "answer", kind.name())
    }

    fn core_fact(&self, kind: FactKind) -> Option<Fact<Value<'_>>> {
        self.binary_fact(Group::Core, kind)
    }

    fn array(&self, kind: FactKind) -> impl Iterator<Item = Value<'_>> {
        answered(self.core_fact(kind)).and_then(Value::as_array).into_iter().flat_map(Array::iter)
    }

    /// *No* for what is no type at all, even where the list of those that implement was not asked.
    fn implements(&self, kind: FactKind, name: &str) -> Tri {
        match settle_array(self.core_fact(kind), "type", name) {
            Ok(types) if types.find("name", name).is_some() => Tri::Yes,
            Ok(_) if self.lacks_modules() && self.qom_type(name).is_err() => Tri::Unknown,
            Ok(_) => Tri::No,
            Err(_) if Tri::from(&self.qom_type(name)).is_no() => Tri::No,
            Err(_) => Tri::Unknown,
        }
    }

    fn names_of(&self, kind: FactKind, what: &'static str, name: &str) -> Tri {
        let named = |element: Value<'_>| {
            element.is_str(name) || element.get("capability").is_some_and(|held| held.is_str(name))
        };
        match settle_array(self.core_fact(kind), what, name) {
            Ok(array) => Tri::from(array.iter().any(named)),
            Err(why) => Tri::from(&Err::<(), _>(why)),
        }
    }

    /// A property list: from the group that has them all, or from those of the core group.
    fn properties(
        &self,
        group: Group,
        kind: FactKind,
        what: &'static str,
        name: &str,
    ) -> Result<Properties<'_>, Unanswered> {
        let all = self.binary_fact(group, kind);
        for fact in [all, self.core_fact(kind)] {
            let Some(Fact::Answered(lists)) = fact else { continue };
            let Some(list) = lists.get(name) else { continue };
            return match list.as_array() {
                Some(properties) => Ok(Properties(properties)),
                None if is_quarantined(list) => Err(quarantined(what, name)),
                None => Err(refused(what, name)),
            };
        }
        match all {
            Some(_) => Err(Unanswered::NeverAsked { what, name: name.to_owned() }),
            None => Err(Unanswered::NotProbed { what, name: name.to_owned(), group }),
        }
    }
}

/// What the emulator answered under one accelerator.
#[derive(Debug)]
pub struct Accelerated<'a, B> {
    entry: &'a Entry<B>,
    accelerator: Accelerator,
}

impl<B> Clone for Accelerated<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Accelerated<'_, B> {}

impl<'a, B: AsRef<[u8]>> Accelerated<'a, B> {
    /// Which accelerator.
    pub fn accelerator(self) -> Accelerator {
        self.accelerator
    }

    /// The machine types, in the order of `query-machines`.
    pub fn machines(self) -> impl Iterator<Item = Machine<'a>> {
        self.array(FactKind::Machines).map(Machine)
    }

    /// The machine type whose name or, if there is none, whose alias is `name`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn machine(self, name: &str) -> Result<Machine<'a>, Unanswered> {
        let machines = settle_array(self.fact(FactKind::Machines), "machine", name)?;
        let by_alias = || answered(self.fact(FactKind::MachineAliases))?.get(name);
        let found = machines.find("name", name).or_else(by_alias);
        found.map(Machine).ok_or_else(|| absent("machine", name))
    }

    /// The machine type that QEMU takes when it is told none.
    pub fn default_machine(self) -> Option<Machine<'a>> {
        self.machines().find(|machine| machine.is_default())
    }

    /// The CPU models, in the order of `query-cpu-definitions`.
    pub fn cpu_models(self) -> impl Iterator<Item = CpuModel<'a>> {
        self.array(FactKind::CpuDefinitions).map(CpuModel)
    }

    /// The CPU model `name`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn cpu_model(self, name: &str) -> Result<CpuModel<'a>, Unanswered> {
        let models = settle_array(self.fact(FactKind::CpuDefinitions), "CPU model", name)?;
        models.find("name", name).map(CpuModel).ok_or_else(|| absent("CPU model", name))
    }

    /// The expansions of the host's or the maximal CPU: `arguments` and `return` of each
    /// `query-cpu-model-expansion`, in the order in which they were asked. A `return` of `null`
    /// was refused.
    pub fn host_cpu(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        self.array(FactKind::HostCpu)
            .filter_map(|asked| Some((asked.get("arguments")?, asked.get("return")?)))
    }

    /// The static or full expansion of the CPU model `name`: what `query-cpu-model-expansion`
    /// returned.
    ///
    /// # Errors
    /// [`Unanswered::NotProbed`] without [`Group::CpuModels`].
    pub fn cpu_expansion(self, name: &str, kind: Expansion) -> Result<Value<'a>, Unanswered> {
        let what = "expansion of CPU model";
        let group = Group::CpuModels;
        let key = FactKey { group, accelerator: self.accelerator, kind: FactKind::CpuModels };
        let Some(fact) = self.entry.fact(key) else {
            return Err(Unanswered::NotProbed { what, name: name.to_owned(), group });
        };
        let model = settle(Some(fact), what, name)?.get(name);
        match model.ok_or_else(|| absent(what, name))?.get(kind.name()) {
            None => Err(Unanswered::NeverAsked { what, name: name.to_owned() }),
            Some(value) if value.is_null() => Err(refused(what, name)),
            Some(value) if is_quarantined(value) => Err(quarantined(what, name)),
            Some(value) => Ok(value),
        }
    }

    /// An answer under this accelerator in QMP's own form.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn answer(self, kind: FactKind) -> Result<Value<'a>, Unanswered> {
        settle(self.fact(kind), "answer", kind.name())
    }

    fn fact(self, kind: FactKind) -> Option<Fact<Value<'a>>> {
        self.entry.fact(FactKey { group: Group::Core, accelerator: self.accelerator, kind })
    }

    fn array(self, kind: FactKind) -> impl Iterator<Item = Value<'a>> + use<'a, B> {
        answered(self.fact(kind)).and_then(Value::as_array).into_iter().flat_map(Array::iter)
    }
}

/// The two expansions of a CPU model that QEMU knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// To a base model that does not change between machines and QEMU versions, and properties.
    Static,
    /// To all properties.
    Full,
}

impl Expansion {
    /// QMP's `CpuModelExpansionType`.
    pub fn name(self) -> &'static str {
        match self {
            Expansion::Static => "static",
            Expansion::Full => "full",
        }
    }
}

/// Getters over one QMP object; `raw` has whatever they do not name.
macro_rules! object_view {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $key:literal $kind:ident,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a>(Value<'a>);

        impl<'a> $name<'a> {
            $(object_view!(@getter $(#[$field_doc])* $field $key $kind);)*

            /// The whole QMP object, with keys that have no getter of their own.
            pub fn raw(self) -> Value<'a> {
                self.0
            }
        }
    };
    (@getter $(#[$doc:meta])* $field:ident $key:literal text) => {
        $(#[$doc])*
        pub fn $field(self) -> &'a str {
            self.0.get($key).and_then(Value::as_str).unwrap_or("")
        }
    };
    (@getter $(#[$doc:meta])* $field:ident $key:literal optional_text) => {
        $(#[$doc])*
        pub fn $field(self) -> Option<&'a str> {
            self.0.get($key)?.as_str()
        }
    };
    (@getter $(#[$doc:meta])* $field:ident $key:literal flag) => {
        $(#[$doc])*
        pub fn $field(self) -> bool {
            self.0.get($key).and_then(Value::as_bool).unwrap_or(false)
        }
    };
    (@getter $(#[$doc:meta])* $field:ident $key:literal optional_flag) => {
        $(#[$doc])*
        pub fn $field(self) -> Option<bool> {
            self.0.get($key)?.as_bool()
        }
    };
    (@getter $(#[$doc:meta])* $field:ident $key:literal optional_number) => {
        $(#[$doc])*
        pub fn $field(self) -> Option<u64> {
            self.0.get($key)?.as_u64()
        }
    };
    (@getter $(#[$doc:meta])* $field:ident $key:literal optional_value) => {
        $(#[$doc])*
        pub fn $field(self) -> Option<Value<'a>> {
            self.0.get($key)
        }
    };
}

object_view! {
    /// A machine type: QAPI's `MachineInfo`.
    Machine {
        /// Its versioned name, such as `pc-q35-7.2`.
        name: "name" text,
        /// A second name that moves on with QEMU's releases, such as `q35`.
        alias: "alias" optional_text,
        /// Whether QEMU takes it when it is told none.
        is_default: "is-default" flag,
        /// The largest number of CPUs.
        max_cpus: "cpu-max" optional_number,
        /// Whether CPUs can be plugged in while it runs.
        hotpluggable_cpus: "hotpluggable-cpus" flag,
        /// Whether it can have NUMA nodes with memory of their own (QEMU 4.1 and later say).
        numa_mem_supported: "numa-mem-supported" optional_flag,
        /// Whether it will go away.
        deprecated: "deprecated" flag,
        /// The QOM type of its default CPU.
        default_cpu_type: "default-cpu-type" optional_text,
        /// The name of the memory backend that it makes by itself.
        default_ram_id: "default-ram-id" optional_text,
        /// Whether it can have ACPI (QEMU 10.0 and later say).
        acpi: "acpi" optional_flag,
    }
}

object_view! {
    /// A CPU model: QAPI's `CpuDefinitionInfo`.
    CpuModel {
        /// Its name, such as `EPYC`.
        name: "name" text,
        /// Its QOM type.
        typename: "typename" optional_text,
        /// The versioned model that it stands for.
        alias_of: "alias-of" optional_text,
        /// Whether it is the same on any host and QEMU version.
        is_static: "static" flag,
        /// Whether a guest can be migrated with it.
        migration_safe: "migration-safe" optional_flag,
        /// Whether it will go away.
        deprecated: "deprecated" flag,
    }
}

impl<'a> CpuModel<'a> {
    /// The features that keep it from running here; `None` if QEMU did not tell.
    pub fn unavailable_features(self) -> Option<impl Iterator<Item = &'a str>> {
        let features = self.0.get("unavailable-features")?.as_array()?;
        Some(features.iter().filter_map(Value::as_str))
    }

    /// Whether it runs here under the accelerator whose model it is.
    pub fn usable(self) -> Tri {
        match self.0.get("unavailable-features").and_then(Value::as_array) {
            Some(features) => Tri::from(features.is_empty()),
            None => Tri::Unknown,
        }
    }
}

object_view! {
    /// A QOM type: QAPI's `ObjectTypeInfo`.
    Type {
        /// Its name.
        name: "name" text,
        /// The type that it inherits from.
        parent: "parent" optional_text,
        /// Whether only types that inherit from it can be made.
        is_abstract: "abstract" flag,
    }
}

object_view! {
    /// A property of a device or object: QAPI's `ObjectPropertyInfo`.
    Property {
        /// Its name.
        name: "name" text,
        /// QOM's name of its type, such as `uint16` or `link<bus>`.
        type_name: "type" text,
        /// What it is for.
        description: "description" optional_text,
        /// The value that it has when it is not set.
        default_value: "default-value" optional_value,
    }
}

object_view! {
    /// A group of command-line options: QAPI's `CommandLineOptionInfo`.
    CommandLineOption {
        /// Its name.
        name: "option" text,
    }
}

impl<'a> CommandLineOption<'a> {
    /// Its parameters, in QEMU's order.
    pub fn parameters(self) -> impl Iterator<Item = Parameter<'a>> {
        let parameters = self.0.get("parameters").and_then(Value::as_array);
        parameters.into_iter().flat_map(Array::iter).map(Parameter)
    }
}

object_view! {
    /// A parameter of a command-line option: QAPI's `CommandLineParameterInfo`.
    Parameter {
        /// Its name.
        name: "name" text,
        /// Its type: `string`, `boolean`, `number` or `size`.
        type_name: "type" text,
        /// What it is for.
        help: "help" optional_text,
        /// The value that it has when it is not given, as text.
        default_value: "default" optional_text,
    }
}

/// The properties of a device or object, in QEMU's order.
#[derive(Clone, Copy)]
pub struct Properties<'a>(Array<'a>);

impl<'a> Properties<'a> {
    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        self.0.iter().map(Property)
    }

    /// The property `name`.
    ///
    /// # Errors
    /// [`Unanswered::Absent`].
    pub fn property(self, name: &str) -> Result<Property<'a>, Unanswered> {
        self.0.find("name", name).map(Property).ok_or_else(|| absent("property", name))
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Property::name)).finish()
    }
}

/// What was answered, where it does not matter why there is no answer.
fn answered(fact: Option<Fact<Value<'_>>>) -> Option<Value<'_>> {
    match fact {
        Some(Fact::Answered(value)) => Some(value),
        _ => None,
    }
}

fn settle<'a>(
    fact: Option<Fact<Value<'a>>>,
    what: &'static str,
    name: &str,
) -> Result<Value<'a>, Unanswered> {
    match fact {
        Some(Fact::Answered(value)) => Ok(value),
        Some(Fact::Refused) => Err(refused(what, name)),
        Some(Fact::Quarantined) => Err(quarantined(what, name)),
        None => Err(Unanswered::NeverAsked { what, name: name.to_owned() }),
    }
}

fn settle_array<'a>(
    fact: Option<Fact<Value<'a>>>,
    what: &'static str,
    name: &str,
) -> Result<Array<'a>, Unanswered> {
    let value = settle(fact, what, name)?;
    value.as_array().ok_or_else(|| Unanswered::NeverAsked { what, name: name.to_owned() })
}

fn absent(what: &'static str, name: &str) -> Unanswered {
    Unanswered::Absent { what, name: name.to_owned() }
}

fn never_asked(what: &'static str, name: &str) -> Unanswered {
    Unanswered::NeverAsked { what, name: name.to_owned() }
}

fn refused(what: &'static str, name: &str) -> Unanswered {
    Unanswered::Refused { what, name: name.to_owned() }
}

fn quarantined(what: &'static str, name: &str) -> Unanswered {
    Unanswered::Quarantined { what, name: name.to_owned() }
}
