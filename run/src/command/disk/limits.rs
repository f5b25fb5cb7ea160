//! Limits of throughput.

use capscache_domain::DiskBus;

use crate::command::Setup;
use crate::command::args::Args;
use crate::command::disk::facts::Disk;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// The largest limit that QEMU takes.
const MAX: u64 = 1_000_000_000_000_000;

/// libvirt's names of limits, and those of QEMU in a group and in a request. The last are lengths of bursts.
const LIMITS: [(&str, &str, &str); 19] = [
    ("total_bytes_sec", "bps-total", "bps"),
    ("read_bytes_sec", "bps-read", "bps_rd"),
    ("write_bytes_sec", "bps-write", "bps_wr"),
    ("total_iops_sec", "iops-total", "iops"),
    ("read_iops_sec", "iops-read", "iops_rd"),
    ("write_iops_sec", "iops-write", "iops_wr"),
    ("total_bytes_sec_max", "bps-total-max", "bps_max"),
    ("read_bytes_sec_max", "bps-read-max", "bps_rd_max"),
    ("write_bytes_sec_max", "bps-write-max", "bps_wr_max"),
    ("total_iops_sec_max", "iops-total-max", "iops_max"),
    ("read_iops_sec_max", "iops-read-max", "iops_rd_max"),
    ("write_iops_sec_max", "iops-write-max", "iops_wr_max"),
    ("size_iops_sec", "iops-size", "iops_size"),
    ("total_bytes_sec_max_length", "bps-total-max-length", "bps_max_length"),
    ("read_bytes_sec_max_length", "bps-read-max-length", "bps_rd_max_length"),
    ("write_bytes_sec_max_length", "bps-write-max-length", "bps_wr_max_length"),
    ("total_iops_sec_max_length", "iops-total-max-length", "iops_max_length"),
    ("read_iops_sec_max_length", "iops-read-max-length", "iops_rd_max_length"),
    ("write_iops_sec_max_length", "iops-write-max-length", "iops_wr_max_length"),
];

/// The number of limits before the lengths of bursts.
const RATES: usize = 13;

/// The limits of a group or disk; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits([u64; LIMITS.len()]);

impl Limits {
    /// Reads limits.
    pub(super) fn read(view: View<'_>) -> Result<Limits, Error> {
        let mut limits = Limits([0; LIMITS.len()]);
        for (position, (value, (name, ..))) in limits.0.iter_mut().zip(LIMITS).enumerate() {
            *value = view.number(name)?.unwrap_or(0);
            if position < RATES && *value > MAX {
                return Err(view.invalid(name, format!("the largest limit of QEMU is {MAX}")));
            }
        }
        limits.check(view)?;
        Ok(limits)
    }

    fn of(&self, name: &str) -> u64 {
        let mut all = LIMITS.iter().zip(self.0);
        all.find(|((other, ..), _)| *other == name).map_or(0, |(_, value)| value)
    }

    /// Refuses a limit of all together with one of reads or writes.
    fn check(&self, view: View<'_>) -> Result<(), Error> {
        for what in ["bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max"] {
            let has = |of: &str| self.of(&format!("{of}_{what}")) > 0;
            if has("total") && (has("read") || has("write")) {
                let what = format!("limits of reads or writes cannot be beside total_{what}");
                return Err(view.invalid("", what));
            }
        }
        Ok(())
    }

    /// Returns true if there is a limit.
    pub(super) fn is_any(&self) -> bool {
        self.0.iter().any(|value| *value > 0)
    }

    /// Returns the limits as those of a group.
    pub(super) fn group(&self) -> Props {
        self.props(|(_, name, _)| name)
    }

    fn props(
        &self,
        name: fn(&(&'static str, &'static str, &'static str)) -> &'static str,
    ) -> Props {
        let mut props = Props::default();
        for (position, (names, value)) in LIMITS.iter().zip(self.0).enumerate() {
            if position < RATES || value > 0 {
                props.set(name(names), value);
            }
        }
        props
    }
}

/// Reads the limits of a disk, and sets them before the guest runs: they are not options.
pub(super) fn set(args: &mut Args, disk: &Disk<'_>, others: &[Disk<'_>]) -> Result<(), Error> {
    let view = disk.device.view;
    let Some(tune) = view.child("iotune") else { return Ok(()) };
    let mut limits = Limits::read(tune)?;
    let group = tune.text("group_name");
    if let Some(group) = group {
        limits = of_group(tune, limits, group, others)?;
    }
    let has = |name| view.elements().any(|child| child.name() == name);
    if limits.is_any()
        && (has("throttlefilters") || disk.bus == DiskBus::Sd || disk.is_vhost_user())
    {
        return Err(tune.invalid("", "a disk of this kind, or one with filters, has no limits"));
    }
    // QEMU refuses limits of a drive without medium.
    if limits.is_any() && !disk.is_empty() {
        let arguments = limits.props(|(_, _, name)| name);
        let mut request = Props::default().with("id", id(disk));
        request.append(arguments);
        request.set_some("group", group);
        args.setup(Setup::DiskLimits { arguments: request.to_string() });
    }
    Ok(())
}

/// Returns the id of the device with the drive: of some disks it is a part of the device that has the alias.
fn id(disk: &Disk<'_>) -> String {
    let alias = disk.device.alias();
    match disk.bus {
        DiskBus::Virtio => format!("/machine/peripheral/{alias}/virtio-backend"),
        DiskBus::Usb => format!("/machine/peripheral/{alias}/{alias}.0/legacy[0]"),
        _ => alias.to_owned(),
    }
}

/// Returns the limits of a group of disks, which each of them has, or none.
fn of_group(
    tune: View<'_>,
    own: Limits,
    group: &str,
    others: &[Disk<'_>],
) -> Result<Limits, Error> {
    let mut limits = own;
    for other in others.iter().filter_map(|disk| disk.device.view.child("iotune")) {
        if other.text("group_name") != Some(group) {
            continue;
        }
        let theirs = Limits::read(other)?;
        if !limits.is_any() {
            limits = theirs;
        } else if theirs.is_any() && theirs != limits {
            return Err(tune.invalid("", "the disks of a group have the same limits"));
        }
    }
    match limits.is_any() {
        true => Ok(limits),
        false => Err(tune.invalid("group_name", "the group has no limits; add them")),
    }
}
