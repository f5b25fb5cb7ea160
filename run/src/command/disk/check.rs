//! Disks that libvirt refuses.

use capscache_domain::{Address, DiskBus, DiskDevice, Kind};

use crate::command::disk::facts::Disk;
use crate::command::memory::shared::require_shared;
use crate::context::{Context, DeviceView};
use crate::error::Error;

impl Disk<'_> {
    /// Refuses combinations that no disk has.
    pub(super) fn check(&self, cx: &Context<'_>) -> Result<(), Error> {
        let view = self.device.view;
        self.check_name()?;
        self.check_kind()?;
        self.check_bus()?;
        if view.peek("driver@name").is_some_and(|name| name != "qemu") {
            return Err(view.invalid("driver@name", "the driver is qemu"));
        }
        let needs_medium = !self.is_cdrom() && !self.is_floppy();
        if self.is_empty() && (needs_medium || self.bus == DiskBus::Usb) {
            return Err(view.invalid("source", "the disk has no medium; add a source"));
        }
        if view.elements().any(|child| child.name() == "transient") {
            let what = "changes of a disk are not thrown away here; remove it, or add an overlay";
            return Err(view.unsupported("transient", what));
        }
        if view.number::<u32>("driver@iothread")? == Some(0) {
            return Err(view.invalid("driver@iothread", "I/O threads have numbers from 1"));
        }
        let copies = view.peek("driver@copy_on_read") == Some("on");
        let can_copy = self.kind == DiskDevice::Disk && !self.is_readonly;
        if copies && !can_copy {
            let what = "only disks that are written are copied on read";
            return Err(view.invalid("driver@copy_on_read", what));
        }
        if self.is_cdrom() && view.elements().any(|child| child.name() == "throttlefilters") {
            return Err(view.invalid("throttlefilters", "a CD-ROM drive has none"));
        }
        if self.is_vhost_user() {
            require_shared(cx, view)?;
        }
        if self.source_type == "vhostvdpa" {
            self.check_vdpa(cx)?;
        }
        Ok(())
    }

    /// Refuses settings that other devices have.
    fn check_kind(&self) -> Result<(), Error> {
        let refuse = |places: &[&str], what: &str| {
            let place = places.iter().find(|place| self.device.view.peek(place).is_some());
            place.map_or(Ok(()), |place| Err(self.device.view.invalid(place, what)))
        };
        if !self.is_lun() {
            refuse(&["@rawio", "@sgio"], "only a device lun has it; remove it")?;
        }
        if !self.is_cdrom() && !self.is_floppy() {
            refuse(&["target@tray"], "only drives with media have a tray; remove it")?;
        }
        Ok(())
    }

    fn check_name(&self) -> Result<(), Error> {
        let prefixes: &[&str] = match self.kind {
            DiskDevice::Disk | DiskDevice::Lun => &["hd", "sd", "vd", "xvd", "ubd"],
            DiskDevice::Floppy => &["fd"],
            _ => &["fd", "hd", "vd", "sd", "xvd", "ubd"],
        };
        let rest = prefixes.iter().find_map(|prefix| self.name.strip_prefix(prefix));
        let is_letters = |rest: &str| rest.bytes().all(|b| b.is_ascii_lowercase());
        match rest.filter(|rest| !rest.is_empty() && is_letters(rest)) {
            Some(_) => Ok(()),
            None => Err(self.device.view.invalid(
                "target@dev",
                format!("it starts with one of {}, and letters follow", prefixes.join(" ")),
            )),
        }
    }

    fn check_bus(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(self.device.view.invalid("target@bus", what));
        let is_drive =
            matches!(self.bus, DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi | DiskBus::Fdc);
        let is_plain = self.kind == DiskDevice::Disk;
        match self.bus {
            DiskBus::Fdc if !self.is_floppy() => invalid("only floppy drives are on this bus"),
            bus if self.is_floppy() && bus != DiskBus::Fdc => {
                invalid("a floppy drive is on the bus fdc")
            }
            DiskBus::Virtio | DiskBus::Sd if self.is_cdrom() => {
                invalid("no drives with media are on this bus")
            }
            DiskBus::Scsi | DiskBus::Virtio if self.is_lun() => Ok(()),
            _ if self.is_lun() => invalid("a device is passed through on scsi or virtio"),
            DiskBus::Ide | DiskBus::Sata if self.is_readonly && is_plain => {
                invalid("disks on this bus are written; remove <readonly/>")
            }
            _ if is_drive && !matches!(self.device.address(), Some(Address::Drive(_))) => {
                invalid("the address of a disk on this bus has the type drive")
            }
            _ => Ok(()),
        }
    }

    fn check_vdpa(&self, cx: &Context<'_>) -> Result<(), Error> {
        let view = self.device.view;
        require_shared(cx, view)?;
        if !matches!(view.peek("driver@cache"), Some("none" | "directsync")) {
            return Err(
                view.invalid("driver@cache", "a vDPA device has the cache none or directsync")
            );
        }
        // Files of character devices are passed in sets too, whose numbers come first.
        let passes_file = |device: &DeviceView<'_>| {
            device.view.peek("@type") == Some("file")
                || device.view.elements().any(|child| child.name() == "log")
        };
        let is_character = |kind| {
            matches!(
                kind,
                Kind::Serial | Kind::Parallel | Kind::Console | Kind::Channel | Kind::Smartcard
            )
        };
        let mut others = cx.devices.iter().filter(|device| is_character(device.kind().kind()));
        match others.any(passes_file) {
            true => Err(view.unsupported("@type", "it is not supported beside logs and files")),
            false => Ok(()),
        }
    }
}
