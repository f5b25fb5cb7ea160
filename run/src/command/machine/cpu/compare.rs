//! The comparison of a CPU model of x86 with the CPU of the host.

use capscache_format::CpuModel;
use capscache_libvirt::names::x86_feature_of_qemu;
use capscache_libvirt::{Comparison, Policy};

use super::host_model::Host;
use super::request::{Match, Request};
use crate::error::Error;
use crate::view::View;

/// Checks that the host has the CPU that a guest requests.
pub(super) fn check(host: &Host<'_>, view: View<'_>, request: &Request<'_>) -> Result<(), Error> {
    check_forbidden(host, view, request)?;
    let mut models = host.models();
    let model = models.find(|model| request.model == Some(model.name()));
    let is_plain = request.features.iter().all(|(_, policy)| *policy == Policy::Disable);
    let blockers = model.and_then(CpuModel::unavailable_features);
    if is_plain && blockers.is_some_and(|blockers| blockers.count() == 0) {
        return Ok(());
    }
    match (model, request.model) {
        (Some(model), Some(name)) => match host.known()?.map.is_compared(name) {
            None => Err(view.invalid("model", format!("{name:?} is not a CPU model of libvirt"))),
            Some(true) => compare(host, view, request),
            Some(false) => check_reported(host, view, request, model),
        },
        _ => compare(host, view, request),
    }
}

/// Checks that the host does not have features that the guest forbids.
fn check_forbidden(host: &Host<'_>, view: View<'_>, request: &Request<'_>) -> Result<(), Error> {
    let is_forbidden = |(_, policy): &&(String, Policy)| *policy == Policy::Forbid;
    let mut forbidden = request.features.iter().filter(is_forbidden).peekable();
    if forbidden.peek().is_none() {
        return Ok(());
    }
    let cpu = host.known()?.cpu(false)?;
    let is_of_host = |name: &str| cpu.features.iter().any(|(other, is_on)| *is_on && other == name);
    if let Some((name, _)) = forbidden.find(|(name, _)| is_of_host(name)) {
        return Err(view.invalid("feature", format!("the host has {name}; disable it instead")));
    }
    if host.is_partial() {
        let what = "the policy forbid is supported with check='none' only; use disable";
        return Err(view.unsupported("feature", what));
    }
    Ok(())
}

/// Compares the model by its features in libvirt's map.
///
/// libvirt compares it with all features of the host, of which the emulator may not report some. The result is the same
/// where the reported ones are enough.
fn compare(host: &Host<'_>, view: View<'_>, request: &Request<'_>) -> Result<(), Error> {
    let known = host.known()?;
    let (model, vendor) = (request.model, request.vendor);
    let hint = "use another, or set check to none";
    let is_strict = request.matching == Match::Strict;
    match known.map.compare(&known.cpu(false)?, model, vendor, &request.features) {
        Comparison::Vendor => {
            Err(view.invalid("vendor", "the CPU of the host is of another vendor"))
        }
        Comparison::Unknown(name) => {
            Err(view.invalid("", format!("libvirt does not have {name:?}; {hint}")))
        }
        Comparison::Forbidden => {
            Err(view.invalid("feature", "the host has a feature that is forbidden"))
        }
        Comparison::Missing(name) => {
            let what = format!("the emulator does not report {name} of the host; {hint}");
            Err(view.unsupported("model", what))
        }
        Comparison::More if is_strict => {
            Err(view.invalid("@match", "the host has other features too; use exact"))
        }
        Comparison::Same if is_strict && host.is_partial() => {
            Err(view.unsupported("@match", "the match strict is not supported; use exact"))
        }
        Comparison::More | Comparison::Same => Ok(()),
    }
}

/// Checks a model by what the emulator reports: the features that the host lacks are off, and all others are there.
fn check_reported(
    host: &Host<'_>,
    view: View<'_>,
    request: &Request<'_>,
    model: CpuModel<'_>,
) -> Result<(), Error> {
    let known = host.known()?;
    let cpu = known.cpu(false)?;
    let own = known.map.expand(&cpu);
    let has = |name: &str, policy| request.features.iter().any(|(n, p)| n == name && *p == policy);
    let blockers = model.unavailable_features().into_iter().flatten().map(x86_feature_of_qemu);
    let mut missing = blockers.filter(|name| !has(name, Policy::Disable));
    let mut features = request.features.iter();
    let first = missing.next().map(str::to_owned).or_else(|| {
        let lacks = |name: &str| has(name, Policy::Require) && !own.contains(&name);
        features.find(|(name, _)| lacks(name)).map(|(name, _)| name.clone())
    });
    match first {
        None => Ok(()),
        Some(name) => {
            let what = format!("the host does not have {name}; use another, or turn it off");
            Err(view.invalid("model", what))
        }
    }
}
