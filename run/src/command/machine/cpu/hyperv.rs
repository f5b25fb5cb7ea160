//! Enlightenments of Hyper-V.

use capscache_devaddr::{Board, Family};

use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// The enlightenments in the order of their flags.
const FEATURES: &[(&str, &str)] = &[
    ("relaxed", "hv-relaxed"),
    ("vapic", "hv-vapic"),
    ("spinlocks", "hv-spinlocks"),
    ("vpindex", "hv-vpindex"),
    ("runtime", "hv-runtime"),
    ("synic", "hv-synic"),
    ("stimer", "hv-stimer"),
    ("reset", "hv-reset"),
    ("vendor_id", "hv-vendor-id"),
    ("frequencies", "hv-frequencies"),
    ("reenlightenment", "hv-reenlightenment"),
    ("tlbflush", "hv-tlbflush"),
    ("ipi", "hv-ipi"),
    ("evmcs", "hv-evmcs"),
    ("avic", "hv-avic"),
    ("emsr_bitmap", "hv-emsr-bitmap"),
    ("xmm_input", "hv-xmm-input"),
];

/// The smallest number of retries, and the largest length of a vendor.
const MIN_RETRIES: u32 = 4095;
const MAX_VENDOR_BYTES: usize = 12;

/// Adds enlightenments.
pub(super) fn add(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let features = cx.domain.child("features");
    let Some(hyperv) = features.and_then(|features| features.child("hyperv")) else {
        return Ok(());
    };
    let is_virt = (cx.machine.family, cx.machine.board) == (Family::Arm, Board::Virt);
    if cx.machine.family != Family::X86 && !is_virt {
        return Err(hyperv.invalid("", "only x86 and Arm's virt machine have it; remove it"));
    }
    if hyperv.one_of("@mode", &["custom", "passthrough"])? == Some("passthrough") {
        list.set_switch("hv-passthrough", true);
        // libvirt reads no single enlightenment then.
        for (name, _) in FEATURES {
            hyperv.ignore_children(name);
        }
        return Ok(());
    }
    FEATURES.iter().try_for_each(|(name, flag)| add_one(cx, hyperv, name, flag, list))
}

fn add_one(
    cx: &Context<'_>,
    hyperv: View<'_>,
    name: &str,
    flag: &str,
    list: &mut List,
) -> Result<(), Error> {
    let Some(feature) = hyperv.child(name) else { return Ok(()) };
    feature.require("@state")?;
    if feature.switch("@state")? != Some(true) {
        // libvirt does not read the rest of one that is off.
        feature.ignore(&["@retries", "@value"]);
        ["direct", "extended"].iter().for_each(|child| feature.ignore_children(child));
        return Ok(());
    }
    match name {
        "spinlocks" => {
            feature.require("@retries")?;
            let retries: Option<u32> = feature.any_number("@retries")?;
            let Some(retries) = retries.filter(|retries| *retries >= MIN_RETRIES) else {
                let what = format!("the number of retries is at least {MIN_RETRIES}");
                return Err(feature.invalid("@retries", what));
            };
            list.set(flag, format_args!("{retries:#x}"));
        }
        "vendor_id" => {
            let vendor = feature.require("@value")?;
            if vendor.len() > MAX_VENDOR_BYTES || vendor.contains(',') {
                let what = format!("a vendor has up to {MAX_VENDOR_BYTES} characters, no comma");
                return Err(feature.invalid("@value", what));
            }
            list.set(flag, vendor);
        }
        _ if cx.machine.family == Family::X86 => list.set_switch(flag, true),
        // libvirt translates names on x86 only.
        _ => list.set_switch(&format!("hv-{name}"), true),
    }
    add_parts(feature, name, list)
}

/// Adds parts of enlightenments.
fn add_parts(feature: View<'_>, name: &str, list: &mut List) -> Result<(), Error> {
    let parts: &[(&str, &str)] = match name {
        "stimer" => &[("direct", "hv-stimer-direct")],
        "tlbflush" => &[("direct", "hv-tlbflush-direct"), ("extended", "hv-tlbflush-ext")],
        _ => &[],
    };
    for (part, flag) in parts {
        if let Some(part) = feature.child(part) {
            part.require("@state")?;
            if part.switch("@state")? == Some(true) {
                list.set_switch(flag, true);
            }
        }
    }
    Ok(())
}
