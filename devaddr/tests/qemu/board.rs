//! Machines of QEMU: the names of their buses, and what is part of them.

use std::collections::BTreeMap;

use capscache_domain::{ControllerModel, ControllerType, Device, Guest, PciAddress};

/// The machine, as far as buses depend on it.
pub(crate) struct Board {
    pub(crate) arch: String,
    /// The machine type without its version.
    pub(crate) machine: String,
    /// The name of the first PCI bus.
    pub(crate) root: &'static str,
}

impl Board {
    pub(crate) fn new(guest: &Guest) -> Board {
        let arch = guest.os.arch.clone().unwrap_or_default();
        let machine = guest.os.machine.clone().unwrap_or_default();
        // Versions differ in nothing that addresses depend on, and the emulator may not have them.
        let machine = match machine.as_str() {
            m if m == "pc" || m.starts_with("pc-i440fx") || m.starts_with("pc-1") => "pc",
            m if m == "q35" || m.starts_with("pc-q35") => "q35",
            m if m.starts_with("virt-") => "virt",
            m if m.starts_with("pseries") => "pseries",
            m if m.starts_with("s390-ccw") => "s390-ccw-virtio",
            m => m,
        };
        let root = match machine {
            "q35" | "virt" => "pcie.0",
            m if m == "versatilepb" || m.starts_with("realview") => "pci",
            _ => "pci.0",
        };
        Board { arch, machine: machine.to_owned(), root }
    }

    pub(crate) fn is_x86(&self) -> bool {
        matches!(self.arch.as_str(), "x86_64" | "i686")
    }
}

/// The models of controllers.
pub(crate) type Models = BTreeMap<(ControllerType, u32), ControllerModel>;

/// Returns the models of a guest's controllers.
pub(crate) fn models(guest: &Guest) -> Models {
    let models = guest.devices.iter().filter_map(|device| {
        let controller = device.controller()?;
        Some(((controller.r#type, controller.index?), controller.model?))
    });
    models.collect()
}

/// Returns the name of a PCI bus.
pub(crate) fn pci_bus(board: &Board, index: u32, models: &Models) -> String {
    match (index, models.get(&(ControllerType::Pci, index))) {
        (0, _) => board.root.to_owned(),
        (_, Some(ControllerModel::PciRoot)) => format!("pci.{index}.0"),
        _ => format!("pci.{index}"),
    }
}

/// Returns the PCI address of a controller that is part of the machine.
pub(crate) fn part<'d>(board: &Board, device: &'d Device) -> Option<&'d PciAddress> {
    let controller = device.controller()?;
    let pci = device.address.as_ref()?.pci()?;
    let is_part = match (controller.r#type, board.machine.as_str()) {
        (ControllerType::Ide, "pc") | (ControllerType::Sata, "q35") => controller.index == Some(0),
        _ => false,
    };
    is_part.then_some(pci)
}

/// Returns the NUMA node of an expander.
pub(crate) fn node(board: &Board, device: &Device) -> Option<u32> {
    let controller = device.controller()?;
    let is_expander = matches!(
        controller.model,
        Some(ControllerModel::PciExpanderBus | ControllerModel::PcieExpanderBus)
    );
    controller.node.filter(|_| is_expander && (board.is_x86() || board.arch == "aarch64"))
}
