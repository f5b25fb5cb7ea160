//! Disks: block nodes, and the devices that show them.

mod auth;
mod chain;
mod check;
mod device;
mod drive;
mod encryption;
mod facts;
mod floppy;
pub(super) mod format;
mod hosts;
pub(super) mod image;
pub(super) mod iscsi;
mod limits;
pub(super) mod managers;
pub(super) mod numbers;
pub(super) mod settings;
pub(super) mod storage;
pub(super) mod throttle;
mod url;
mod vhost_user;

use capscache_domain::{DiskBus, Kind};

use crate::command::Setup;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use chain::{Chain, Numbers};
use facts::Disk;
use settings::Settings;

/// A disk with its settings and images.
struct Prepared<'a> {
    disk: Disk<'a>,
    settings: Settings,
    /// The number of the top image.
    first: u32,
    /// The images; `None` without medium, and for disks without block nodes.
    chain: Option<Chain<'a>>,
}

/// Adds all disks.
pub(super) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    floppy::add_controller(cx, args)?;
    let mut disks = cx.of(Kind::Disk).map(Disk::read).collect::<Result<Vec<_>, Error>>()?;
    for disk in &disks {
        disk.check(cx)?;
        limits::set(args, disk, &disks)?;
        if disk.device.view.yes_no("@rawio")? == Some(true) {
            args.setup(Setup::RawIo);
        }
    }
    // The last disk has the first numbers.
    let (mut next, mut found) = (1, numbers::first_found(cx));
    let mut prepared = Vec::new();
    while let Some(disk) = disks.pop() {
        let count = numbers::count(disk.device);
        prepared.push(Prepared::read(cx, disk, next, &mut found)?);
        next += count;
    }
    prepared.iter().rev().try_for_each(|prepared| prepared.add(cx, args))
}

impl<'a> Prepared<'a> {
    fn read(
        cx: &Context<'a>,
        disk: Disk<'a>,
        first: u32,
        found: &mut u32,
    ) -> Result<Prepared<'a>, Error> {
        let settings = Settings::read(cx, &disk)?;
        let has_nodes = disk.bus != DiskBus::Sd && !disk.is_vhost_user();
        let chain = match has_nodes && !disk.is_empty() {
            true => Some(Chain::read(cx, &disk, settings, Numbers { first, found })?),
            false => None,
        };
        Ok(Prepared { disk, settings, first, chain })
    }

    fn add(&self, cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
        let Prepared { disk, settings, .. } = self;
        if disk.bus == DiskBus::Sd {
            return drive::add(args, disk, settings, disk.is_empty());
        }
        if disk.is_vhost_user() {
            vhost_user::add(cx, args, disk)?;
        } else if self.chain.is_none() {
            disk.read_empty()?;
        }
        let node = self.chain.as_ref().map(|chain| self.add_nodes(cx, args, chain));
        device::add(cx, args, disk, settings, node.transpose()?)
    }

    /// Adds the nodes of a disk, and returns the one on top.
    fn add_nodes(
        &self,
        cx: &Context<'_>,
        args: &mut Args,
        chain: &Chain<'_>,
    ) -> Result<String, Error> {
        let view = self.disk.device.view;
        chain.add(args);
        let mut node = chain.node().unwrap_or_default();
        if view.switch("driver@copy_on_read")? == Some(true) {
            let name = format!("libvirt-CoR-{}", self.disk.name);
            let props = Props::device("copy-on-read")
                .with("node-name", name.as_str())
                .with("file", node)
                .with("discard", "unmap");
            args.blockdev(&props);
            node = name;
        }
        throttle::add_filters(cx, args, view, node, self.first + chain.named())
    }
}
