//! Typed views of QMP objects.

use std::fmt;

use crate::tri::{Tri, Unanswered};
use crate::value::{Array, Value};

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

/// Defines a view of one QMP object: a getter for each named key, and `raw` for all of them.
macro_rules! object_view {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $key:literal $kind:ident,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a>(pub(crate) Value<'a>);

        impl<'a> $name<'a> {
            $(object_view!(@getter $(#[$field_doc])* $field $key $kind);)*

            /// The whole QMP object, including keys that have no getter.
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
        /// The versioned name, such as `pc-q35-7.2`.
        name: "name" text,
        /// The alias, which names a newer version in each QEMU release, such as `q35`.
        alias: "alias" optional_text,
        /// Returns true if QEMU uses it by default.
        is_default: "is-default" flag,
        /// The largest number of CPUs.
        max_cpus: "cpu-max" optional_number,
        /// Returns true if CPUs can be plugged while it runs.
        hotpluggable_cpus: "hotpluggable-cpus" flag,
        /// Returns whether its NUMA nodes can have memory of their own (reported by QEMU 4.1 and later).
        numa_mem_supported: "numa-mem-supported" optional_flag,
        /// Returns whether QEMU will remove it (reported by QEMU 4.1 and later).
        deprecated: "deprecated" optional_flag,
        /// The QOM type of the default CPU.
        default_cpu_type: "default-cpu-type" optional_text,
        /// The name of the memory backend that it creates by default.
        default_ram_id: "default-ram-id" optional_text,
        /// Returns whether it supports ACPI (reported by QEMU 10.0 and later).
        acpi: "acpi" optional_flag,
    }
}

object_view! {
    /// A CPU model: QAPI's `CpuDefinitionInfo`.
    CpuModel {
        /// The name, such as `EPYC`.
        name: "name" text,
        /// The QOM type.
        typename: "typename" optional_text,
        /// The versioned model that it is an alias of.
        alias_of: "alias-of" optional_text,
        /// Returns true if it is the same on every host and QEMU version.
        is_static: "static" flag,
        /// Returns whether a guest that uses it can be migrated.
        migration_safe: "migration-safe" optional_flag,
        /// Returns true if QEMU will remove it.
        deprecated: "deprecated" flag,
    }
}

impl<'a> CpuModel<'a> {
    /// The features that keep it from running on this host; `None` if QEMU did not report them.
    pub fn unavailable_features(self) -> Option<impl Iterator<Item = &'a str>> {
        let features = self.0.get("unavailable-features")?.as_array()?;
        Some(features.iter().filter_map(Value::as_str))
    }

    /// Returns whether it runs on this host under its accelerator.
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
        /// The name.
        name: "name" text,
        /// The parent type.
        parent: "parent" optional_text,
        /// Returns true if only types that inherit from it can be instantiated.
        is_abstract: "abstract" flag,
    }
}

object_view! {
    /// A property of a device or object: QAPI's `ObjectPropertyInfo`.
    Property {
        /// The name.
        name: "name" text,
        /// QOM's name of the type, such as `uint16` or `link<bus>`.
        type_name: "type" text,
        /// A description of its purpose.
        description: "description" optional_text,
        /// The value if it is not set.
        default_value: "default-value" optional_value,
    }
}

object_view! {
    /// A group of command-line options: QAPI's `CommandLineOptionInfo`.
    CommandLineOption {
        /// The name.
        name: "option" text,
    }
}

impl<'a> CommandLineOption<'a> {
    /// The parameters, in QEMU's order.
    pub fn parameters(self) -> impl Iterator<Item = Parameter<'a>> {
        let parameters = self.0.get("parameters").and_then(Value::as_array);
        parameters.into_iter().flat_map(Array::iter).map(Parameter)
    }
}

object_view! {
    /// A parameter of a command-line option: QAPI's `CommandLineParameterInfo`.
    Parameter {
        /// The name.
        name: "name" text,
        /// The type: `string`, `boolean`, `number` or `size`.
        type_name: "type" text,
        /// A description of its purpose.
        help: "help" optional_text,
        /// The value if it is not given, as text.
        default_value: "default" optional_text,
    }
}

/// The properties of a device or object, in QEMU's order.
#[derive(Clone, Copy)]
pub struct Properties<'a>(pub(crate) Array<'a>);

impl<'a> Properties<'a> {
    /// All properties, in QEMU's order.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        self.0.iter().map(Property)
    }

    /// The property `name`.
    ///
    /// # Errors
    /// [`Unanswered::Absent`].
    pub fn property(self, name: &str) -> Result<Property<'a>, Unanswered> {
        self.0.find("name", name).map(Property).ok_or_else(|| Unanswered::absent("property", name))
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Property::name)).finish()
    }
}
