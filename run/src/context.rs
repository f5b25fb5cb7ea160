//! The guest, the emulator and the host that the options of a command line depend on.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use capscache_devaddr::Machine;
use capscache_domain::{
    Address, ControllerModel, ControllerType, Device, DeviceKind, DomainType, Guest, Kind,
    PciAddress,
};
use capscache_format::{Accelerated, Accelerator, Entry, Machine as MachineType, Tri};
use capscache_libvirt::Release;

use crate::error::Error;
use crate::host::{Firmware, Host};
use crate::secret::Secrets;
use crate::view::View;

/// The release of libvirt whose command lines and flags are the reference.
pub(crate) const LIBVIRT: Release = Release::V11_3;

/// The greatest number of CPUs of x86 without extended interrupts.
pub(crate) const MAX_CPUS_WITHOUT_EIM: u32 = 255;

/// A completed guest, its emulator, and its host.
pub(crate) struct Context<'a> {
    pub(crate) guest: &'a Guest,
    /// The `<domain>`.
    pub(crate) domain: View<'a>,
    /// The devices in libvirt's order.
    pub(crate) devices: Vec<DeviceView<'a>>,
    /// The controllers by type and index.
    pub(crate) controllers: Controllers<'a>,
    pub(crate) machine: &'a Machine,
    pub(crate) entry: &'a Entry<&'a [u8]>,
    pub(crate) host: &'a Host,
    /// The descriptions of firmware on the host, once they were read.
    pub(crate) firmware: OnceCell<Vec<Firmware>>,
    /// The numbers of I/O threads, once they were read.
    pub(crate) iothreads: OnceCell<BTreeSet<u32>>,
    /// True for a guest that is defined anew.
    pub(crate) is_new: bool,
    pub(crate) secrets: &'a dyn Secrets,
}

/// Returns the accelerator of a guest.
pub(crate) fn accelerator(guest: &Guest) -> Accelerator {
    match guest.r#type {
        DomainType::Kvm => Accelerator::Kvm,
        DomainType::Hvf => Accelerator::Hvf,
        _ => Accelerator::Tcg,
    }
}

/// Controllers by type and index; of several ones the first.
pub(crate) type Controllers<'a> = HashMap<(ControllerType, u32), DeviceView<'a>>;

/// Returns the controllers among devices.
pub(crate) fn controllers<'a>(devices: &[DeviceView<'a>]) -> Controllers<'a> {
    let mut controllers = HashMap::new();
    for device in devices {
        if let Some(controller) = device.typed.controller()
            && let Some(index) = controller.index
        {
            controllers.entry((controller.r#type, index)).or_insert(*device);
        }
    }
    controllers
}

/// A device: its typed facts, and its element.
#[derive(Clone, Copy)]
pub(crate) struct DeviceView<'a> {
    pub(crate) typed: &'a Device,
    pub(crate) view: View<'a>,
}

impl<'a> DeviceView<'a> {
    /// The id of the device in QEMU.
    pub(crate) fn alias(self) -> &'a str {
        self.view.ignore(&["alias@name"]);
        self.typed.alias.as_deref().unwrap_or_default()
    }

    /// The kind with its typed facts; reading these is not recorded.
    pub(crate) fn kind(self) -> &'a DeviceKind {
        &self.typed.device
    }

    /// The address.
    pub(crate) fn address(self) -> Option<&'a Address> {
        self.view.ignore_children("address");
        self.typed.address.as_ref()
    }
}

impl<'a> Context<'a> {
    /// Returns the devices of a kind, and records that they are read.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = DeviceView<'a>> {
        let of_kind = move |device: &DeviceView<'a>| device.typed.device.kind() == kind;
        self.devices.iter().copied().filter(of_kind).inspect(|device| {
            device.view.read();
        })
    }

    /// Returns the descriptions of firmware on the host.
    pub(crate) fn firmware(&self) -> &[Firmware] {
        self.firmware.get_or_init(self.host.firmware)
    }

    /// Returns the only device of a kind.
    pub(crate) fn only(&self, kind: Kind) -> Result<Option<DeviceView<'a>>, Error> {
        let mut devices = self.of(kind);
        let first = devices.next();
        match devices.next() {
            Some(second) => {
                Err(second.view.invalid("", "a guest has at most one such device; remove it"))
            }
            None => Ok(first),
        }
    }

    /// Returns the capabilities under the accelerator of the guest, if it was probed.
    pub(crate) fn accelerated(&self) -> Option<Accelerated<'a>> {
        self.entry.accelerator(self.accelerator()).ok()
    }

    /// Returns the machine type as the emulator reports it.
    pub(crate) fn machine_type(&self) -> Option<MachineType<'a>> {
        self.accelerated()?.machine(&self.machine.name).ok()
    }

    /// Returns the accelerator of the guest.
    pub(crate) fn accelerator(&self) -> Accelerator {
        accelerator(self.guest)
    }

    /// Returns whether the emulator has what a flag of libvirt stands for, by libvirt's name of the flag.
    pub(crate) fn has_flag(&self, name: &str) -> bool {
        capscache_libvirt::flag(self.entry, name, LIBVIRT).is_ok_and(Tri::is_yes)
    }

    /// Returns whether the emulator has a device.
    pub(crate) fn has_device(&self, driver: &str) -> bool {
        Tri::from(&self.entry.qom_type(driver)).is_yes()
    }

    /// Returns whether a device of the emulator has a property.
    pub(crate) fn has_property(&self, driver: &str, property: &str) -> bool {
        self.entry.device(driver).and_then(|device| device.property(property)).is_ok()
    }

    /// Checks that the emulator has a device which an element needs.
    pub(crate) fn require_device(&self, view: View<'a>, driver: &str) -> Result<(), Error> {
        match Tri::from(&self.entry.qom_type(driver)) {
            Tri::No => Err(view
                .lacks("", format!("the device {driver}; use another model, or another emulator"))),
            Tri::Yes | Tri::Unknown => Ok(()),
        }
    }

    /// Returns a controller.
    pub(crate) fn controller(&self, r#type: ControllerType, index: u32) -> Option<DeviceView<'a>> {
        self.controllers.get(&(r#type, index)).copied()
    }

    /// Returns the name of the bus that an address is on.
    pub(crate) fn pci_bus(&self, address: &PciAddress) -> String {
        let controller = self.controller(ControllerType::Pci, address.bus);
        let of = |device: &DeviceView<'a>| {
            device.typed.controller().map(|c| (c.model, c.target_index.unwrap_or(0)))
        };
        let numbered = self.machine.has_numbered_pci();
        match (controller, controller.as_ref().and_then(of)) {
            (Some(device), Some((Some(ControllerModel::PciRoot), target))) => match target {
                0 if numbered => "pci.0".to_owned(),
                0 => "pci".to_owned(),
                _ => format!("{}.0", device.alias()),
            },
            (Some(_), Some((Some(ControllerModel::PcieRoot), _))) => "pcie.0".to_owned(),
            (Some(device), _) => device.alias().to_owned(),
            (None, _) if numbered => format!("pci.{}", address.bus),
            (None, _) => "pci".to_owned(),
        }
    }
}
