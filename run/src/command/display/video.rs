//! Video devices.

use capscache_domain::{Kind, VideoModel};

use super::input::clean;
use super::video_model::{DriverKind, driver, require};
use crate::command::address;
use crate::command::args::Args;
use crate::command::virtio::{self, Interface};
use crate::command::{Setup, VideoProcess};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::host::Descriptor;
use crate::props::{List, Props};
use crate::view::View;

/// The default of the framebuffer of VGA devices, in KiB.
const VRAM_KIB: u32 = 16 << 10;

/// The default of the memory of qxl devices, in KiB.
const QXL_KIB: u32 = 64 << 10;

/// Adds video devices.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Video) {
        match device.view.word("model@type")? {
            // libvirt drops what else is said about a device that is not there.
            Some(VideoModel::None) => {
                device.alias();
                device.view.ignore(&["model@primary", "model@heads", "model@vram"]);
            }
            Some(model) => add_video(cx, args, device, model)?,
            None => return Err(device.view.lacks("", "a video device for the machine")),
        }
    }
    Ok(())
}

fn add_video(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    model: VideoModel,
) -> Result<(), Error> {
    let view = device.view;
    require(cx, device, model)?;
    let is_process = view.one_of("driver@name", &["qemu", "vhostuser"])? == Some("vhostuser");
    if is_process {
        add_process(cx, args, device, model)?;
    }
    let driver = driver(cx, device, model)?;
    let mut props = match driver.kind {
        DriverKind::Virtio => virtio::device(cx, device, driver.name, Interface::Default)?,
        DriverKind::VirtioVga => {
            let mut props = Props::device(driver.name);
            virtio::add_options(device, &mut props)?;
            props
        }
        DriverKind::Plain => {
            if model == VideoModel::Virtio {
                view.ignore(&["driver@iommu", "driver@ats", "driver@packed", "driver@page_per_vq"]);
            }
            Props::device(driver.name)
        }
    };
    props.set("id", device.alias());
    add_acceleration(cx, device, model, is_process, &mut props)?;
    add_heads(view, model, &mut props)?;
    add_memory(cx, device, model, is_process, &mut props)?;
    add_resolution(view, model, &mut props)?;
    if model == VideoModel::Ramfb && device.address().is_some() {
        return Err(view.invalid("address", "a ramfb has no address; remove it"));
    }
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    Ok(())
}

/// Adds the connection to the process that implements a device.
fn add_process(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    model: VideoModel,
) -> Result<(), Error> {
    let view = device.view;
    if model != VideoModel::Virtio {
        return Err(view.invalid("driver@name", "only a virtio device can be implemented outside"));
    }
    cx.require_device(view, "vhost-user-gpu")?;
    let alias = device.alias();
    let fd = args.descriptor(Descriptor::VideoProcess { alias: alias.to_owned() });
    let mut list = List::new("socket");
    list.set("id", chardev(device));
    list.set("fd", fd);
    args.option("-chardev", list);
    args.setup(Setup::Video(VideoProcess {
        alias: alias.to_owned(),
        is_accelerated: view.yes_no("model/acceleration@accel3d")? == Some(true),
        render_node: view.text("model/acceleration@rendernode").map(clean),
    }));
    Ok(())
}

/// Returns the id of the connection to the process that implements a device.
fn chardev(device: DeviceView<'_>) -> String {
    format!("chr-vu-{}", device.alias())
}

fn add_acceleration(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    model: VideoModel,
    is_process: bool,
    props: &mut Props,
) -> Result<(), Error> {
    let Some(view) = device.view.child("model").and_then(|model| model.child("acceleration"))
    else {
        return Ok(());
    };
    let (in_2d, in_3d) = (view.yes_no("@accel2d")?, view.yes_no("@accel3d")?);
    let node = view.peek("@rendernode");
    if in_2d.is_none() && in_3d.is_none() && node.is_none() {
        return Err(view.invalid("", "there is nothing to accelerate; remove it"));
    }
    if in_2d == Some(true) {
        return Err(view.invalid("@accel2d", "QEMU does not accelerate 2D; use accel3d"));
    }
    if is_process {
        return Ok(());
    }
    if node.is_some() {
        return Err(view.invalid("@rendernode", "only a process outside of QEMU has it"));
    }
    if model != VideoModel::Virtio {
        return match in_3d {
            Some(true) => Err(view.invalid("@accel3d", "only virtio devices accelerate 3D")),
            _ => Ok(()),
        };
    }
    let gpus = ["virtio-gpu-pci", "virtio-gpu-device", "virtio-gpu-ccw"];
    let has_option = gpus.iter().any(|gpu| cx.has_property(gpu, "virgl"));
    let can = has_option || cx.has_device("virtio-gpu-gl-pci") || cx.has_device("virtio-vga-gl");
    if in_3d == Some(true) && !can {
        return Err(view.lacks("@accel3d", "acceleration of 3D"));
    }
    if has_option {
        props.set_some("virgl", in_3d);
    }
    Ok(())
}

fn add_heads(view: View<'_>, model: VideoModel, props: &mut Props) -> Result<(), Error> {
    let heads: u32 = view.number("model@heads")?.unwrap_or(1);
    match model {
        VideoModel::Qxl | VideoModel::Virtio => {
            props.set_some("max_outputs", (heads > 0).then_some(heads));
            Ok(())
        }
        _ if heads == 1 => Ok(()),
        _ => Err(view.invalid("model@heads", "only qxl and virtio devices have several heads")),
    }
}

/// Returns an amount of memory in KiB, rounded up to a power of two.
fn kib(view: View<'_>, place: &str, default: u32) -> Result<u32, Error> {
    let given = view.number(place)?.filter(|kib| *kib > 0).unwrap_or(default);
    match given {
        0 => Ok(0),
        _ => given.checked_next_power_of_two().ok_or_else(|| too_large(view, place)),
    }
}

fn too_large(view: View<'_>, place: &str) -> Error {
    view.invalid(place, "the size is too large")
}

/// Returns an amount of memory in bytes.
fn bytes(view: View<'_>, place: &str, default: u32) -> Result<u32, Error> {
    let bytes = kib(view, place, default)?.checked_mul(1024);
    bytes.ok_or_else(|| too_large(view, place))
}

fn add_memory(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    model: VideoModel,
    is_process: bool,
    props: &mut Props,
) -> Result<(), Error> {
    let view = device.view;
    match model {
        VideoModel::Qxl => add_qxl_memory(cx, view, props)?,
        VideoModel::Vga | VideoModel::Vmvga => {
            let vram = kib(view, "model@vram", VRAM_KIB)?;
            if vram < 1024 {
                return Err(view.invalid("model@vram", "use at least 1024 KiB"));
            }
            let driver = if model == VideoModel::Vga { "VGA" } else { "vmware-svga" };
            if cx.has_property(driver, "vgamem_mb") {
                props.set("vgamem_mb", vram / 1024);
            }
        }
        VideoModel::Bochs => props.set("vgamem", bytes(view, "model@vram", VRAM_KIB)?),
        _ => {
            kib(view, "model@vram", 0)?;
        }
    }
    if model != VideoModel::Qxl {
        for place in ["model@ram", "model@vram64", "model@vgamem"] {
            if view.number::<u32>(place)?.is_some_and(|kib| kib > 0) {
                return Err(view.invalid(place, "only qxl devices have it"));
            }
        }
    }
    if model != VideoModel::Virtio {
        return Ok(());
    }
    let blob = view.switch("model@blob")?;
    let has_blob = ["virtio-gpu-pci", "virtio-gpu-device", "virtio-gpu-ccw"];
    if blob.is_some() && !has_blob.iter().any(|gpu| cx.has_property(gpu, "blob")) {
        return Err(view.lacks("model@blob", "the option blob"));
    }
    let source = cx.domain.child("memoryBacking").and_then(|b| b.child("source"));
    let is_memfd = source.and_then(|source| source.peek("@type")) == Some("memfd");
    if blob == Some(true) && !is_memfd {
        return Err(view.invalid("model@blob", "it needs memory of memfd; add <memoryBacking>"));
    }
    match is_process {
        true => props.set("chardev", chardev(device)),
        false => props.set_some("blob", blob),
    }
    Ok(())
}

fn add_qxl_memory(cx: &Context<'_>, view: View<'_>, props: &mut Props) -> Result<(), Error> {
    let (ram, vram) = (bytes(view, "model@ram", QXL_KIB)?, bytes(view, "model@vram", QXL_KIB)?);
    props.set("ram_size", ram);
    props.set("vram_size", vram);
    let vram64: u32 = view.number("model@vram64")?.unwrap_or(0);
    if cx.has_property("qxl", "vram64_size_mb") {
        props.set("vram64_size_mb", vram64 / 1024);
    }
    let vgamem = view.number("model@vgamem")?.filter(|kib| *kib > 0).unwrap_or(VRAM_KIB);
    if vgamem < 1024 || !vgamem.is_power_of_two() {
        return Err(view.invalid("model@vgamem", "use a power of two from 1024 KiB"));
    }
    if cx.has_property("qxl", "vgamem_mb") {
        props.set("vgamem_mb", vgamem / 1024);
    }
    Ok(())
}

fn add_resolution(view: View<'_>, model: VideoModel, props: &mut Props) -> Result<(), Error> {
    if !view.has("model/resolution") {
        return Ok(());
    }
    let (width, height) = (view.number("model/resolution@x")?, view.number("model/resolution@y")?);
    let can =
        matches!(model, VideoModel::Vga | VideoModel::Qxl | VideoModel::Virtio | VideoModel::Bochs);
    match (width, height) {
        (Some(width @ 1..), Some(height @ 1..)) if can => {
            let (width, height): (u32, u32) = (width, height);
            props.set("xres", width);
            props.set("yres", height);
            Ok(())
        }
        _ if !can => Err(view.invalid("model/resolution", "the model has no resolution")),
        _ => Err(view.invalid("model/resolution", "it needs x and y from 1")),
    }
}
