//! Storage of images: files, devices and directories of the host. That in the network has a file of its own.

mod network;
mod reservations;

use std::path::Path;

use crate::command::Setup;
use crate::command::args::Args;
use crate::command::disk::encryption::Encryption;
use crate::command::pci_address;
use crate::context::Context;
use crate::error::Error;
use crate::host::{Assigned, Descriptor};
use crate::props::Props;
use crate::view::View;

pub(super) use reservations::MANAGED;

/// The storage of an image.
pub(in crate::command) struct Storage {
    props: Props,
    /// The objects that it needs, in order.
    pub(in crate::command) objects: Vec<Props>,
    /// The device whose descriptor is passed, as a set that is the `path`.
    descriptor: Option<Descriptor>,
    assigned: Option<Assigned>,
}

/// The settings that the options of a storage depend on.
pub(super) struct StorageSettings<'s> {
    /// The name of the node.
    pub(super) node: &'s str,
    pub(super) io: Option<&'static str>,
    pub(super) is_floppy: bool,
    pub(super) is_readonly: bool,
    /// True for a medium in the format raw of a CD-ROM drive.
    pub(super) is_cdrom: bool,
    /// True for a device that is passed through.
    pub(super) is_lun: bool,
    /// True if the format is that of a directory.
    pub(super) is_directory_format: bool,
}

impl Storage {
    /// Creates a storage with the objects that it needs.
    pub(super) fn new(props: Props, objects: Vec<Props>) -> Storage {
        Storage { props, objects, descriptor: None, assigned: None }
    }

    /// Reads the storage in an element `<source>`. An outer element may contain the authentication.
    pub(super) fn read<'a>(
        cx: &Context<'a>,
        r#type: &str,
        source: View<'a>,
        outer: Option<View<'a>>,
        settings: &StorageSettings<'_>,
        encryption: Option<&Encryption<'_>>,
    ) -> Result<Storage, Error> {
        check_policy(cx, source)?;
        source.ignore(&["@index"]);
        check(r#type, source, settings, encryption)?;
        match r#type {
            "file" => file(source, source.require("@file")?, settings, "file"),
            "block" => {
                let path = source.require("@dev")?;
                // The driver of CD-ROM drives can eject media.
                let is_drive = settings.is_cdrom && (cx.host.is_cdrom)(Path::new(path));
                let driver = if is_drive { "host_cdrom" } else { "host_device" };
                file(source, path, settings, driver)
            }
            "dir" => directory(source, settings),
            "nvme" => nvme(source),
            "vhostvdpa" => vdpa(cx, source),
            "network" => {
                let mut storage = network::read(cx, source, outer, settings.node, encryption)?;
                let manager = reservations::read(source, settings)?;
                storage.objects.splice(..0, manager.and_then(|manager| manager.object));
                Ok(storage)
            }
            _ => Err(source.unsupported(
                "",
                format!("a source of the type {type:?} is not supported; use a file or a device"),
            )),
        }
    }

    /// Returns the options of the node, except for those that all nodes have.
    pub(in crate::command) fn props(&self, args: &mut Args, node: &str) -> Props {
        let mut props = self.props.clone();
        // Such a device reads and writes all memory of the guest.
        if self.descriptor.is_some() || self.assigned.is_some() {
            args.setup(Setup::LockedMemory);
        }
        if let Some(descriptor) = &self.descriptor {
            let path = args.descriptor_set(descriptor.clone(), &format!("{node}-vdpa"));
            props.set("path", path);
        }
        self.assigned.iter().cloned().for_each(|assigned| args.assigned(assigned));
        props
    }
}

/// Checks that a source is there whose policy lets libvirt drop it otherwise.
fn check_policy(cx: &Context<'_>, source: View<'_>) -> Result<(), Error> {
    let place = "@startupPolicy";
    let policy = source.one_of(place, &["mandatory", "requisite", "optional"])?;
    let path = source.peek("@file").or(source.peek("@dev"));
    match policy {
        Some("requisite" | "optional")
            if !path.is_some_and(|path| (cx.host.exists)(Path::new(path))) =>
        {
            Err(source.unsupported(place, "the source is missing, and it is not dropped here"))
        }
        _ => Ok(()),
    }
}

fn check(
    r#type: &str,
    source: View<'_>,
    settings: &StorageSettings<'_>,
    encryption: Option<&Encryption<'_>>,
) -> Result<(), Error> {
    let is_directory = r#type == "dir";
    if is_directory != settings.is_directory_format {
        return Err(source.invalid("", "a directory, and only that, has the format fat"));
    }
    let is_rbd = r#type == "network" && source.peek("@protocol") == Some("rbd");
    if encryption.is_some_and(Encryption::is_of_storage) && !is_rbd {
        return Err(source.invalid("encryption@engine", "librbd decrypts only rbd"));
    }
    let can_pass =
        r#type == "block" || (r#type == "network" && source.peek("@protocol") == Some("iscsi"));
    if settings.is_lun && !can_pass {
        return Err(source.invalid("", "only a block device or iSCSI is passed through"));
    }
    if settings.is_lun && encryption.is_some() {
        return Err(source.invalid("", "a device that is passed through is not encrypted"));
    }
    Ok(())
}

fn file(
    source: View<'_>,
    path: &str,
    settings: &StorageSettings<'_>,
    driver: &str,
) -> Result<Storage, Error> {
    let manager = reservations::read(source, settings)?;
    let props = Props::device(driver)
        .with("filename", path)
        .with_some("aio", settings.io)
        .with_some("pr-manager", manager.as_ref().map(|manager| manager.id.as_str()));
    let objects = manager.and_then(|manager| manager.object).into_iter().collect();
    Ok(Storage::new(props, objects))
}

fn directory(source: View<'_>, settings: &StorageSettings<'_>) -> Result<Storage, Error> {
    if !settings.is_readonly {
        return Err(source.invalid("", "a directory is only read; add <readonly/>"));
    }
    let props = Props::device("vvfat")
        .with("dir", source.require("@dir")?)
        .with("floppy", settings.is_floppy)
        .with("rw", false);
    Ok(Storage::new(props, Vec::new()))
}

fn nvme(source: View<'_>) -> Result<Storage, Error> {
    source.require("@type")?;
    source.one_of("@type", &["pci"])?;
    let is_managed = source.yes_no("@managed")? != Some(false);
    let namespace = source.number("@namespace")?.filter(|namespace: &u64| *namespace > 0);
    let Some(namespace) = namespace else {
        return Err(source.invalid("@namespace", "namespaces have numbers from 1; add one"));
    };
    if source.child("address").is_none() {
        return Err(source.invalid("", "it has no address of PCI; add one"));
    }
    let device = pci_address::read(source)?;
    let driver = Some("vfio-pci".to_owned());
    let assigned = Assigned { address: device.clone(), is_managed, driver, network: None };
    let props = Props::device("nvme").with("device", device).with("namespace", namespace);
    Ok(Storage { assigned: Some(assigned), ..Storage::new(props, Vec::new()) })
}

fn vdpa(cx: &Context<'_>, source: View<'_>) -> Result<Storage, Error> {
    let schema = cx.entry.schema();
    if !schema.has("blockdev-add/arg-type/+virtio-blk-vhost-vdpa/$fdset").is_yes() {
        return Err(source.lacks("", "vDPA block devices"));
    }
    let descriptor = Descriptor::Vdpa { path: source.require("@dev")?.into() };
    let storage = Storage::new(Props::device("virtio-blk-vhost-vdpa"), Vec::new());
    Ok(Storage { descriptor: Some(descriptor), ..storage })
}
