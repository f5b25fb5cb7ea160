//! Memory devices.

use capscache_devaddr::Family;
use capscache_domain::{Address, Kind as DeviceKind, MemoryModel};
use capscache_format::{Array, FactKind, Value};

use super::backend::{Kind, Part, Settings};
use super::{backing, numa, sizes, tuning};
use crate::command::args::Args;
use crate::command::{address, virtio};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::{List, Props};

/// The smallest block of virtio-mem in KiB: the size of transparent huge pages.
const MIN_BLOCK_KIB: u64 = 2048;
/// The size of a page of most hosts, of which the physical addresses of these devices are multiples.
const PAGE: u64 = 4096;
/// The smallest label of an NVDIMM in KiB.
const MIN_LABEL_KIB: u64 = 128;

/// Adds the options of the machine that memory devices need.
pub(in crate::command) fn add_machine(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let (mut has_nvdimm, mut enclaves) = (false, 0_u32);
    for device in cx.of(DeviceKind::Memory) {
        match model(device)? {
            MemoryModel::Nvdimm if !has_nvdimm => {
                has_nvdimm = true;
                list.set_switch("nvdimm", true);
            }
            MemoryModel::SgxEpc => {
                let node: u32 = device.view.number("target/node")?.unwrap_or(0);
                let memdev = format!("mem{}", device.alias());
                list.set(&format!("sgx-epc.{enclaves}.memdev"), memdev);
                list.set(&format!("sgx-epc.{enclaves}.node"), node);
                enclaves += 1;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Adds memory devices.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let devices: Vec<_> = cx.of(DeviceKind::Memory).collect();
    check(cx, &devices)?;
    if devices.is_empty() {
        return Ok(());
    }
    let mut settings = Settings::of(cx)?;
    settings.is_allocated |= numa::is_allocated(cx, &settings)?;
    devices.into_iter().try_for_each(|device| add_device(cx, &settings, device, args))
}

fn model(device: DeviceView<'_>) -> Result<MemoryModel, Error> {
    let model = device.view.word("@model")?;
    model.ok_or_else(|| device.view.invalid("", "the model is missing; add it"))
}

/// Checks that the guest has room for memory devices.
fn check(cx: &Context<'_>, devices: &[DeviceView<'_>]) -> Result<(), Error> {
    let max = cx.domain.kib("maxMemory")?.unwrap_or(0);
    let slots: u32 = cx.domain.number("maxMemory@slots")?.unwrap_or(0);
    if max == 0 && slots == 0 {
        return match devices.is_empty() {
            true => Ok(()),
            false => Err(cx.domain.invalid("", "memory devices need a maxMemory; add it")),
        };
    }
    let has_numa = !cx.guest.numa.is_empty();
    if !has_numa && !matches!(cx.machine.family, Family::Ppc64 | Family::S390) {
        return Err(cx.domain.invalid("", "memory devices need a NUMA cell; add it"));
    }
    let mut used: u32 = 0;
    for device in devices {
        let view = device.view;
        let model = model(*device)?;
        let is_dimm = matches!(model, MemoryModel::Dimm | MemoryModel::Nvdimm);
        used += u32::from(is_dimm);
        let is_valid = match device.address() {
            None => true,
            Some(Address::Dimm(dimm)) => is_dimm && dimm.slot.is_none_or(|slot| slot < slots),
            Some(Address::Ccw(_)) => model == MemoryModel::VirtioMem,
            Some(Address::Pci(_)) => {
                matches!(model, MemoryModel::VirtioMem | MemoryModel::VirtioPmem)
            }
            Some(_) => false,
        };
        if !is_valid {
            return Err(view.invalid("address", "the device cannot have it; remove it"));
        }
        let node: Option<u32> = view.number("target/node")?;
        let is_there =
            |node: u32| usize::try_from(node).is_ok_and(|node| node < cx.guest.numa.len());
        if node.is_some_and(|node| !is_there(node)) {
            return Err(view.invalid("target/node", "the guest has no such NUMA cell; add it"));
        }
        if has_numa && node.is_none() && (is_dimm || model == MemoryModel::VirtioMem) {
            return Err(view.invalid("target", "the node is missing; add it"));
        }
    }
    match used > slots {
        true => Err(cx.domain.invalid("maxMemory@slots", "it is less than the devices; raise it")),
        false => Ok(()),
    }
}

fn add_device(
    cx: &Context<'_>,
    settings: &Settings,
    device: DeviceView<'_>,
    args: &mut Args,
) -> Result<(), Error> {
    let view = device.view;
    let model = model(device)?;
    let alias = device.alias();
    let memdev = format!("mem{alias}");
    let mut part = Part::new(memdev.clone(), alias, sizes::module(cx, device)?);
    part.cell = view.number("target/node")?;
    part.share = backing::share(view, "@access")?;
    part.discard = view.yes_no("@discard")?;
    let mut props = Props::default();
    match model {
        MemoryModel::Dimm => {
            cx.require_device(view, "pc-dimm")?;
            read_source(cx, device, &mut part)?;
            props.set("driver", "pc-dimm");
            props.set_some("node", part.cell);
        }
        MemoryModel::Nvdimm => nvdimm(cx, device, &mut part, &mut props)?,
        MemoryModel::VirtioPmem => {
            part.share.get_or_insert(true);
            if part.share != Some(true) || part.discard == Some(true) || part.cell.is_some() {
                let what = "it is shared, not discarded, and in no NUMA cell; remove the setting";
                return Err(view.invalid("", what));
            }
            part.kind = Kind::VirtioPmem { path: view.require("source/path")?.to_owned() };
            props = virtio::device(cx, device, "virtio-pmem", virtio::Interface::Default)?;
        }
        MemoryModel::VirtioMem => {
            part.kind = Kind::VirtioMem;
            read_source(cx, device, &mut part)?;
            props = virtio::device(cx, device, "virtio-mem", virtio::Interface::Default)?;
            props.set_some("node", part.cell);
            add_blocks(device, part.kib, &mut props)?;
        }
        MemoryModel::SgxEpc => {
            part.kind = Kind::Epc;
            part.nodes = tuning::list(cx, view, "source/nodemask")?;
            check_enclave(cx, device, &part)?;
            if device.address().is_some() {
                return Err(view.invalid("address", "enclaves have none; remove it"));
            }
            settings.backend(cx, part)?.add(cx, args)?;
            return Ok(());
        }
        _ => return Err(view.unsupported("@model", "memory devices of it are not supported")),
    }
    props.set("memdev", memdev);
    if model == MemoryModel::VirtioMem {
        let can = cx.has_property("virtio-mem-pci", "prealloc");
        let is_immediate = settings.is_immediate(&part, settings.pages(cx, &part)?);
        props.set_some("prealloc", (can && is_immediate).then_some(true));
    }
    if matches!(model, MemoryModel::VirtioMem | MemoryModel::VirtioPmem) {
        let base = base(device)?;
        if base.is_some_and(|base| !base.is_multiple_of(PAGE)) {
            let what = format!("it is not a multiple of {PAGE}; change it");
            return Err(view.invalid("target/address@base", what));
        }
        props.set_some("memaddr", base);
    }
    if model == MemoryModel::VirtioMem {
        let slots = view.yes_no("target@dynamicMemslots")?;
        if slots == Some(true) && !cx.has_property("virtio-mem-pci", "dynamic-memslots") {
            let what = "dynamic slots of virtio-mem; remove the setting";
            return Err(view.lacks("target@dynamicMemslots", what));
        }
        props.set_some("dynamic-memslots", slots);
    }
    props.set("id", alias);
    address::add(cx, device, &mut props)?;
    settings.backend(cx, part)?.add(cx, args)?;
    args.device(&props);
    Ok(())
}

/// Checks that the host has so much memory for enclaves, on each of the nodes.
fn check_enclave(cx: &Context<'_>, device: DeviceView<'_>, part: &Part<'_>) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "sgx-epc")?;
    let answer = cx.accelerated().and_then(|accelerated| accelerated.answer(FactKind::Sgx).ok());
    let sections = answer.and_then(|answer| answer.get("sections")?.as_array());
    let sizes: Vec<u64> = sections
        .into_iter()
        .flat_map(Array::iter)
        .map(|section| section.get("size").and_then(Value::as_u64).unwrap_or(0) / 1024)
        .collect();
    let nodes = part.nodes.clone().unwrap_or_else(|| vec![0]);
    let has_room = |node: &u32| {
        let size = usize::try_from(*node).ok().and_then(|node| sizes.get(node));
        size.is_some_and(|size| *size >= part.kib)
    };
    match nodes.iter().all(has_room) {
        true => Ok(()),
        false => Err(view.lacks("target/size", "so much memory for enclaves; lower the size")),
    }
}

/// Reads pages and nodes of the host.
fn read_source(cx: &Context<'_>, device: DeviceView<'_>, part: &mut Part<'_>) -> Result<(), Error> {
    let size = device.view.kib("source/pagesize")?.filter(|kib| *kib > 0);
    part.pages = size.map(|kib| backing::of_size(cx, kib, true)).transpose()?;
    part.nodes = tuning::list(cx, device.view, "source/nodemask")?;
    Ok(())
}

fn nvdimm(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    part: &mut Part<'_>,
    props: &mut Props,
) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "nvdimm")?;
    if part.discard == Some(true) {
        return Err(view.invalid("@discard", "an NVDIMM is not discarded; remove it"));
    }
    part.kind = Kind::Nvdimm {
        path: view.require("source/path")?.to_owned(),
        align_kib: view.kib("source/alignsize")?.filter(|kib| *kib > 0),
        is_pmem: view.has("source/pmem"),
    };
    let label = view.kib("target/label/size")?.filter(|kib| *kib > 0);
    let is_ppc64 = cx.machine.family == Family::Ppc64;
    let size = view.kib("target/size")?.unwrap_or(0);
    if label.is_some_and(|kib| kib < MIN_LABEL_KIB || kib >= size) {
        let what = format!("it is not from {MIN_LABEL_KIB} KiB to the size; change it");
        return Err(view.invalid("target/label/size", what));
    }
    let uuid = view.text("uuid");
    // libvirt makes up a UUID, which differs each time.
    if is_ppc64 && (label.is_none() || uuid.is_none()) {
        return Err(view.unsupported("", "an NVDIMM of pseries needs a label and a UUID; add them"));
    }
    if !is_ppc64 && uuid.is_some() {
        return Err(view.invalid("uuid", "only an NVDIMM of pseries has a UUID; remove it"));
    }
    props.set("driver", "nvdimm");
    props.set_some("node", part.cell);
    props.set_some("label-size", label.map(|kib| kib.saturating_mul(1024)));
    props.set_some("uuid", uuid.map(str::to_ascii_lowercase));
    props.set_some("unarmed", view.has("target/readonly").then_some(true));
    Ok(())
}

/// Adds the sizes of virtio-mem.
fn add_blocks(device: DeviceView<'_>, kib: u64, props: &mut Props) -> Result<(), Error> {
    let view = device.view;
    let block = view.kib("target/block")?.unwrap_or(0);
    let requested = view.kib("target/requested")?.unwrap_or(0);
    if block < MIN_BLOCK_KIB || !block.is_power_of_two() {
        let what = format!("it is not a power of two of at least {MIN_BLOCK_KIB} KiB; change it");
        return Err(view.invalid("target/block", what));
    }
    if requested > kib || !requested.is_multiple_of(block) {
        let what = "it is not a multiple of the block up to the size; change it";
        return Err(view.invalid("target/requested", what));
    }
    let bytes = block.saturating_mul(1024);
    if base(device)?.is_some_and(|base| !base.is_multiple_of(bytes)) {
        let what = "it is not a multiple of the block; change it";
        return Err(view.invalid("target/address@base", what));
    }
    props.set("block-size", bytes);
    let requested = Some(requested).filter(|kib| *kib > 0);
    props.set_some("requested-size", requested.map(|kib| kib.saturating_mul(1024)));
    Ok(())
}

/// Returns the physical address, which is hexadecimal.
fn base(device: DeviceView<'_>) -> Result<Option<u64>, Error> {
    let view = device.view;
    let Some(text) = view.text("target/address@base") else { return Ok(None) };
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let base = u64::from_str_radix(digits, 16).ok();
    let wrong = || view.invalid("target/address@base", "it is not a hexadecimal number");
    base.map(|base| Some(base).filter(|base| *base > 0)).ok_or_else(wrong)
}
