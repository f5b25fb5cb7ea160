//! The address of a device, as properties.

use capscache_domain::{Address, ControllerModel, ControllerType, DiskBus};

use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// Adds the properties of the address of a device.
pub(super) fn add(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    props: &mut Props,
) -> Result<(), Error> {
    match device.address() {
        Some(Address::Pci(pci)) => {
            props.set("bus", cx.pci_bus(pci));
            if let Some(multifunction) = pci.multifunction {
                props.set("multifunction", multifunction == capscache_domain::Switch::On);
            }
            props.set(
                "addr",
                match pci.function {
                    0 => format!("0x{:x}", pci.slot),
                    function => format!("0x{:x}.0x{function:x}", pci.slot),
                },
            );
            let index: Option<u32> = device.view.number("acpi@index")?;
            props.set_some("acpi-index", index.filter(|index| *index > 0));
        }
        Some(Address::Usb(usb)) => {
            let controller = cx.controller(ControllerType::Usb, usb.bus);
            let alias = controller.map_or_else(|| "usb".to_owned(), |c| c.alias().to_owned());
            props.set("bus", format!("{alias}.0"));
            let port = usb.port.to_string();
            props.set_some("port", (!port.is_empty()).then_some(port));
        }
        Some(Address::SpaprVio(vio)) => props.set_some("reg", vio.reg),
        Some(Address::Ccw(ccw)) => props.set("devno", ccw.to_string()),
        Some(Address::Isa(isa)) => {
            props.set("iobase", isa.iobase.unwrap_or(0));
            props.set_some("irq", isa.irq.filter(|irq| *irq > 0));
        }
        Some(Address::Dimm(dimm)) => {
            props.set("slot", dimm.slot.unwrap_or(0));
            props.set_some("addr", dimm.base.filter(|base| *base > 0));
        }
        Some(Address::VirtioSerial(serial)) => {
            let controller = cx.controller(ControllerType::VirtioSerial, serial.controller);
            let alias = controller.map(DeviceView::alias).unwrap_or_default();
            props.set("bus", format!("{alias}.{}", serial.bus));
            props.set("nr", serial.port);
        }
        Some(address @ (Address::Drive(_) | Address::Ccid(_))) => {
            let what = format!("the device cannot be at an address of the type {}", address.kind());
            return Err(device.view.unsupported("address", what));
        }
        None | Some(Address::VirtioMmio | Address::VirtioS390 | Address::Unassigned) => {}
        Some(_) => {
            return Err(device.view.unsupported("address", "this type is not supported here"));
        }
    }
    Ok(())
}

/// Adds the properties of an address on the controller of a bus of disks.
pub(super) fn add_drive(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    bus: DiskBus,
    props: &mut Props,
) -> Result<(), Error> {
    let Some(Address::Drive(drive)) = device.address() else { return add(cx, device, props) };
    let parts = [drive.controller, drive.bus, drive.target, drive.unit];
    if parts.iter().any(|part| i32::try_from(*part).is_err()) {
        return Err(device.view.invalid("address", "one of its numbers is too large"));
    }
    let alias = |r#type| {
        let controller = cx.controller(r#type, drive.controller);
        controller.map(DeviceView::alias).unwrap_or_default()
    };
    match bus {
        DiskBus::Ide => {
            let controller = if cx.machine.has_ide() { "ide" } else { alias(ControllerType::Ide) };
            props.set("bus", format!("{controller}.{}", drive.bus));
            props.set("unit", drive.unit);
        }
        DiskBus::Sata => {
            let is_built_in = cx.machine.is_q35() && drive.controller == 0;
            let controller = if is_built_in { "ide" } else { alias(ControllerType::Sata) };
            props.set("bus", format!("{controller}.{}", drive.unit));
        }
        DiskBus::Fdc => props.set("unit", drive.unit),
        DiskBus::Scsi => {
            let controller = cx.controller(ControllerType::Scsi, drive.controller);
            let model = controller.and_then(|c| c.typed.controller()).and_then(|c| c.model);
            match model {
                Some(
                    ControllerModel::Lsilogic
                    | ControllerModel::Ncr53c90
                    | ControllerModel::Dc390
                    | ControllerModel::Am53c974,
                ) => {
                    props.set("bus", format!("{}.{}", alias(ControllerType::Scsi), drive.bus));
                    props.set("scsi-id", drive.unit);
                }
                _ => {
                    props.set("bus", format!("{}.0", alias(ControllerType::Scsi)));
                    props.set("channel", drive.bus);
                    props.set("scsi-id", drive.target);
                    props.set("lun", drive.unit);
                }
            }
        }
        _ => {
            return Err(device
                .view
                .unsupported("address", "a drive cannot have this address on its bus"));
        }
    }
    Ok(())
}
