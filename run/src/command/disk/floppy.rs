//! The controller of floppy drives, which has their boot order.

use capscache_domain::{Address, DeviceKind, DiskBus, Kind};

use crate::command::args::Args;
use crate::command::boot_order;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds the controller, or options of the one that the machine has.
pub(super) fn add_controller(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut indexes = [None, None];
    let mut has_drive = false;
    for device in cx.of(Kind::Disk) {
        let DeviceKind::Disk(disk) = device.kind() else { continue };
        if disk.bus != Some(DiskBus::Fdc) {
            continue;
        }
        has_drive = true;
        if matches!(device.address(), Some(Address::Drive(drive)) if drive.controller > 0) {
            return Err(device.view.invalid("target@dev", "a guest has two floppy drives at most"));
        }
        let is_second = matches!(device.address(), Some(Address::Drive(drive)) if drive.unit > 0);
        let [first, second] = &mut indexes;
        *(if is_second { second } else { first }) = boot_order::index(cx, device)?;
    }
    let named = ["bootindexA", "bootindexB"].into_iter().zip(indexes);
    match (has_drive, cx.machine.is_q35()) {
        (false, _) => {}
        (true, true) => {
            let mut props = Props::device("isa-fdc");
            named.for_each(|(name, index)| props.set_some(name, index));
            args.device(&props);
        }
        (true, false) => {
            for (name, index) in named {
                if let Some(index) = index {
                    args.option("-global", format_args!("isa-fdc.{name}={index}"));
                }
            }
        }
    }
    Ok(())
}
