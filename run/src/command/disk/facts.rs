//! A disk: facts that several of its parts depend on.

use capscache_domain::{DeviceKind, DiskBus, DiskDevice};

use crate::command::disk::format::Format;
use crate::context::DeviceView;
use crate::error::Error;

/// The types of sources in libvirt's words.
const TYPES: &[&str] =
    &["file", "block", "dir", "network", "volume", "nvme", "vhostuser", "vhostvdpa"];

/// A disk.
pub(super) struct Disk<'a> {
    pub(super) device: DeviceView<'a>,
    /// The name of the target.
    pub(super) name: &'a str,
    pub(super) kind: DiskDevice,
    pub(super) bus: DiskBus,
    pub(super) is_readonly: bool,
    pub(super) is_shared: bool,
    /// The type of the source; that of an empty one is `file`.
    pub(super) source_type: &'a str,
}

impl<'a> Disk<'a> {
    /// Reads a disk.
    pub(super) fn read(device: DeviceView<'a>) -> Result<Disk<'a>, Error> {
        let view = device.view;
        let DeviceKind::Disk(facts) = device.kind() else {
            return Err(view.invalid("", "it is not a disk"));
        };
        view.word::<DiskDevice>("@device")?;
        view.word::<DiskBus>("target@bus")?;
        // Positions of trays, and what snapshots do, are not options of QEMU. A job that mirrors the disk is not started
        // again.
        view.one_of("target@tray", &["open", "closed"])?;
        view.one_of("@snapshot", &["default", "no", "internal", "external", "manual"])?;
        view.ignore(&["alias@name"]);
        view.one_of("@sgio", &["filtered"])?;
        view.ignore_children("mirror");
        let kind = facts.device.unwrap_or(DiskDevice::Disk);
        let has_source = view.has("source");
        let source_type = view.one_of("@type", TYPES)?.unwrap_or("file");
        let Some(bus) = facts.bus else {
            return Err(view.invalid("target@bus", "the disk is on no bus; add it"));
        };
        Ok(Disk {
            device,
            name: view.require("target@dev")?,
            kind,
            bus,
            is_readonly: view.has("readonly") || kind == DiskDevice::Cdrom,
            is_shared: view.has("shareable"),
            source_type: if has_source { source_type } else { "file" },
        })
    }

    pub(super) fn is_floppy(&self) -> bool {
        self.kind == DiskDevice::Floppy
    }

    pub(super) fn is_cdrom(&self) -> bool {
        self.kind == DiskDevice::Cdrom
    }

    pub(super) fn is_lun(&self) -> bool {
        self.kind == DiskDevice::Lun
    }

    /// Returns true for a drive without medium.
    pub(super) fn is_empty(&self) -> bool {
        let place = match self.source_type {
            "file" => "source@file",
            "block" => "source@dev",
            "dir" => "source@dir",
            _ => return false,
        };
        self.device.view.peek(place).is_none_or(str::is_empty)
    }

    /// Reads what a drive has without medium, of which nothing is an option.
    pub(super) fn read_empty(&self) -> Result<(), Error> {
        let view = self.device.view;
        Format::of_disk(view)?;
        view.ignore(&["source@file", "source@dev", "source@dir", "source@startupPolicy"]);
        view.ignore(&["source@index", "driver@copy_on_read"]);
        if let Some(backing) = view.child("backingStore").filter(|b| b.peek("@type").is_some()) {
            return Err(backing.unsupported("", "a drive without medium cannot have images below"));
        }
        Ok(())
    }

    /// Returns true for a disk that another process serves.
    pub(super) fn is_vhost_user(&self) -> bool {
        self.source_type == "vhostuser"
    }
}
