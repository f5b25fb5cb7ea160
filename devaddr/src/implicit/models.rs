//! Models, buses and drive addresses that devices do not name.

use std::collections::HashSet;

use capscache_domain::{
    Address, Console, ConsoleType, Controller, ControllerModel, ControllerType, DeviceKind,
    DiskBus, DriveAddress, HostdevType, InputBus, InputType, InterfaceType, Kind, PanicModel,
    SerialType, TpmModel, VideoModel,
};

use super::controllers::MAX_INDEX;
use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::facts::Part;
use crate::machine::{Board, Family};
use crate::plan::Plan;
use crate::policy::Definition;
use crate::target::{SCSI_UNITS, disk_index, drive_address};

/// The largest number of ports of an xHCI controller.
const MAX_XHCI_PORTS: u32 = 15;

/// The number of ISA serial ports of a machine.
const MAX_ISA_PORTS: u32 = 4;

/// Completes the models of the devices that the guest names, and the addresses of drives.
pub(super) fn complete(plan: &mut Plan<'_>) -> Result<(), Error> {
    for id in plan.devices.ids(Kind::Disk) {
        place_disk(plan, id)?;
    }
    let machine_net = net(plan);
    for id in plan.devices.ids(Kind::Interface) {
        if let DeviceKind::Interface(interface) = &mut plan.devices.get_mut(id).device
            && interface.model.is_none()
            && interface.r#type != InterfaceType::Hostdev
        {
            let is_virtio =
                matches!(interface.r#type, InterfaceType::Vdpa | InterfaceType::Vhostuser);
            let model = if is_virtio { "virtio" } else { machine_net };
            interface.model = Some(model.to_owned());
        }
    }
    let machine_video = video(plan);
    for id in plan.devices.ids(Kind::Video) {
        if let DeviceKind::Video(video) = &mut plan.devices.get_mut(id).device {
            video.model = video.model.or(machine_video);
        }
    }
    complete_controllers(plan)?;
    place_scsi_hostdevs(plan)?;
    number_isa_ports(plan);
    for id in plan.devices.ids(Kind::Serial) {
        serial(plan, id);
    }
    complete_inputs(plan);
    complete_ports(plan);
    for id in plan.devices.ids(Kind::Panic) {
        complete_panic(plan, id)?;
    }
    let tpm_model = match plan.machine.family {
        Family::Ppc64 => TpmModel::Spapr,
        _ => TpmModel::Tis,
    };
    for id in plan.devices.ids(Kind::Tpm) {
        if let DeviceKind::Tpm(tpm) = &mut plan.devices.get_mut(id).device {
            tpm.model.get_or_insert(tpm_model);
        }
    }
    Ok(())
}

/// Completes the models of controllers, whether the guest names them or not.
pub(super) fn complete_controllers(plan: &mut Plan<'_>) -> Result<(), Error> {
    for id in plan.devices.ids(Kind::Controller) {
        let Some(controller) = plan.devices.controller(id) else { continue };
        let (index, ports) = (controller.index, controller.ports);
        match (controller.r#type, controller.model) {
            (ControllerType::Scsi, None | Some(ControllerModel::Auto)) => {
                let model = scsi(plan).ok_or_else(|| Error::NoDefaultModel {
                    device: plan.describe(id),
                    machine: plan.machine.name.clone(),
                })?;
                set_model(plan, id, Some(model));
            }
            (ControllerType::Usb, None) => {
                let model = usb(plan, plan.address(id).is_some());
                let is_open = plan.machine.family == Family::Riscv;
                if model.is_none() && (is_open || plan.policy.definition == Definition::New) {
                    return Err(Error::NoDefaultModel {
                        device: plan.describe(id),
                        machine: plan.machine.name.clone(),
                    });
                }
                set_model(plan, id, model);
                if model == Some(ControllerModel::None) {
                    plan.devices.get_mut(id).address = None;
                }
            }
            (ControllerType::Usb, Some(ControllerModel::None)) => {
                plan.devices.get_mut(id).address = None;
            }
            (
                ControllerType::Usb,
                Some(model @ (ControllerModel::NecXhci | ControllerModel::QemuXhci)),
            ) if ports.is_some_and(|ports| ports > MAX_XHCI_PORTS) => {
                return Err(Error::Controller {
                    controller: plan.describe(id),
                    cause: format!("a {model} has at most {MAX_XHCI_PORTS} ports"),
                    remedy: "use fewer ports".to_owned(),
                });
            }
            (ControllerType::Pci, model) => {
                super::pci_controllers::check(plan, id, index.unwrap_or(0), model)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn set_model(plan: &mut Plan<'_>, id: Id, model: Option<ControllerModel>) {
    if let Some(controller) = plan.devices.controller_mut(id) {
        controller.model = model;
    }
}

/// Gives a disk the address that follows from its name.
fn place_disk(plan: &mut Plan<'_>, id: Id) -> Result<(), Error> {
    let DeviceKind::Disk(disk) = plan.kind(id) else { return Ok(()) };
    let Some(bus) = disk.bus else {
        return Err(Error::DiskName { device: plan.describe(id) });
    };
    let is_drive = matches!(bus, DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi | DiskBus::Fdc);
    if !is_drive || plan.address(id).is_some() {
        return Ok(());
    }
    let no_place = || Error::DiskName { device: plan.describe(id) };
    let index = disk_index(&disk.dev).ok_or_else(no_place)?;
    let address = drive_address(bus, index).ok_or_else(no_place)?;
    if bus == DiskBus::Scsi
        && let Some(other) = scsi_hostdev_at(plan, &address)
    {
        return Err(Error::AddressInUse {
            device: plan.describe(id),
            address: address.to_string(),
            occupant: plan.describe(other),
            free: None,
        });
    }
    plan.place(id, Address::Drive(address), Why::FromName);
    Ok(())
}

fn scsi_hostdev_at(plan: &Plan<'_>, wanted: &DriveAddress) -> Option<Id> {
    let mut hostdevs = plan.devices.of(Kind::Hostdev).iter().copied();
    hostdevs.find(|id| matches!(plan.address(*id), Some(Address::Drive(a)) if a == wanted))
}

/// Gives SCSI devices of the host the lowest free units.
fn place_scsi_hostdevs(plan: &mut Plan<'_>) -> Result<(), Error> {
    let is_scsi = |plan: &Plan<'_>, id: Id| match plan.kind(id) {
        DeviceKind::Hostdev(hostdev) => hostdev.r#type == HostdevType::Scsi,
        _ => false,
    };
    let mut used: Option<HashSet<(u32, u32)>> = None;
    // Also on controllers that are still to be added. The units before the one that is reached are taken.
    let mut units =
        (0..=MAX_INDEX).flat_map(|index| (0..SCSI_UNITS).map(move |unit| (index, unit)));
    for id in plan.devices.ids(Kind::Hostdev) {
        if !is_scsi(plan, id) || plan.address(id).is_some() {
            continue;
        }
        let used = used.get_or_insert_with(|| {
            let on_scsi = |id: &&Id| match plan.kind(**id) {
                DeviceKind::Disk(disk) => disk.bus == Some(DiskBus::Scsi),
                _ => is_scsi(plan, **id),
            };
            let drives = plan.devices.of(Kind::Disk).iter();
            let drives = drives.chain(plan.devices.of(Kind::Hostdev)).filter(on_scsi);
            let first_target = |id: &Id| match plan.address(*id) {
                Some(Address::Drive(a)) if a.bus == 0 && a.target == 0 => {
                    Some((a.controller, a.unit))
                }
                _ => None,
            };
            drives.filter_map(first_target).chain(own_units(plan)).collect()
        });
        let Some((controller, unit)) = units.find(|unit| !used.contains(unit)) else {
            return Err(Error::NoFreeSlot {
                device: plan.describe(id),
                place: "unit on a SCSI controller".to_owned(),
                remedy: "remove devices",
            });
        };
        let address = DriveAddress { controller, unit, ..DriveAddress::default() };
        plan.place(id, Address::Drive(address), Why::LowestNumber);
    }
    Ok(())
}

/// Returns the units that SCSI controllers lack: an lsisas1068 has two.
fn own_units(plan: &Plan<'_>) -> impl Iterator<Item = (u32, u32)> {
    let small = |c: &Controller| c.model == Some(ControllerModel::Lsisas1068);
    let controllers = plan.devices.controllers(ControllerType::Scsi);
    let indexes = controllers.filter(move |(_, c)| small(c)).filter_map(|(_, c)| c.index);
    indexes.flat_map(|index| (2..SCSI_UNITS).map(move |unit| (index, unit)))
}

fn complete_inputs(plan: &mut Plan<'_>) {
    let (family, has_ps2) = (plan.machine.family, plan.machine.has_ps2());
    for id in plan.devices.ids(Kind::Input) {
        if let DeviceKind::Input(input) = &mut plan.devices.get_mut(id).device
            && input.bus.is_none()
        {
            input.bus = match input.r#type {
                InputType::Evdev => None,
                InputType::Mouse | InputType::Keyboard if has_ps2 || family == Family::X86 => {
                    Some(InputBus::Ps2)
                }
                InputType::Passthrough => Some(InputBus::Virtio),
                _ if family == Family::S390 => Some(InputBus::Virtio),
                _ => Some(InputBus::Usb),
            };
        }
    }
}

/// Numbers the serial ports that the guest itself calls ISA ports: each gets the lowest number that no other of them has.
fn number_isa_ports(plan: &mut Plan<'_>) {
    let is_isa = |plan: &Plan<'_>, id: &Id| match plan.kind(*id) {
        DeviceKind::Serial(serial) => serial.target_type == Some(SerialType::IsaSerial),
        _ => false,
    };
    let port = |plan: &Plan<'_>, id: &Id| match plan.kind(*id) {
        DeviceKind::Serial(serial) => serial.port,
        _ => None,
    };
    let mut ids = plan.devices.ids(Kind::Serial);
    ids.retain(|id| is_isa(plan, id));
    let used: HashSet<u32> = ids.iter().filter_map(|id| port(plan, id)).collect();
    let mut free = (0..MAX_ISA_PORTS).filter(|port| !used.contains(port));
    ids.retain(|id| port(plan, id).is_none());
    for id in ids {
        if let DeviceKind::Serial(serial) = &mut plan.devices.get_mut(id).device {
            serial.port = free.next();
        }
    }
}

/// Completes types and numbers of consoles, channels and parallel ports.
fn complete_ports(plan: &mut Plan<'_>) {
    for kind in [Kind::Serial, Kind::Parallel] {
        let given = |id: &Id| match plan.kind(*id) {
            DeviceKind::Serial(serial) => serial.port,
            DeviceKind::Parallel(parallel) => parallel.port,
            _ => None,
        };
        // One more than the greatest.
        let greatest = plan.devices.of(kind).iter().filter_map(given).max();
        let mut next = greatest.map_or(0, |port| port.saturating_add(1));
        for id in plan.devices.ids(kind) {
            let port = match &mut plan.devices.get_mut(id).device {
                DeviceKind::Serial(serial) => &mut serial.port,
                DeviceKind::Parallel(parallel) => &mut parallel.port,
                _ => continue,
            };
            if port.is_none() {
                *port = Some(next);
                next = next.saturating_add(1);
            }
        }
    }
    for id in plan.devices.ids(Kind::Console) {
        if let DeviceKind::Console(Console { target_type, .. }) =
            &mut plan.devices.get_mut(id).device
        {
            target_type.get_or_insert(ConsoleType::Serial);
        }
    }
}

/// Completes the type and the model of a serial port.
pub(super) fn serial(plan: &mut Plan<'_>, id: Id) {
    let (family, board) = (plan.machine.family, plan.machine.board);
    let DeviceKind::Serial(serial) = &mut plan.devices.get_mut(id).device else { return };
    // An ISA port was once the default everywhere, and still stands for the machine's own.
    if matches!(serial.target_type, None | Some(SerialType::IsaSerial)) {
        serial.target_type = match (family, board) {
            (Family::X86, _) => Some(SerialType::IsaSerial),
            (_, Board::Pseries) => Some(SerialType::SpaprVioSerial),
            (_, Board::Virt) => Some(SerialType::SystemSerial),
            (Family::S390, _) => Some(SerialType::SclpSerial),
            _ => None,
        };
    }
    let model = match (serial.target_type, family) {
        (Some(SerialType::IsaSerial), _) => "isa-serial",
        (Some(SerialType::UsbSerial), _) => "usb-serial",
        (Some(SerialType::PciSerial), _) => "pci-serial",
        (Some(SerialType::SpaprVioSerial), _) => "spapr-vty",
        (Some(SerialType::SystemSerial), Family::Arm) => "pl011",
        (Some(SerialType::SystemSerial), _) => "16550a",
        (Some(SerialType::SclpSerial), _) => "sclpconsole",
        (Some(SerialType::IsaDebug), _) => "isa-debugcon",
        _ => return,
    };
    if serial.target_model.is_none() {
        serial.target_model = Some(model.to_owned());
    }
}

/// Returns the model of a panic notifier on this machine.
pub(super) fn panic(plan: &Plan<'_>) -> Option<PanicModel> {
    match (plan.machine.family, plan.machine.board) {
        (_, Board::Pseries) => Some(PanicModel::Pseries),
        (Family::S390, _) => Some(PanicModel::S390),
        (Family::X86, _) => Some(PanicModel::Isa),
        _ => None,
    }
}

fn complete_panic(plan: &mut Plan<'_>, id: Id) -> Result<(), Error> {
    let model = panic(plan);
    let machine = plan.machine.name.clone();
    let device = plan.describe(id);
    let address = plan.address(id).map(ToString::to_string);
    let DeviceKind::Panic(panic) = &mut plan.devices.get_mut(id).device else { return Ok(()) };
    panic.model = panic.model.or(model);
    match (panic.model, address) {
        (None, _) => Err(Error::NoDefaultModel { device, machine }),
        (Some(PanicModel::Pseries | PanicModel::S390 | PanicModel::Hyperv), Some(address)) => {
            Err(Error::WrongAddressType { device, address, expected: "no address" })
        }
        _ => Ok(()),
    }
}

/// Returns the model of a network interface on this machine.
fn net(plan: &Plan<'_>) -> &'static str {
    let has = |part| plan.facts.has(part);
    match (plan.machine.family, plan.machine.board) {
        (Family::S390, _) | (_, Board::Virt) => "virtio",
        (Family::Arm, _) if plan.machine.name == "versatilepb" => "smc91c111",
        (Family::Arm, _) => "lan9118",
        _ if has(Part::Rtl8139) => "rtl8139",
        _ if has(Part::E1000) => "e1000",
        _ if has(Part::VirtioNet) => "virtio",
        _ => "rtl8139",
    }
}

/// Returns the model of a video device on this machine.
pub(super) fn video(plan: &Plan<'_>) -> Option<VideoModel> {
    match (plan.machine.family, plan.machine.board) {
        (Family::Ppc64, _) => Some(VideoModel::Vga),
        (Family::S390, _) | (_, Board::Virt) => Some(VideoModel::Virtio),
        _ if plan.facts.has(Part::Cirrus) => Some(VideoModel::Cirrus),
        _ if plan.facts.has(Part::Vga) => Some(VideoModel::Vga),
        _ => None,
    }
}

/// Returns the model of a SCSI controller on this machine.
fn scsi(plan: &Plan<'_>) -> Option<ControllerModel> {
    match (plan.machine.family, plan.machine.board) {
        _ if plan.machine.has_builtin_scsi() => Some(ControllerModel::Ncr53c90),
        (_, Board::Pseries) => Some(ControllerModel::Ibmvscsi),
        (Family::S390, _) | (Family::Loongarch, Board::Virt) => Some(ControllerModel::VirtioScsi),
        _ if plan.facts.has(Part::Lsi) => Some(ControllerModel::Lsilogic),
        _ if plan.facts.has(Part::VirtioScsi) => Some(ControllerModel::VirtioScsi),
        _ => None,
    }
}

/// USB controllers, by the QOM types that decide whether they can be chosen.
pub(super) const XHCI: (Part, ControllerModel) = (Part::QemuXhci, ControllerModel::QemuXhci);
pub(super) const NEC: (Part, ControllerModel) = (Part::NecXhci, ControllerModel::NecXhci);
pub(super) const OHCI: (Part, ControllerModel) = (Part::PciOhci, ControllerModel::PciOhci);
pub(super) const PIIX3: (Part, ControllerModel) = (Part::Piix3Uhci, ControllerModel::Piix3Uhci);

/// Returns the model of a USB controller that names none; `None` if it is left to QEMU.
pub(super) fn usb(plan: &Plan<'_>, has_address: bool) -> Option<ControllerModel> {
    let first = |parts| plan.facts.first::<ControllerModel>(parts);
    match plan.machine.family {
        Family::S390 if !has_address => Some(ControllerModel::None),
        Family::Ppc64 if plan.policy.definition == Definition::New => first(&[XHCI, NEC, OHCI]),
        Family::Ppc64 => first(&[OHCI]),
        // piix3-uhci or qemu-xhci: libvirt's choice is not certain.
        Family::Riscv => None,
        Family::Loongarch => first(&[XHCI, NEC, OHCI]),
        _ if plan.machine.arch == "aarch64" => first(&[XHCI, NEC, PIIX3, OHCI]),
        _ => first(&[PIIX3, OHCI]),
    }
}
