//! The process that holds the persistent reservations of a guest.

use capscache_domain::{Element, Kind};

use crate::command::args::Args;
use crate::command::disk::storage::MANAGED;
use crate::context::Context;
use crate::error::Error;
use crate::host::Helper;
use crate::props::Props;

/// Adds the process, if a disk of the guest needs it.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if !cx.of(Kind::Disk).any(|disk| has_managed(disk.typed.element())) {
        return Ok(());
    }
    let socket = cx.host.guest_dir.join(format!("{MANAGED}.sock"));
    let path = socket.display().to_string();
    args.object(&Props::object("pr-manager-helper", MANAGED).with("path", path.as_str()));
    let words = vec!["-k".to_owned(), path];
    args.helper(Helper { program: "qemu-pr-helper".into(), args: words, socket });
    Ok(())
}

/// Returns true if an image, or one below it, has reservations that the process holds.
fn has_managed(image: &Element) -> bool {
    let reservations = image.child("source").and_then(|source| source.child("reservations"));
    reservations.and_then(|view| view.attribute("managed")) == Some("yes")
        || image.child("backingStore").is_some_and(has_managed)
}
