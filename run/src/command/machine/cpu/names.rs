//! Names of CPU models and features, which are not the same in libvirt and QEMU.

use capscache_devaddr::Family;
use capscache_format::Accelerator;
use capscache_libvirt::Emulator;

use crate::context::Context;

/// The models of ppc64 in libvirt's words.
const PPC64: &[&str] =
    &["POWER6", "POWER7", "POWER8", "POWER9", "POWER10", "POWERPC_e5500", "POWERPC_e6500"];

/// Features of x86 with names in libvirt and QEMU.
const X86: &[(&str, &str)] = &[
    ("cmp_legacy", "cmp-legacy"),
    ("ds_cpl", "ds-cpl"),
    ("fxsr_opt", "fxsr-opt"),
    ("kvm_pv_eoi", "kvm-pv-eoi"),
    ("kvm_pv_unhalt", "kvm-pv-unhalt"),
    ("lahf_lm", "lahf-lm"),
    ("nodeid_msr", "nodeid-msr"),
    ("pclmuldq", "pclmulqdq"),
    ("perfctr_core", "perfctr-core"),
    ("perfctr_nb", "perfctr-nb"),
    ("tsc_adjust", "tsc-adjust"),
    ("vmx-invvpid-single-context-noglobals", "vmx-invept-single-context-noglobals"),
];

/// Returns libvirt's name of a CPU model. The emulator's differs in case on ppc64.
pub(super) fn of_model<'a>(cx: &Context<'_>, name: &'a str) -> &'a str {
    let mut models = PPC64.iter().filter(|_| cx.machine.family == Family::Ppc64);
    models.find(|model| model.eq_ignore_ascii_case(name)).unwrap_or(&name)
}

/// Returns QEMU's name of a feature.
pub(super) fn to_qemu<'a>(cx: &Context<'_>, feature: &'a str) -> &'a str {
    let mut pairs = X86.iter().filter(|_| cx.machine.family == Family::X86);
    pairs.find(|(libvirt, _)| *libvirt == feature).map_or(feature, |(_, qemu)| qemu)
}

/// Returns libvirt's name of a feature of x86.
pub(super) fn from_x86(feature: &str) -> &str {
    X86.iter().find(|(_, qemu)| *qemu == feature).map_or(feature, |(libvirt, _)| libvirt)
}

/// Returns whether the emulator has a feature in libvirt's words, as far as it is reported.
pub(super) fn is_known(cx: &Context<'_>, feature: &str) -> bool {
    if cx.machine.family != Family::X86 {
        return true;
    }
    let emulator = Emulator::of(cx.entry);
    // All accelerators have the same names.
    let host = emulator.host_cpu(cx.accelerator()).or_else(|| emulator.host_cpu(Accelerator::Tcg));
    // The feature has to be that of the name which libvirt reads.
    let name = to_qemu(cx, feature);
    let is_plain = from_x86(name) == feature;
    host.is_none_or(|host| is_plain && host.property(name).is_some())
}
