//! The choice of a machine type and an accelerator (`virQEMUCapsCacheLookupDefault` in `src/qemu/qemu_capabilities.c`).

use std::fmt;

use crate::caps::{AcceleratorCaps, QemuCaps};

/// The accelerator of a domain: the `type` of its `<domain>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtType {
    /// TCG.
    Qemu,
    /// KVM.
    Kvm,
    /// Apple's Hypervisor framework.
    Hvf,
}

impl VirtType {
    /// The name in the XML.
    pub fn name(self) -> &'static str {
        match self {
            VirtType::Qemu => "qemu",
            VirtType::Kvm => "kvm",
            VirtType::Hvf => "hvf",
        }
    }

    /// Returns true for hardware.
    pub(super) fn is_accelerated(self) -> bool {
        self != VirtType::Qemu
    }

    /// Returns the capabilities under the accelerator.
    pub(super) fn of(self, caps: &QemuCaps) -> &AcceleratorCaps {
        match self {
            VirtType::Qemu => &caps.tcg,
            VirtType::Kvm => &caps.kvm,
            VirtType::Hvf => &caps.hvf,
        }
    }

    /// The flag of emulators that have the accelerator here.
    fn flag(self) -> &'static str {
        match self {
            VirtType::Qemu => "tcg",
            VirtType::Kvm => "kvm",
            VirtType::Hvf => "hvf",
        }
    }
}

impl fmt::Display for VirtType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A machine type under an accelerator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The accelerator.
    pub virt_type: VirtType,
    /// The name of the machine type, not an alias.
    pub machine: String,
}

/// The reason why an emulator has no such domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// The emulator does not run under the accelerator here.
    #[error(
        "cannot describe domains of type {virt_type}: the emulator does not run under it on this host; the default \
         is the best one that it runs under"
    )]
    VirtType {
        /// The requested accelerator.
        virt_type: VirtType,
    },
    /// The emulator has no such machine type.
    #[error(
        "cannot describe domains of the machine type {machine:?}: libvirt does not find it under {virt_type}; \
         `capscache inspect EMULATOR machines` lists those of the emulator, of which libvirt uses all but \"none\""
    )]
    Machine {
        /// The requested name.
        machine: String,
        /// The accelerator.
        virt_type: VirtType,
    },
    /// The emulator reported no machine type.
    #[error("cannot describe domains: the emulator has no machine type under {virt_type}")]
    NoMachines {
        /// The accelerator.
        virt_type: VirtType,
    },
}

impl Domain {
    /// Chooses as libvirt does. The default accelerator is KVM, else Apple's framework, else TCG; the default machine is
    /// libvirt's preferred one. `machine` may be an alias.
    ///
    /// # Errors
    /// [`DomainError`].
    pub fn of(
        caps: &QemuCaps,
        machine: Option<&str>,
        virt_type: Option<VirtType>,
    ) -> Result<Domain, DomainError> {
        let has = |virt_type: &VirtType| caps.flags.has(virt_type.flag());
        let best = [VirtType::Kvm, VirtType::Hvf].into_iter().find(has).unwrap_or(VirtType::Qemu);
        let virt_type = virt_type.unwrap_or(best);
        if !has(&virt_type) {
            return Err(DomainError::VirtType { virt_type });
        }
        let machines = &virt_type.of(caps).machines;
        let found = match machine {
            None => machines.first().ok_or(DomainError::NoMachines { virt_type })?,
            Some(name) => {
                let of_alias = machines.iter().find(|own| own.alias.as_deref() == Some(name));
                let found = of_alias.or_else(|| machines.iter().find(|own| own.name == name));
                let unknown = || DomainError::Machine { machine: name.to_owned(), virt_type };
                found.ok_or_else(unknown)?
            }
        };
        Ok(Domain { virt_type, machine: found.name.clone() })
    }
}
