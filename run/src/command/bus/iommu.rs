//! The IOMMU.

use capscache_devaddr::{Board, Definition, Family, Machine, Policy};
use capscache_domain::{DeviceKind, Guest, IommuModel, Kind};

use crate::command::address;
use crate::command::args::Args;
use crate::context::{Context, DeviceView, MAX_CPUS_WITHOUT_EIM};
use crate::error::Error;
use crate::props::Props;

/// Turns on extended interrupts of the IOMMU of a new guest with so many CPUs that it needs them.
pub(in crate::command) fn complete(guest: &mut Guest, machine: &Machine, policy: &Policy) {
    let is_needed = policy.definition == Definition::New
        && machine.is_q35()
        && guest.vcpus > MAX_CPUS_WITHOUT_EIM;
    for device in guest.devices.iter_mut().filter(|_| is_needed) {
        let is_intel = match &device.device {
            DeviceKind::Iommu(iommu) => iommu.model == IommuModel::Intel,
            _ => false,
        };
        if !is_intel {
            continue;
        }
        let driver = device.element_mut().child_or_new("driver");
        for option in ["intremap", "eim"] {
            if driver.attribute(option).is_none() {
                driver.set(option, "on");
            }
        }
    }
}

/// Adds the IOMMU.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if let Some(device) = cx.only(Kind::Iommu)? {
        let view = device.view;
        let alias = device.alias();
        let is_q35 = cx.machine.is_q35();
        let is_arm_virt = (cx.machine.family, cx.machine.board) == (Family::Arm, Board::Virt);
        let is_possible = match view.word("@model")? {
            Some(IommuModel::Intel) => is_q35,
            Some(IommuModel::Virtio) => is_q35 || is_arm_virt,
            Some(IommuModel::Smmuv3) => is_arm_virt,
            _ => {
                let what = "only intel, virtio and smmuv3 are supported; use one of them";
                return Err(view.unsupported("@model", what));
            }
        };
        if !is_possible {
            return Err(view.invalid("@model", "this machine cannot have it; use another"));
        }
        match view.word("@model")? {
            Some(IommuModel::Intel) => add_intel(cx, device, args)?,
            Some(IommuModel::Virtio) => {
                cx.require_device(view, "virtio-iommu-pci")?;
                if !cx.domain.has("features/acpi") {
                    return Err(view.invalid("@model", "it needs ACPI; add the feature"));
                }
                let mut props = Props::device("virtio-iommu").with("id", alias);
                address::add(cx, device, &mut props)?;
                args.device(&props);
            }
            // It is an option of the machine.
            _ => {}
        }
    }
    Ok(())
}

fn add_intel(cx: &Context<'_>, device: DeviceView<'_>, args: &mut Args) -> Result<(), Error> {
    let view = device.view;
    cx.require_device(view, "intel-iommu")?;
    let word = |on: Option<bool>| on.map(|on| if on { "on" } else { "off" });
    let remaps = view.switch("driver@intremap")?;
    let is_extended = view.switch("driver@eim")?;
    if remaps == Some(true) && cx.domain.text("features/ioapic@driver") == Some("kvm") {
        return Err(view.invalid("driver@intremap", "it needs the I/O APIC of QEMU; set it"));
    }
    if is_extended == Some(true) && remaps != Some(true) {
        return Err(view.invalid("driver@eim", "it needs intremap; turn it on"));
    }
    let mut props = Props::device("intel-iommu").with("id", device.alias());
    props.set_some("intremap", word(remaps));
    props.set_some("caching-mode", view.switch("driver@caching_mode")?);
    props.set_some("eim", word(is_extended));
    props.set_some("device-iotlb", view.switch("driver@iotlb")?);
    let bits: Option<u32> = view.number("driver@aw_bits")?;
    props.set_some("aw-bits", bits.filter(|bits| *bits > 0));
    props.set_some("dma-translation", view.switch("driver@dma_translation")?);
    args.device(&props);
    Ok(())
}
