//! Confidential guests.

use capscache_devaddr::Family;
use capscache_format::{FactKind, Value};

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::{List, Props};
use crate::view::View;

/// The id of the object.
const ID: &str = "lsec0";

/// Adds the option of the machine.
pub(super) fn add_machine(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    if let Some(view) = cx.domain.child("launchSecurity") {
        view.require("@type")?;
        let is_new = cx.has_flag("confidential-guest-support");
        let is_pv = view.text("@type") == Some("s390-pv");
        let key = if is_new || is_pv { "confidential-guest-support" } else { "memory-encryption" };
        list.set(key, ID);
    }
    Ok(())
}

/// Adds confidential guests.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let Some(view) = cx.domain.child("launchSecurity") else { return Ok(()) };
    let props = match view.one_of("@type", &["sev", "sev-snp", "s390-pv"])? {
        Some("s390-pv") if cx.machine.family == Family::S390 => Props::object("s390-pv-guest", ID),
        Some("sev") if cx.machine.family == Family::X86 => sev(cx, view)?,
        Some("sev-snp") if cx.machine.family == Family::X86 => snp(cx, view)?,
        _ => return Err(view.invalid("@type", "the machine does not have this type")),
    };
    args.object(&props);
    Ok(())
}

/// Starts an object of AMD's SEV: positions in addresses are those of the host, if the guest does not name them.
fn common(cx: &Context<'_>, view: View<'_>, r#type: &str) -> Result<Props, Error> {
    cx.require_device(view, r#type)?;
    let host = cx.accelerated().and_then(|accelerated| accelerated.answer(FactKind::Sev).ok());
    let of_host = |key| host?.get(key).and_then(Value::as_u64);
    let mut props = Props::object(r#type, ID);
    for (place, key, of_host) in [
        ("cbitpos", "cbitpos", of_host("cbitpos")),
        ("reducedPhysBits", "reduced-phys-bits", of_host("reduced-phys-bits")),
    ] {
        match view.number::<u32>(place)?.map(u64::from).or(of_host) {
            Some(value) => props.set(key, value),
            None => return Err(view.lacks("", format!("{key} of the host; name it"))),
        }
    }
    Ok(props)
}

pub(super) fn policy<N: TryFrom<u64>>(view: View<'_>) -> Result<N, Error> {
    let text = view.require("policy")?;
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let policy = u64::from_str_radix(digits, 16).ok().and_then(|policy| N::try_from(policy).ok());
    policy.ok_or_else(|| view.invalid("policy", "use a hexadecimal number"))
}

fn sev(cx: &Context<'_>, view: View<'_>) -> Result<Props, Error> {
    let policy: u32 = policy(view)?;
    let props = common(cx, view, "sev-guest")?.with("policy", policy);
    let kernel_hashes = view.yes_no("@kernelHashes")?;
    if kernel_hashes.is_some()
        && cx.entry.object("sev-guest").and_then(|object| object.property("kernel-hashes")).is_err()
    {
        return Err(view.lacks("@kernelHashes", "hashes of kernels"));
    }
    Ok(props.with_some("kernel-hashes", kernel_hashes))
}

fn snp(cx: &Context<'_>, view: View<'_>) -> Result<Props, Error> {
    let policy: u64 = policy(view)?;
    let mut props = common(cx, view, "sev-snp-guest")?;
    props.set_some("kernel-hashes", view.yes_no("@kernelHashes")?);
    props.set("policy", policy);
    for (place, key) in [
        ("guestVisibleWorkarounds", "guest-visible-workarounds"),
        ("idBlock", "id-block"),
        ("idAuth", "id-auth"),
        ("hostData", "host-data"),
    ] {
        props.set_some(key, view.raw(place).filter(|text| !text.is_empty()));
    }
    props.set_some("author-key-enabled", view.yes_no("@authorKey")?);
    props.set_some("vcek-disabled", view.yes_no("@vcek")?.map(|has_vcek| !has_vcek));
    Ok(props)
}
