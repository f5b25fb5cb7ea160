//! Getters of an entry, in the vocabulary of drivers.
//!
//! Every getter reads the file in place and allocates only when it fails.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::accelerated::Accelerated;
use crate::entry::Entry;
use crate::facts::{answered, is_quarantined, require, require_array};
use crate::kind::{Accelerator, FactKind, Group};
use crate::model::{Fact, FactKey};
use crate::schema::Schema;
use crate::tri::{Tri, Unanswered};
use crate::value::{Array, Value};
use crate::views::{CommandLineOption, Properties, Property, Type, Version};

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

    /// The capabilities of the emulator under `accelerator`.
    ///
    /// # Errors
    /// [`Unanswered::Absent`] if it cannot run under it; [`Unanswered::DidNotRun`] if it should
    /// have run and failed.
    pub fn accelerator(&self, accelerator: Accelerator) -> Result<Accelerated<'_>, Unanswered> {
        let key = FactKey { group: Group::Core, accelerator, kind: FactKind::Ran };
        let ran = require(self.facts().get(key), "accelerator", accelerator.name());
        ran.map_err(|reason| match reason {
            Unanswered::NotQueried { what, name } => self.absent(what, &name),
            Unanswered::Refused { .. } => Unanswered::DidNotRun { accelerator },
            other => other,
        })?;
        Ok(Accelerated::new(self.facts(), accelerator))
    }

    /// The capabilities under the best accelerator that the emulator ran under: KVM before TCG.
    ///
    /// # Errors
    /// [`Unanswered::Absent`] in a damaged entry.
    pub fn best(&self) -> Result<Accelerated<'_>, Unanswered> {
        match self.accelerators().next() {
            Some(accelerator) => Ok(Accelerated::new(self.facts(), accelerator)),
            None => Err(self.absent("accelerator", "")),
        }
    }

    /// The QMP schema (`query-qmp-schema`).
    pub fn schema(&self) -> Schema<'_> {
        self.facts().schema()
    }

    /// The names of the QMP commands, in the order of `query-commands`, or of the schema if
    /// that query was not sent.
    pub fn commands(&self) -> Vec<&str> {
        match answered(self.core_fact(FactKind::Commands)).and_then(Value::as_array) {
            Some(commands) => {
                commands.iter().filter_map(|command| command.get("name")?.as_str()).collect()
            }
            None => self.schema().names("command").collect(),
        }
    }

    /// Returns whether there is a QMP command `name`.
    pub fn has_command(&self, name: &str) -> Tri {
        match answered(self.core_fact(FactKind::Commands)).and_then(Value::as_array) {
            Some(commands) => Tri::from(commands.find("name", name).is_some()),
            None => self.schema().has_entry("command", name),
        }
    }

    /// Returns whether there is a QMP event `name`.
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
    /// [`Unanswered`]; [`Unanswered::NotQueried`] for an abstract type, if the list of abstract types
    /// was not queried.
    pub fn qom_type(&self, name: &str) -> Result<Type<'_>, Unanswered> {
        if let Some(all @ Fact::Answered(_)) = self.core_fact(FactKind::AllTypes) {
            let all = require_array(Some(all), "type", name)?;
            return all.find("name", name).map(Type).ok_or_else(|| self.absent("type", name));
        }
        let concrete = require_array(self.core_fact(FactKind::Types), "type", name)?;
        if let Some(found) = concrete.find("name", name) {
            return Ok(Type(found));
        }
        let is_parent = concrete.iter().any(|one| Type(one).parent() == Some(name));
        Err(if is_parent {
            Unanswered::not_queried("type", name)
        } else {
            self.absent("type", name)
        })
    }

    /// Returns *absent*; or *incomplete* if a module could not be opened, which may define it.
    fn absent(&self, what: &'static str, name: &str) -> Unanswered {
        match self.incomplete() {
            Some(incomplete) if !incomplete.unopened.is_empty() => {
                Unanswered::Incomplete { what, name: name.to_owned(), reason: incomplete.reason }
            }
            _ => Unanswered::absent(what, name),
        }
    }

    /// Returns whether `device_add` can create a `name`: a concrete QOM type that is a device.
    pub fn has_device(&self, name: &str) -> Tri {
        self.implements(FactKind::DeviceTypes, name)
    }

    /// Returns whether `object_add` can create a `name`: a concrete QOM type that is user-creatable.
    pub fn has_object(&self, name: &str) -> Tri {
        self.implements(FactKind::ObjectTypes, name)
    }

    /// The properties of a device (`device-list-properties`).
    ///
    /// # Errors
    /// [`Unanswered::Absent`] for a type that is not a concrete device;
    /// [`Unanswered::NotProbed`] without [`Group::Devices`], except for the devices that drivers
    /// query at start-up.
    pub fn device(&self, name: &str) -> Result<Properties<'_>, Unanswered> {
        if self.has_device(name).is_no() {
            return Err(Unanswered::absent("device", name));
        }
        if let Err(reason @ Unanswered::Incomplete { .. }) = self.qom_type(name) {
            return Err(reason);
        }
        self.property_list(Group::Devices, FactKind::Devices, "device", name)
    }

    /// The properties of an object (`qom-list-properties`), user-creatable or one of the other
    /// types that drivers query at start-up, such as `none-machine`.
    ///
    /// # Errors
    /// [`Unanswered::Absent`] for a type that does not exist or is not such an object;
    /// [`Unanswered::NotProbed`] without [`Group::Objects`].
    pub fn object(&self, name: &str) -> Result<Properties<'_>, Unanswered> {
        match self.qom_type(name) {
            Err(Unanswered::Absent { .. }) => return Err(Unanswered::absent("object", name)),
            Err(reason @ Unanswered::Incomplete { .. }) => return Err(reason),
            _ => {}
        }
        self.property_list(Group::Objects, FactKind::Objects, "object", name)
    }

    /// The properties of a type: as a device, else as an object. Without [`Group::Devices`] these are the properties as an
    /// object of the few devices that drivers query as such at start-up, CPU types.
    ///
    /// # Errors
    /// See [`Entry::device`] for a type that may be a device, [`Entry::object`] for others.
    pub fn properties(&self, type_name: &str) -> Result<Properties<'_>, Unanswered> {
        if self.has_device(type_name).is_no() {
            return self.object(type_name);
        }
        self.device(type_name).or_else(|reason| self.object(type_name).map_err(|_| reason))
    }

    /// A property of a type: as a device, else as an object.
    ///
    /// # Errors
    /// See [`Entry::properties`]; [`Unanswered::Absent`] if the type does not have it.
    pub fn property(&self, type_name: &str, name: &str) -> Result<Property<'_>, Unanswered> {
        let found = self.properties(type_name)?.property(name);
        // `device-list-properties` leaves out some that `qom-list-properties` reports: `realized`, `type`.
        found.or_else(|reason| {
            self.object(type_name).and_then(|object| object.property(name)).map_err(|_| reason)
        })
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
        let options = require_array(fact, "command-line option", name)?;
        let found = options.find("option", name).map(CommandLineOption);
        found.ok_or_else(|| self.absent("command-line option", name))
    }

    /// Returns whether there is the migration capability `name` (`query-migrate-capabilities`).
    pub fn has_migration_capability(&self, name: &str) -> Tri {
        self.names_of(FactKind::MigrationCapabilities, "migration capability", name)
    }

    /// Returns whether there is the TPM model `name` (`query-tpm-models`).
    pub fn has_tpm_model(&self, name: &str) -> Tri {
        self.names_of(FactKind::TpmModels, "TPM model", name)
    }

    /// Returns whether there is the TPM backend `name` (`query-tpm-types`).
    pub fn has_tpm_type(&self, name: &str) -> Tri {
        self.names_of(FactKind::TpmTypes, "TPM type", name)
    }

    /// The names of the accelerators that QEMU was built with (`query-accelerators`; before QEMU
    /// 10.2, the types whose name ends in `-accel`).
    pub fn accelerators_present(&self) -> Vec<&str> {
        let fact = answered(self.core_fact(FactKind::Accelerators));
        match fact.and_then(|value| value.get("present")?.as_array()) {
            Some(present) => present.iter().filter_map(Value::as_str).collect(),
            None => self
                .types()
                .filter(|one| !one.is_abstract())
                .filter_map(|one| one.name().strip_suffix("-accel"))
                .collect(),
        }
    }

    /// A fact of the binary in the core group, in QMP's own form.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn core(&self, kind: FactKind) -> Result<Value<'_>, Unanswered> {
        self.facts().core(kind)
    }

    fn core_fact(&self, kind: FactKind) -> Option<Fact<Value<'_>>> {
        self.facts().binary(Group::Core, kind)
    }

    fn array(&self, kind: FactKind) -> impl Iterator<Item = Value<'_>> {
        answered(self.core_fact(kind)).and_then(Value::as_array).into_iter().flat_map(Array::iter)
    }

    /// Returns *no* for a name that is not a type, even if the list of implementing types is missing.
    fn implements(&self, kind: FactKind, name: &str) -> Tri {
        match require_array(self.core_fact(kind), "type", name) {
            Ok(types) if types.find("name", name).is_some() => Tri::Yes,
            Ok(_) if self.lacks_modules() && self.qom_type(name).is_err() => Tri::Unknown,
            Ok(_) => Tri::No,
            Err(_) if Tri::from(&self.qom_type(name)).is_no() => Tri::No,
            Err(_) => Tri::Unknown,
        }
    }

    fn names_of(&self, kind: FactKind, what: &'static str, name: &str) -> Tri {
        let named = |element: Value<'_>| {
            element.is_str(name)
                || element.get("capability").is_some_and(|value| value.is_str(name))
        };
        match require_array(self.core_fact(kind), what, name) {
            Ok(array) => Tri::from(array.iter().any(named)),
            Err(reason) => reason.tri(),
        }
    }

    /// A property list: from the group that has all of them, or from the core group.
    fn property_list(
        &self,
        group: Group,
        kind: FactKind,
        what: &'static str,
        name: &str,
    ) -> Result<Properties<'_>, Unanswered> {
        let all = self.facts().binary(group, kind);
        for fact in [all, self.core_fact(kind)] {
            let Some(Fact::Answered(lists)) = fact else { continue };
            let Some(list) = lists.get(name) else { continue };
            return match list.as_array() {
                Some(properties) => Ok(Properties(properties)),
                None if is_quarantined(list) => Err(Unanswered::quarantined(what, name)),
                None => Err(Unanswered::refused(what, name)),
            };
        }
        match all {
            Some(_) => Err(Unanswered::not_queried(what, name)),
            None => Err(Unanswered::NotProbed { what, name: name.to_owned(), group }),
        }
    }
}
