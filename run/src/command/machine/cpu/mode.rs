//! Modes of CPUs.

/// The kind of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A model by its name.
    Custom,
    /// The CPU of the host.
    Passthrough,
    /// The best CPU that the emulator has.
    Maximum,
    /// A model close to the CPU of the host.
    HostModel,
}

impl Mode {
    /// Returns whether the CPU is that of the host or the emulator, without a model.
    pub(super) fn is_of_host(self) -> bool {
        matches!(self, Mode::Passthrough | Mode::Maximum)
    }
}
