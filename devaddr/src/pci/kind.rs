//! Kinds of PCI devices and slots.

use capscache_domain::ControllerModel;

/// Defines the names of the kinds, in the order of their bits, and the names of their slots.
macro_rules! names {
    ($($name:literal,)+) => {
        const NAMES: &[&str] = &[$($name),+];
        const SLOTS: &[&str] = &[$(concat!("a slot for ", $name)),+];
    };
}

names! {
    "conventional PCI devices",
    "PCIe devices",
    "pcie-root-port",
    "pcie-switch-upstream-port",
    "pcie-switch-downstream-port",
    "dmi-to-pci-bridge",
    "pci-bridge",
    "pcie-to-pci-bridge",
    "pci-expander-bus",
    "pcie-expander-bus",
}

/// A set of kinds of PCI devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kinds(u16);

impl Kinds {
    pub(crate) const CONVENTIONAL: Kinds = Kinds(1);
    pub(crate) const EXPRESS: Kinds = Kinds(1 << 1);
    pub(crate) const ROOT_PORT: Kinds = Kinds(1 << 2);
    pub(crate) const UPSTREAM_PORT: Kinds = Kinds(1 << 3);
    pub(crate) const DOWNSTREAM_PORT: Kinds = Kinds(1 << 4);
    pub(crate) const DMI_BRIDGE: Kinds = Kinds(1 << 5);
    pub(crate) const BRIDGE: Kinds = Kinds(1 << 6);
    pub(crate) const PCIE_TO_PCI: Kinds = Kinds(1 << 7);
    pub(crate) const EXPANDER: Kinds = Kinds(1 << 8);
    pub(crate) const PCIE_EXPANDER: Kinds = Kinds(1 << 9);
    pub(crate) const ENDPOINTS: Kinds = Kinds(0b11);

    pub(crate) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(crate) fn has_any(self, of: Kinds) -> bool {
        self.0 & of.0 != 0
    }

    /// Returns the names of the kinds, for a message.
    pub(crate) fn names(self) -> Box<[&'static str]> {
        let named = NAMES.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1);
        named.map(|(_, name)| *name).collect()
    }

    /// Returns the name of the slots of the first of the kinds.
    pub(crate) fn slot(self) -> &'static str {
        let first = usize::try_from(self.0.trailing_zeros()).unwrap_or(0);
        SLOTS.get(first).copied().unwrap_or("no slot")
    }
}

/// Requirements of a device for its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Need {
    /// The kinds of slots of which one is required; none for a device that is not on PCI.
    pub(crate) kinds: Kinds,
    /// True if the bus must be one that devices get addresses on if they name none.
    pub(crate) auto: bool,
    /// True if the device is part of the root bus.
    pub(crate) integrated: bool,
    /// True if it shares a slot with others like it.
    pub(crate) packs: bool,
    /// The required hotplug of the port.
    pub(crate) hotplug: Option<bool>,
    /// The NUMA node that the bus must belong to, or `Some(None)` for a bus of no node.
    pub(crate) node: Option<Option<u32>>,
    /// The index of the controller, if its own bus could be taken for one that it may be on.
    pub(crate) index: Option<u32>,
}

impl Need {
    pub(crate) const NONE: Need = Need {
        kinds: Kinds(0),
        auto: false,
        integrated: false,
        packs: false,
        hotplug: None,
        node: None,
        index: None,
    };

    pub(crate) const CONVENTIONAL: Need =
        Need { kinds: Kinds::CONVENTIONAL, auto: true, ..Need::NONE };

    pub(crate) const EXPRESS: Need = Need { kinds: Kinds::EXPRESS, auto: true, ..Need::NONE };

    /// Returns the needs of a PCI controller.
    pub(crate) fn of_controller(model: ControllerModel, index: Option<u32>) -> Need {
        let kinds = match model {
            ControllerModel::PciBridge => Kinds::BRIDGE,
            ControllerModel::DmiToPciBridge => Kinds::DMI_BRIDGE,
            ControllerModel::PcieToPciBridge => Kinds::PCIE_TO_PCI,
            ControllerModel::PcieRootPort => Kinds::ROOT_PORT,
            ControllerModel::PcieSwitchUpstreamPort => Kinds::UPSTREAM_PORT,
            ControllerModel::PcieSwitchDownstreamPort => Kinds::DOWNSTREAM_PORT,
            ControllerModel::PciExpanderBus => Kinds::EXPANDER,
            ControllerModel::PcieExpanderBus => Kinds::PCIE_EXPANDER,
            _ => return Need::NONE,
        };
        let index = index.filter(|_| kinds.has_any(Kinds::BRIDGE.or(Kinds::UPSTREAM_PORT)));
        Need { kinds, packs: model == ControllerModel::PcieRootPort, index, ..Need::NONE }
    }

    pub(crate) fn is_none(self) -> bool {
        self.kinds == Kinds(0)
    }
}
