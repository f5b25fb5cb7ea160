//! Enumerations of the format: accelerators, fact kinds, groups, input kinds, scopes.

/// Defines an enum with conversions to and from its numbers in the file and its names.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr($repr)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// All of them, in the order of their numbers in the file.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The name in JSON and in messages.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }

            /// The one with this number in the file; `None` for a number unknown to this version.
            pub fn from_number(number: $repr) -> Option<$name> {
                match number { $($number => Some($name::$variant),)* _ => None }
            }

            /// The number in the file.
            pub fn number(self) -> $repr {
                match self { $($name::$variant => $number,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

vocabulary! {
    /// An accelerator, which runs the guest's instructions: QEMU's `-accel`.
    ///
    /// In order of preference: the first one that an emulator has is its *best*.
    Accelerator: u8 {
        /// Linux's Kernel-based Virtual Machine.
        Kvm = 1 "kvm",
        /// The hypervisor framework of macOS.
        Hvf = 2 "hvf",
        /// QEMU's own translator, which needs no hardware support.
        Tcg = 3 "tcg",
        /// Runs no instructions; the facts of the binary are the same under it.
        Qtest = 4 "qtest",
    }
}

impl Accelerator {
    /// Returns true if its facts depend on the host and not on the binary alone.
    pub fn needs_host(self) -> bool {
        self.scope() == Scope::Host
    }

    /// The scope of its facts.
    pub fn scope(self) -> Scope {
        match self {
            Accelerator::Kvm | Accelerator::Hvf => Scope::Host,
            Accelerator::Tcg | Accelerator::Qtest => Scope::Binary,
        }
    }
}

/// The scope of facts: they depend on the binary alone, or on the host as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Facts that depend on files only.
    Binary,
    /// Facts that depend on kernel, KVM and CPU too.
    Host,
}

vocabulary! {
    /// The kind of a fact in an entry.
    FactKind: u16 {
        /// `query-version`.
        Version = 1 "version",
        /// `query-target`.
        Target = 2 "target",
        /// `query-machines`, per accelerator.
        Machines = 3 "machines",
        /// The machines of `query-machines` that have an alias, keyed by it, per accelerator.
        MachineAliases = 4 "machine-aliases",
        /// `query-cpu-definitions`, per accelerator.
        CpuDefinitions = 5 "cpu-definitions",
        /// Every `query-cpu-model-expansion` of the host's or the maximal CPU, per accelerator:
        /// an array of `{arguments, return}`.
        HostCpu = 6 "host-cpu",
        /// `query-kvm`, per accelerator.
        Kvm = 7 "kvm",
        /// `query-gic-capabilities`, per accelerator.
        Gic = 8 "gic-capabilities",
        /// `query-sev-capabilities`, per accelerator.
        Sev = 9 "sev-capabilities",
        /// `query-sgx-capabilities`, per accelerator.
        Sgx = 10 "sgx-capabilities",
        /// `qom-list-types`.
        Types = 11 "types",
        /// `query-qmp-schema`.
        Schema = 12 "schema",
        /// `query-commands`.
        Commands = 13 "commands",
        /// `query-command-line-options`.
        CommandLineOptions = 14 "command-line-options",
        /// `query-migrate-capabilities`.
        MigrationCapabilities = 15 "migration-capabilities",
        /// `query-tpm-models`.
        TpmModels = 16 "tpm-models",
        /// `query-tpm-types`.
        TpmTypes = 17 "tpm-types",
        /// `query-accelerators` (QEMU 10.2 and later).
        Accelerators = 18 "accelerators-present",
        /// `device-list-properties`, keyed by type name.
        Devices = 19 "devices",
        /// `qom-list-properties`, keyed by type name.
        Objects = 20 "objects",
        /// `query-cpu-model-expansion` of every CPU model, `{static, full}` keyed by model name,
        /// per accelerator.
        CpuModels = 21 "cpu-models",
        /// `true`: the emulator ran under the accelerator.
        Ran = 22 "ran",
        /// `qom-list-types` of the types that implement `device`.
        DeviceTypes = 23 "device-types",
        /// `qom-list-types` of the types that implement `user-creatable`.
        ObjectTypes = 24 "object-types",
        /// `qom-list-types` with abstract types.
        AllTypes = 25 "all-types",
        /// The CPUID leaves that the host's KVM supports, from the kernel: an array of `{function,
        /// index, eax, ebx, ecx, edx}`.
        SupportedCpuid = 26 "supported-cpuid",
    }
}

vocabulary! {
    /// A part of an entry that is probed as a whole.
    Group: u8 {
        /// All that drivers query at start-up. Every entry has it.
        Core = 0 "core",
        /// The properties of every concrete device.
        Devices = 1 "devices",
        /// The properties of every user-creatable object.
        Objects = 2 "objects",
        /// The static and full expansion of every CPU model.
        CpuModels = 3 "cpu-models",
    }
}

vocabulary! {
    /// The cause of a failed probe, as far as a caller acts on it.
    FailureCause: u8 {
        /// The file is not a QEMU system emulator: it cannot be executed, or it did not greet over QMP.
        NotAnEmulator = 1 "not-an-emulator",
        /// The emulator exited, was killed, or broke the protocol.
        Crashed = 2 "crashed",
        /// The emulator did not answer in time.
        TimedOut = 3 "timed-out",
        /// The kernel or a security module refused to execute it.
        NotPermitted = 4 "not-permitted",
        /// The prober lacked memory, processes, descriptors or processor time. Never recorded.
        Shortage = 5 "shortage",
        /// Any other cause.
        Other = 6 "other",
    }
}

vocabulary! {
    /// The kind of an input: a file or a part of the host that the answers depend on.
    InputKind: u16 {
        /// The given path of the emulator, links followed.
        Emulator = 1 "emulator",
        /// The file that ran.
        Executable = 2 "executable",
        /// A directory of QEMU modules, present or not.
        Modules = 3 "modules",
        /// The shared objects that the process had mapped.
        Libraries = 4 "libraries",
        /// The result of `memfd_create`, on which `memory-backend-memfd` of QEMU depends.
        Memfd = 5 "memfd",
        /// `/dev/kvm`, present or not.
        Kvm = 6 "kvm",
        /// The running kernel.
        Kernel = 7 "kernel",
        /// The host's CPU and its microcode.
        Cpu = 8 "cpu",
        /// A file that the executable was reached through: an interpreter, a script, a link, a
        /// candidate on `PATH`, a file that a script names or reads; present or not.
        Route = 11 "route",
        /// The environment that the emulator was started with, as far as its answers depend on it.
        Environment = 12 "environment",
        /// Answers that the prober could not get for lack of memory, processes, descriptors,
        /// processor time or permissions.
        Incomplete = 13 "incomplete",
    }
}

/// A set of [`Group`]s.
///
/// ```
/// use capscache_format::{Group, Groups};
/// let groups = Groups::DEVICES | Groups::OBJECTS;
/// assert!(groups.contains(Group::Devices) && !groups.contains(Group::CpuModels));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Groups(u8);

impl Groups {
    /// The core group alone, which every entry has.
    pub const CORE: Groups = Groups(0);
    /// [`Group::Devices`].
    pub const DEVICES: Groups = Groups(1);
    /// [`Group::Objects`].
    pub const OBJECTS: Groups = Groups(2);
    /// [`Group::CpuModels`].
    pub const CPU_MODELS: Groups = Groups(4);
    /// All groups.
    pub const ALL: Groups = Groups(7);

    /// Returns true if the set has `group`; it always has the core group.
    pub fn contains(self, group: Group) -> bool {
        let one = Groups::from(group);
        self.0 & one.0 == one.0
    }

    /// The set with these bits, as [`Groups::bits`] returns them; `None` for bits of unknown groups.
    pub(crate) fn from_bits(bits: u8) -> Option<Groups> {
        (bits & !Groups::ALL.0 == 0).then_some(Groups(bits))
    }

    /// One bit for each group beyond the core group.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The groups of `self` that are not in `other`.
    #[must_use]
    pub fn without(self, other: Groups) -> Groups {
        Groups(self.0 & !other.0)
    }

    /// Returns true for the core group alone.
    pub fn is_core(self) -> bool {
        self.0 == 0
    }

    /// The groups of the set, the core group first.
    pub fn iter(self) -> impl Iterator<Item = Group> {
        Group::ALL.iter().copied().filter(move |group| self.contains(*group))
    }
}

impl From<Group> for Groups {
    fn from(group: Group) -> Groups {
        match group {
            Group::Core => Groups::CORE,
            Group::Devices => Groups::DEVICES,
            Group::Objects => Groups::OBJECTS,
            Group::CpuModels => Groups::CPU_MODELS,
        }
    }
}

impl std::ops::BitOr for Groups {
    type Output = Groups;

    fn bitor(self, other: Groups) -> Groups {
        Groups(self.0 | other.0)
    }
}
