//! Devices of virtio: their names by transport and interface, and the options that all of them have.

use capscache_domain::Address;

use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// The interface of a virtio device on PCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Default,
    Transitional,
    NonTransitional,
}

/// The models of virtio devices in libvirt's words.
pub(super) const MODELS: &[&str] = &["virtio", "virtio-transitional", "virtio-non-transitional"];

impl Interface {
    /// Reads the model of a device that can only be one of virtio.
    pub(super) fn read(view: View<'_>) -> Result<Interface, Error> {
        Ok(Interface::of(view.one_of("@model", MODELS)?))
    }

    /// Returns the interface of a model in libvirt's words.
    pub(super) fn of(model: Option<&str>) -> Interface {
        match model {
            Some("virtio-transitional") => Interface::Transitional,
            Some("virtio-non-transitional") => Interface::NonTransitional,
            _ => Interface::Default,
        }
    }
}

/// Starts the properties of a virtio device: `driver`, and the options of its element `<driver>`.
pub(super) fn device(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    base: &str,
    interface: Interface,
) -> Result<Props, Error> {
    let view = device.view;
    let transport = match device.address() {
        Some(Address::Pci(_)) => "pci",
        Some(Address::VirtioMmio) => "device",
        Some(Address::Ccw(_)) => "ccw",
        _ => {
            return Err(
                view.unsupported("address", "a virtio device cannot have an address of this type")
            );
        }
    };
    if interface != Interface::Default && transport != "pci" {
        return Err(
            view.unsupported("@model", "only devices on PCI have a (non-)transitional model")
        );
    }
    // A QEMU without the types (before 4.0) has the default one for all.
    let suffix = match interface {
        Interface::Default => "",
        Interface::Transitional => "-transitional",
        Interface::NonTransitional => "-non-transitional",
    };
    let driver = format!("{base}-{transport}{suffix}");
    cx.require_device(view, &driver)?;
    let mut props = Props::device(driver);
    add_options(device, &mut props)?;
    Ok(props)
}

/// Adds the options that all virtio devices have.
pub(super) fn add_options(device: DeviceView<'_>, props: &mut Props) -> Result<(), Error> {
    let view = device.view;
    props.set_some("iommu_platform", view.switch("driver@iommu")?);
    props.set_some("ats", view.switch("driver@ats")?);
    props.set_some("packed", view.switch("driver@packed")?);
    props.set_some("page-per-vq", view.switch("driver@page_per_vq")?);
    Ok(())
}
