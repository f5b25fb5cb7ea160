//! Features of the machine that are options of its type.

use capscache_devaddr::{Board, Family};
use capscache_domain::Kind;

use super::{firmware, gic, smm};
use crate::context::{Context, MAX_CPUS_WITHOUT_EIM};
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Adds features of the machine.
pub(super) fn add(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let domain = cx.domain;
    // QEMU's machines always have the first ones; others belong to other hypervisors, and libvirt ignores them.
    domain.ignore(&["features", "features/pae", "features/apic"]);
    domain.ignore(&["features/hap", "features/hap@state", "features/viridian", "features/privnet"]);
    let features = domain.child("features");
    if let Some(features) = features {
        add_vmport(cx, features, list)?;
    }
    if let Some(is_on) = smm_state(cx)? {
        list.set_switch("smm", is_on);
    }
    gic::add(cx, list)?;
    add_ioapic(cx, list)?;
    if let Some(features) = features {
        add_pseries(cx, features, list)?;
        add_rest(cx, features, list)?;
    }
    Ok(())
}

/// Returns whether the system management mode is switched on or off: by the guest, or since its firmware needs it.
fn smm_state(cx: &Context<'_>) -> Result<Option<bool>, Error> {
    match firmware::needs_smm(cx)? {
        true => Ok(Some(true)),
        false => smm::own_state(cx),
    }
}

fn add_vmport(cx: &Context<'_>, features: View<'_>, list: &mut List) -> Result<(), Error> {
    let Some(vmport) = features.child("vmport") else { return Ok(()) };
    let is_on = vmport.switch("@state")?.unwrap_or(true);
    let is_pc = matches!(cx.machine.board, Board::I440fx | Board::Q35 | Board::Isapc);
    if !is_pc || !cx.has_flag("machine-vmport-opt") {
        return Err(vmport.lacks("", "such a port on this machine"));
    }
    if is_on && features.text("ps2@state") == Some("off") {
        return Err(vmport.invalid("", "it needs the feature ps2"));
    }
    list.set_switch("vmport", is_on);
    Ok(())
}

/// Adds the interrupt controller that is emulated in part, if an IOMMU needs it.
fn add_ioapic(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let place = "features/ioapic@driver";
    let driver = cx.domain.one_of(place, &["qemu", "kvm"])?;
    let driver = driver.or_else(|| {
        let mut iommus = cx.of(Kind::Iommu);
        let needs_eim = cx.machine.is_q35() && cx.guest.vcpus > MAX_CPUS_WITHOUT_EIM;
        let needs = |view: View<'_>| needs_eim || view.peek("driver@intremap") == Some("on");
        iommus.any(|iommu| needs(iommu.view)).then_some("qemu")
    });
    match driver {
        Some(_) if cx.machine.family != Family::X86 => {
            Err(cx.domain.invalid(place, "only x86 has it; remove it"))
        }
        Some("qemu") => {
            list.set("kernel_irqchip", "split");
            Ok(())
        }
        Some(_) => {
            list.set("kernel_irqchip", "on");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Adds features of pseries.
fn add_pseries(cx: &Context<'_>, features: View<'_>, list: &mut List) -> Result<(), Error> {
    let check = |view: View<'_>| match cx.machine.board {
        Board::Pseries => Ok(()),
        _ => Err(view.invalid("", "only pseries has it; remove it")),
    };
    if let Some(hpt) = features.child("hpt") {
        check(hpt)?;
        if let Some(resizing) = hpt.one_of("@resizing", &["enabled", "disabled", "required"])? {
            list.set("resize-hpt", resizing);
        }
        if let Some(kib) = hpt.kib("maxpagesize")?.filter(|kib| *kib > 0) {
            list.set("cap-hpt-max-page-size", format_args!("{kib}k"));
        }
    }
    for (name, option) in
        [("htm", "cap-htm"), ("nested-hv", "cap-nested-hv"), ("ccf-assist", "cap-ccf-assist")]
    {
        if let Some(feature) = features.child(name) {
            check(feature)?;
            feature.require("@state")?;
            if let Some(is_on) = feature.switch("@state")? {
                list.set_switch(option, is_on);
            }
        }
    }
    let fixes = ["broken", "workaround", "fixed"];
    let ibs = ["broken", "workaround", "fixed-ibs", "fixed-ccd", "fixed-na"];
    for (name, option, words) in
        [("cfpc", "cap-cfpc", &fixes[..]), ("sbbc", "cap-sbbc", &fixes), ("ibs", "cap-ibs", &ibs)]
    {
        if let Some(feature) = features.child(name)
            && let Some(value) = feature.one_of("@value", words)?
        {
            check(feature)?;
            list.set(option, value);
        }
    }
    Ok(())
}

fn add_rest(cx: &Context<'_>, features: View<'_>, list: &mut List) -> Result<(), Error> {
    if let Some(ras) = features.child("ras") {
        if (cx.machine.family, cx.machine.board) != (Family::Arm, Board::Virt) {
            return Err(ras.invalid("", "only Arm's virt machine has it; remove it"));
        }
        ras.require("@state")?;
        list.set_switch("ras", ras.switch("@state")?.unwrap_or(true));
    }
    if let Some(ps2) = features.child("ps2") {
        if !cx.machine.has_ps2() || !cx.has_flag("i8042") || !cx.has_flag("machine-i8042-opt") {
            return Err(ps2.lacks("", "an option for the keyboard and mouse of this machine"));
        }
        ps2.require("@state")?;
        list.set_switch("i8042", ps2.switch("@state")?.unwrap_or(true));
    }
    if let Some(aia) = features.child("aia")
        && let Some(value) = aia.one_of("@value", &["none", "aplic", "aplic-imsic"])?
    {
        let is_virt = (cx.machine.family, cx.machine.board) == (Family::Riscv, Board::Virt);
        if !is_virt || !cx.has_flag("machine.virt.aia") {
            return Err(aia.lacks("", "this option for this machine"));
        }
        list.set("aia", value);
    }
    Ok(())
}
