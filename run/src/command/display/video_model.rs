//! The devices of QEMU that implement video models.

use capscache_domain::VideoModel;

use crate::context::{Context, DeviceView};
use crate::error::Error;

/// The device of QEMU that implements a video device.
pub(super) struct Driver {
    /// The name; that of a device for all transports has no end for one of them.
    pub(super) name: &'static str,
    /// The kind of device.
    pub(super) kind: DriverKind,
}

/// The kind of a device of QEMU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DriverKind {
    /// No virtio device, or one without virtio's options.
    Plain,
    /// A virtio device that is compatible with VGA, which is always on PCI.
    VirtioVga,
    /// A virtio device for all transports.
    Virtio,
}

/// Returns the device of a model. The primary one is compatible with VGA where there is such a device.
pub(super) fn driver(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    model: VideoModel,
) -> Result<Driver, Error> {
    let view = device.view;
    let of = |name, kind| Ok(Driver { name, kind });
    let is_process = view.peek("driver@name") == Some("vhostuser");
    let is_primary = view.yes_no("model@primary")? == Some(true);
    let is_gl = view.yes_no("model/acceleration@accel3d")? == Some(true);
    let has_vga = match (model, is_process) {
        (VideoModel::Virtio, true) => cx.has_device("vhost-user-vga"),
        (VideoModel::Virtio, false) => cx.has_device("virtio-vga"),
        _ => true,
    };
    match (model, is_primary && has_vga) {
        (VideoModel::Virtio, true) if is_process => of("vhost-user-vga", DriverKind::Plain),
        (VideoModel::Virtio, false) if is_process => of("vhost-user-gpu", DriverKind::Virtio),
        (VideoModel::Virtio, true) if is_gl && cx.has_device("virtio-vga-gl") => {
            of("virtio-vga-gl", DriverKind::VirtioVga)
        }
        (VideoModel::Virtio, true) => of("virtio-vga", DriverKind::VirtioVga),
        (VideoModel::Virtio, false) if is_gl && cx.has_device("virtio-gpu-gl-pci") => {
            of("virtio-gpu-gl", DriverKind::Virtio)
        }
        (VideoModel::Virtio, false) => of("virtio-gpu", DriverKind::Virtio),
        (VideoModel::Qxl, true) => of("qxl-vga", DriverKind::Plain),
        (VideoModel::Qxl, false) => of("qxl", DriverKind::Plain),
        (_, false) => Err(view.invalid("model", "only qxl and virtio can be secondary devices")),
        (VideoModel::Vga, true) => of("VGA", DriverKind::Plain),
        (VideoModel::Cirrus, true) => of("cirrus-vga", DriverKind::Plain),
        (VideoModel::Vmvga, true) => of("vmware-svga", DriverKind::Plain),
        (VideoModel::Bochs, true) => of("bochs-display", DriverKind::Plain),
        (VideoModel::Ramfb, true) => of("ramfb", DriverKind::Plain),
        _ => Err(view.invalid("model@type", "QEMU has no such video device")),
    }
}

/// Checks that the emulator has a model, by the device by which libvirt detects it.
pub(super) fn require(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    model: VideoModel,
) -> Result<(), Error> {
    let drivers: &[&str] = match model {
        VideoModel::Vga => &["VGA"],
        VideoModel::Cirrus => &["cirrus-vga"],
        VideoModel::Vmvga => &["vmware-svga"],
        VideoModel::Qxl => &["qxl"],
        VideoModel::Virtio => &["virtio-gpu-pci", "virtio-gpu-device"],
        VideoModel::Bochs => &["bochs-display"],
        VideoModel::Ramfb => &["ramfb"],
        _ => &[],
    };
    match drivers.iter().any(|driver| cx.has_device(driver)) {
        true => Ok(()),
        false => Err(device.view.lacks("model@type", format!("a video device {model}"))),
    }
}
