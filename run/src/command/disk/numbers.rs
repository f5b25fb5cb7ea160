//! Numbers in the names of nodes.
//!
//! libvirt numbers the images of the last disk first, from the top image down, and filters after the images. SCSI devices of
//! the host follow, and images that no disk names.

use capscache_domain::{DeviceKind, DiskBus, Element, Kind};

use crate::context::{Context, DeviceView};

/// Returns the number of nodes that a disk has.
pub(super) fn count(device: DeviceView<'_>) -> u32 {
    let DeviceKind::Disk(disk) = device.kind() else { return 0 };
    let element = device.typed.element();
    let is_vhost_user =
        disk.source_type.as_deref() == Some("vhostuser") && element.child("source").is_some();
    if is_vhost_user || disk.bus == Some(DiskBus::Sd) {
        return 0;
    }
    let filters = element.child("throttlefilters").into_iter().flat_map(Element::elements);
    images(element) + to_u32(filters.count())
}

/// Returns the number of images from one down.
fn images(image: &Element) -> u32 {
    let in_source = image.child("source").and_then(|source| source.child("dataStore"));
    let has_data_store = in_source.or_else(|| image.child("dataStore")).is_some();
    let backing = image.child("backingStore").filter(|backing| backing.attribute("type").is_some());
    1 + u32::from(has_data_store) + backing.map_or(0, images)
}

/// Returns the number of nodes that all disks have.
pub(in crate::command) fn total(cx: &Context<'_>) -> u32 {
    cx.of(Kind::Disk).map(count).sum()
}

/// Returns the first number of images that no disk names: after those of SCSI devices of the host.
pub(super) fn first_found(cx: &Context<'_>) -> u32 {
    let is_scsi = |device: &DeviceView<'_>| device.view.peek("@type") == Some("scsi");
    let devices = cx.of(Kind::Hostdev).filter(is_scsi).count();
    total(cx).saturating_add(to_u32(devices)).saturating_add(1)
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
