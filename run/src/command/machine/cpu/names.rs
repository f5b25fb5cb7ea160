//! Names of CPU models and features, which are not the same in libvirt and QEMU.

use capscache_devaddr::Family;
use capscache_format::Accelerator;
use capscache_libvirt::Emulator;
use capscache_libvirt::names::{ppc64_model, x86_feature_of_qemu, x86_feature_to_qemu};

use crate::context::{Context, LIBVIRT};

/// Returns libvirt's name of a CPU model.
pub(super) fn of_model<'a>(cx: &Context<'_>, name: &'a str) -> &'a str {
    match cx.machine.family {
        Family::Ppc64 => ppc64_model(name, LIBVIRT),
        _ => name,
    }
}

/// Returns QEMU's name of a feature.
pub(super) fn to_qemu<'a>(cx: &Context<'_>, feature: &'a str) -> &'a str {
    match cx.machine.family {
        Family::X86 => x86_feature_to_qemu(feature),
        _ => feature,
    }
}

/// Returns whether the emulator has a feature in libvirt's words, as far as it is reported.
pub(super) fn is_known(cx: &Context<'_>, feature: &str) -> bool {
    if cx.machine.family != Family::X86 {
        return true;
    }
    let emulator = Emulator::of(cx.entry, LIBVIRT);
    // All accelerators have the same names.
    let host = emulator.host_cpu(cx.accelerator()).or_else(|| emulator.host_cpu(Accelerator::Tcg));
    // The feature has to be that of the name which libvirt reads.
    let name = to_qemu(cx, feature);
    let is_plain = x86_feature_of_qemu(name) == feature;
    host.is_none_or(|host| is_plain && host.property(name).is_some())
}
