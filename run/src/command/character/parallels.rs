//! Parallel ports.

use capscache_devaddr::{Board, Family};
use capscache_domain::Kind;

use super::chardev::{self, Chardev};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds parallel ports.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Parallel) {
        let view = device.view;
        if cx.machine.family == Family::S390 || cx.machine.board == Board::Pseries {
            return Err(view.invalid("", "the machine has no parallel ports; remove it"));
        }
        view.ignore(&["@tty", "target@port", "target@type"]);
        let r#type = view.text("@type").unwrap_or("pty");
        if r#type == "spicevmc" {
            return Err(view.invalid("@type", "only channels can be of this type"));
        }
        let chardev = Chardev::new(device, r#type);
        chardev::add(cx, args, &chardev)?;
        let props =
            Props::device("isa-parallel").with("chardev", chardev.id).with("id", device.alias());
        args.device(&props);
    }
    Ok(())
}
