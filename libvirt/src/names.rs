//! Names of CPU models and features that libvirt and QEMU spell differently.

use crate::release::Release;

/// The models of ppc64 in libvirt's words, those of later releases last. QEMU's differ in case.
const PPC64_MODELS: [&str; 8] = [
    "POWER6",
    "POWER7",
    "POWER8",
    "POWER9",
    "POWER10",
    "POWERPC_e5500",
    "POWERPC_e6500",
    "POWER11",
];

/// Features of x86 in libvirt's and in QEMU's words.
const X86_FEATURES: &[(&str, &str)] = &[
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
    (NOT_RESPELT_AT_FIRST, "vmx-invept-single-context-noglobals"),
];

/// The feature of x86 that libvirt 9.0 and 10.0 do not write with QEMU's name.
pub(crate) const NOT_RESPELT_AT_FIRST: &str = "vmx-invvpid-single-context-noglobals";

/// Returns the name that a release of libvirt has for a CPU model of ppc64.
pub fn ppc64_model(name: &str, release: Release) -> &str {
    let mut known = PPC64_MODELS.iter().take(release.facts().ppc64_models);
    known.find(|model| model.eq_ignore_ascii_case(name)).unwrap_or(&name)
}

/// Returns QEMU's name of a feature of x86.
pub fn x86_feature_to_qemu(feature: &str) -> &str {
    X86_FEATURES.iter().find(|(libvirt, _)| *libvirt == feature).map_or(feature, |(_, qemu)| qemu)
}

/// Returns libvirt's name of a feature of x86.
pub fn x86_feature_of_qemu(feature: &str) -> &str {
    X86_FEATURES.iter().find(|(_, qemu)| *qemu == feature).map_or(feature, |(libvirt, _)| libvirt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_ppc64_is_spelt_as_the_release_knows_it() {
        for (name, release, expected) in [
            ("power9", Release::V9_0, "POWER9"),
            ("powerpc_E5500", Release::V11_3, "POWERPC_e5500"),
            ("power11", Release::V11_3, "power11"),
            ("power11", Release::V12_8, "POWER11"),
            ("970mp", Release::V12_8, "970mp"),
        ] {
            assert_eq!(ppc64_model(name, release), expected, "{release}");
        }
    }
}
