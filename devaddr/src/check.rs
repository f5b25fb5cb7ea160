//! Checks of given addresses: ranges, and types that each kind of device and the machine can have.

use capscache_domain::{
    Address, AddressType, ControllerModel, ControllerType, Device, DeviceKind, DiskBus,
    FilesystemDriver, HostdevModel, HostdevType, InputBus, IommuModel, MemoryModel, OutOfRange,
    PanicModel, SerialType, SoundModel, VideoModel, WatchdogModel,
};

use crate::describe::describe;
use crate::devices::Id;
use crate::error::Error;
use crate::machine::{Board, Family};
use crate::plan::Plan;
use crate::virtio::is_virtio_interface;

const VIRTIO: &[AddressType] =
    &[AddressType::Pci, AddressType::Ccw, AddressType::VirtioMmio, AddressType::VirtioS390];

/// The largest number of devices: no machine has room for more, and no guest should take long to refuse.
const MAX_DEVICES: u32 = 16384;

/// Refuses guests with too many devices, and addresses with a part that is out of its range.
pub(crate) fn check_ranges(devices: &[Device]) -> Result<(), Error> {
    if devices.len() > MAX_DEVICES as usize {
        let (what, found) = ("the number of devices", devices.len());
        return Err(Error::TooMany { what, found, limit: MAX_DEVICES });
    }
    for device in devices {
        let Some(address) = &device.address else { continue };
        if let Some(OutOfRange { part, found, max }) = address.out_of_range() {
            let (device, address) = (describe(device), address.to_string());
            return Err(Error::NotAnAddress { device, address, part, found, max });
        }
    }
    Ok(())
}

/// Refuses addresses of types that devices cannot have.
pub(crate) fn check_types(plan: &Plan<'_>) -> Result<(), Error> {
    for (id, device) in plan.devices.iter() {
        let Some(address) = &device.address else { continue };
        check_address(plan, id, address)?;
        let Some((types, expected)) = types(&device.device) else { continue };
        if !types.contains(&address.kind()) {
            return Err(Error::WrongAddressType {
                device: plan.describe(id),
                address: address.to_string(),
                expected,
            });
        }
    }
    Ok(())
}

/// Refuses addresses of types that the machine does not have, and of hidden devices.
fn check_address(plan: &Plan<'_>, id: Id, address: &Address) -> Result<(), Error> {
    let expected = match (address, plan.kind(id)) {
        (Address::Ccw(_) | Address::VirtioS390, _) if plan.machine.family != Family::S390 => {
            "an address of its machine"
        }
        (Address::VirtioMmio, _) if !plan.machine.has_mmio() => "an address of its machine",
        (Address::SpaprVio(_), _) if plan.machine.board != Board::Pseries => {
            "an address of its machine"
        }
        (Address::Unassigned, DeviceKind::Hostdev(_) | DeviceKind::Interface(_)) => return Ok(()),
        (Address::Unassigned, _) => "an address, which only devices of the host can be without",
        _ => return Ok(()),
    };
    let (device, address) = (plan.describe(id), address.to_string());
    Err(Error::WrongAddressType { device, address, expected })
}

/// The types of addresses of a device, and their names; `None` where any is accepted.
fn types(kind: &DeviceKind) -> Option<(&'static [AddressType], &'static str)> {
    const PCI: (&[AddressType], &str) = (&[AddressType::Pci], "a PCI address");
    const NOTHING: (&[AddressType], &str) = (&[], "no address");
    const USB: (&[AddressType], &str) = (&[AddressType::Usb], "a USB address");
    const ANY_VIRTIO: (&[AddressType], &str) = (VIRTIO, "a PCI, ccw or virtio-mmio address");
    const DRIVE: (&[AddressType], &str) = (&[AddressType::Drive], "a drive address");
    const ISA: (&[AddressType], &str) = (&[AddressType::Isa], "an ISA address");
    Some(match kind {
        DeviceKind::Disk(disk) => match disk.bus? {
            DiskBus::Virtio => ANY_VIRTIO,
            DiskBus::Usb => USB,
            DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi | DiskBus::Fdc => DRIVE,
            _ => return None,
        },
        DeviceKind::Controller(controller) => match (controller.r#type, controller.model) {
            (ControllerType::Ccid, _) => USB,
            (ControllerType::Scsi, Some(ControllerModel::Ibmvscsi)) => {
                (&[AddressType::SpaprVio], "a spapr-vio address")
            }
            (ControllerType::VirtioSerial, _)
            | (ControllerType::Scsi, Some(ControllerModel::VirtioScsi)) => ANY_VIRTIO,
            (ControllerType::Pci | ControllerType::Sata | ControllerType::Usb, _) => PCI,
            _ => return None,
        },
        DeviceKind::Hostdev(hostdev) => match (hostdev.r#type, hostdev.model) {
            (HostdevType::Mdev, Some(HostdevModel::VfioCcw)) => {
                (&[AddressType::Ccw], "a ccw address")
            }
            (HostdevType::Mdev, Some(HostdevModel::VfioAp)) => NOTHING,
            (HostdevType::Mdev, _) => PCI,
            (HostdevType::Pci, _) => {
                (&[AddressType::Pci, AddressType::Unassigned], "a PCI address, or unassigned")
            }
            (HostdevType::Usb, _) => USB,
            (HostdevType::Scsi, _) => DRIVE,
            (HostdevType::ScsiHost, _) => ANY_VIRTIO,
            _ => return None,
        },
        DeviceKind::Video(video) => match video.model? {
            VideoModel::Ramfb | VideoModel::None => NOTHING,
            VideoModel::Virtio => ANY_VIRTIO,
            _ => PCI,
        },
        DeviceKind::Input(input) => match input.bus? {
            InputBus::Usb => USB,
            InputBus::Virtio => ANY_VIRTIO,
            _ => return None,
        },
        DeviceKind::Sound(sound) => match sound.model {
            SoundModel::Usb => USB,
            SoundModel::Virtio => ANY_VIRTIO,
            SoundModel::Sb16 | SoundModel::Pcspk => return None,
            _ => PCI,
        },
        DeviceKind::Iommu(iommu) => match iommu.model {
            IommuModel::Virtio => PCI,
            _ => NOTHING,
        },
        DeviceKind::Memory(memory) => match memory.model {
            MemoryModel::Dimm | MemoryModel::Nvdimm => (&[AddressType::Dimm], "a dimm address"),
            MemoryModel::VirtioMem | MemoryModel::VirtioPmem => ANY_VIRTIO,
            MemoryModel::SgxEpc => NOTHING,
            _ => return None,
        },
        DeviceKind::Watchdog(watchdog) => match watchdog.model {
            WatchdogModel::I6300esb => PCI,
            WatchdogModel::Ib700 => ISA,
            _ => NOTHING,
        },
        DeviceKind::Panic(panic) => match panic.model? {
            PanicModel::Isa => ISA,
            PanicModel::Pvpanic => PCI,
            _ => NOTHING,
        },
        DeviceKind::Serial(serial) => match serial.target_type? {
            SerialType::IsaSerial | SerialType::IsaDebug => ISA,
            SerialType::UsbSerial => USB,
            SerialType::PciSerial => PCI,
            SerialType::SpaprVioSerial => (&[AddressType::SpaprVio], "a spapr-vio address"),
            _ => return None,
        },
        DeviceKind::Shmem(_) | DeviceKind::Pstore(_) => PCI,
        DeviceKind::Hub(_) | DeviceKind::Redirdev(_) => USB,
        DeviceKind::Smartcard(_) => (&[AddressType::Ccid], "a ccid address"),
        DeviceKind::Filesystem(f) if f.driver == Some(FilesystemDriver::Mtp) => USB,
        DeviceKind::Filesystem(_) => ANY_VIRTIO,
        DeviceKind::Interface(i) if i.model.as_deref() == Some("usb-net") => USB,
        DeviceKind::Interface(i) if is_virtio_interface(i) => ANY_VIRTIO,
        DeviceKind::Rng(_)
        | DeviceKind::Crypto(_)
        | DeviceKind::Vsock(_)
        | DeviceKind::Memballoon(_) => ANY_VIRTIO,
        _ => return None,
    })
}
