//! The CPU of the host, as the emulator reports it.

use capscache_libvirt::{CpuValue, Emulator};

use super::completed::Cpu;
use super::mode::Mode;
use crate::context::{Context, LIBVIRT};
use crate::error::Error;

/// Returns the model of s390 that is the CPU of the host.
pub(super) fn s390<'a>(cx: &Context<'a>) -> Result<Cpu<'a>, Error> {
    let emulator = Emulator::of(cx.entry, LIBVIRT);
    let Some(host) = emulator.whole_host_cpu(cx.accelerator()) else {
        let what = "the emulator does not report the CPU of the host; name a model";
        return Err(cx.domain.invalid("cpu", what));
    };
    let feature = |name: String, value: &CpuValue| match value {
        CpuValue::Boolean(is_on) => Some((name, *is_on)),
        _ => None,
    };
    let features = host.properties.into_iter();
    let features = features.filter_map(|property| feature(property.name, &property.value));
    Ok(Cpu {
        mode: Mode::Custom,
        name: host.model,
        vendor_id: None,
        migratable: None,
        features: features.collect(),
    })
}

/// Returns the features that the emulator reports as deprecated; `None` if it reports none at all.
pub(super) fn deprecated(cx: &Context<'_>) -> Option<Vec<String>> {
    let emulator = Emulator::of(cx.entry, LIBVIRT);
    let flag = capscache_libvirt::find("query-cpu-model-expansion.deprecated-props")?;
    if !emulator.has(flag).is_yes() {
        return None;
    }
    let host = emulator.whole_host_cpu(cx.accelerator());
    Some(host.map(|host| host.deprecated).unwrap_or_default())
}
