//! Groups of limits that disks share, and the filters by which disks are in them.

use std::collections::HashSet;

use crate::command::args::Args;
use crate::command::disk::limits::Limits;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// Adds groups of limits.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut names = HashSet::new();
    for group in groups(cx) {
        let name = group.require("group_name")?;
        if !names.insert(name) {
            return Err(group.invalid("group_name", "another group has this name too"));
        }
        let limits = Limits::read(group)?;
        // Also libvirt leaves out a group without limits.
        if limits.is_any() {
            let object = Props::object("throttle-group", id(name)).with("limits", limits.group());
            args.object(&object);
        }
    }
    Ok(())
}

fn groups<'a>(cx: &Context<'a>) -> impl Iterator<Item = View<'a>> {
    let groups = cx.domain.child("throttlegroups");
    groups.into_iter().flat_map(|groups| groups.children("throttlegroup"))
}

fn id(group: &str) -> String {
    format!("throttle-{group}")
}

/// Adds the filters of a disk above a node, and returns the node on top.
pub(super) fn add_filters(
    cx: &Context<'_>,
    args: &mut Args,
    disk: View<'_>,
    node: String,
    first: u32,
) -> Result<String, Error> {
    let mut names = HashSet::new();
    let mut node = node;
    let filters = disk.child("throttlefilters");
    let filters = filters.into_iter().flat_map(|filters| filters.children("throttlefilter"));
    for (number, filter) in (first..).zip(filters) {
        let group = filter.require("@group")?;
        if !names.insert(group) {
            return Err(filter.invalid("@group", "the disk is in this group already"));
        }
        if !groups(cx).any(|other| other.text("group_name") == Some(group)) {
            return Err(filter.invalid("@group", "there is no such group"));
        }
        let name = format!("libvirt-{number}-filter");
        let props = Props::device("throttle")
            .with("node-name", name.as_str())
            .with("throttle-group", id(group))
            .with("file", node);
        args.blockdev(&props);
        node = name;
    }
    Ok(node)
}
