//! CPU models of x86 with features, as libvirt completes them.

use capscache_libvirt::{GuestCpu, Policy};

use super::host_model::Host;
use super::mode::Mode;
use super::request::{Match, Request};
use super::{compare, x86};
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Returns the model and the features of the CPU that a guest requests.
pub(super) fn complete<'a>(
    cx: &'a Context<'a>,
    view: View<'a>,
    request: &Request<'a>,
    is_checked: bool,
) -> Result<GuestCpu, Error> {
    let host = Host::new(cx, view);
    let names: Vec<&str> = request.features.iter().map(|(name, _)| name.as_str()).collect();
    host.check_features(&names)?;
    if is_checked {
        compare::check(&host, view, request)?;
    }
    let mut cpu = update(&host, request)?;
    add_removed(&host, &mut cpu);
    if host.models().any(|model| model.name() == cpu.model) {
        return Ok(cpu);
    }
    if !request.has_fallback {
        return Err(view.lacks("model", format!("the CPU model {}; use another", cpu.model)));
    }
    let mut translated = host.known()?.translate(&cpu)?;
    cpu.features.iter().for_each(|(name, is_on)| set(&mut translated, name, *is_on));
    Ok(translated)
}

/// Replaces what depends on the host.
fn update(host: &Host<'_>, request: &Request<'_>) -> Result<GuestCpu, Error> {
    let is_of_host = request.mode == Mode::HostModel || request.matching == Match::Minimum;
    let is_optional = |(_, policy): &(String, Policy)| *policy == Policy::Optional;
    let mut cpu = GuestCpu::default();
    let mut own = Vec::new();
    if is_of_host || request.features.iter().any(is_optional) {
        let known = host.known()?;
        let of_host = known.cpu(true)?;
        for (name, policy) in &request.features {
            let is_on = match policy {
                Policy::Optional => known.map.has(&of_host, name),
                other => matches!(other, Policy::Force | Policy::Require),
            };
            own.push((name.clone(), is_on));
        }
        cpu = of_host;
    } else {
        let is_on = |policy: &Policy| matches!(policy, Policy::Force | Policy::Require);
        own.extend(request.features.iter().map(|(name, policy)| (name.clone(), is_on(policy))));
    }
    if !is_of_host {
        let model = request.model.unwrap_or_default().to_owned();
        return Ok(GuestCpu { model, vendor: None, features: own });
    }
    own.iter().for_each(|(name, is_on)| set(&mut cpu, name, *is_on));
    Ok(cpu)
}

/// Turns features off that QEMU removed from the model, if they are not named.
fn add_removed(host: &Host<'_>, cpu: &mut GuestCpu) {
    let removed: Vec<String> = match host.known_already() {
        Some(known) => known.map.removed(&cpu.model).to_vec(),
        None => x86::removed(&cpu.model).iter().map(|name| (*name).to_owned()).collect(),
    };
    for feature in removed {
        if !cpu.features.iter().any(|(name, _)| *name == feature) {
            cpu.features.push((feature, false));
        }
    }
}

/// Changes a feature, or adds it.
fn set(cpu: &mut GuestCpu, feature: &str, is_on: bool) {
    match cpu.features.iter_mut().find(|(name, _)| name == feature) {
        Some((_, state)) => *state = is_on,
        None => cpu.features.push((feature.to_owned(), is_on)),
    }
}
