//! Watchdogs.

use capscache_devaddr::Board;
use capscache_domain::{Kind, WatchdogModel};

use crate::command::address;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// The actions that QEMU takes when a watchdog expires. A dump is made by libvirt, while QEMU pauses the guest.
const ACTIONS: &[&str] = &["reset", "shutdown", "poweroff", "pause", "none", "inject-nmi"];

/// Adds watchdogs, and the action of all of them.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut action = None;
    let mut is_part_of_machine = false;
    let mut models = Vec::new();
    for device in cx.of(Kind::Watchdog) {
        let view = device.view;
        let its_action = view.one_of("@action", ACTIONS)?.unwrap_or("reset");
        if *action.get_or_insert(its_action) != its_action {
            let what = "another watchdog has another action; use the same";
            return Err(view.invalid("@action", what));
        }
        let model = view.require("@model")?;
        if model != WatchdogModel::I6300esb.as_str() && models.contains(&model) {
            return Err(view.invalid("@model", "the guest has such a watchdog already; remove it"));
        }
        models.push(model);
        let alias = device.alias();
        if view.word("@model")? == Some(WatchdogModel::Itco) {
            is_part_of_machine = true;
            continue;
        }
        if view.word("@model")? == Some(WatchdogModel::Ib700) && cx.machine.board != Board::I440fx {
            return Err(view.invalid("@model", "only i440fx machines can have it; use i6300esb"));
        }
        cx.require_device(view, model)?;
        let mut props = Props::device(model).with("id", alias);
        address::add(cx, device, &mut props)?;
        args.pci_device(device, &props);
    }
    if is_part_of_machine {
        args.option("-global", "ICH9-LPC.noreboot=off");
    }
    if let Some(action) = action {
        args.option("-watchdog-action", action);
    }
    Ok(())
}
