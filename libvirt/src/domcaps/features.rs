//! Features of the machine and of the host.

use super::domain::{Domain, VirtType};
use super::machine;
use super::parts;
use super::section::{Enumeration, Section};
use super::surroundings::{SevGuests, Surroundings};
use crate::arch;
use crate::caps::{EnlightenmentValues, HYPERV, QemuCaps, Sgx};

/// Features of the machine and of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// ARM's interrupt controllers.
    pub gic: Section,
    /// Features without values, in libvirt's order.
    pub plain: Vec<(&'static str, bool)>,
    /// AMD's encrypted virtualization.
    pub sev: Option<SevSupport>,
    /// Intel's enclaves.
    pub sgx: Option<Sgx>,
    /// The Hyper-V enlightenments; `None` if libvirt does not report them for the emulator.
    pub hyperv: Option<Hyperv>,
    /// The kinds of guests that the host cannot read; `None` if the release does not report them.
    pub launch_security: Option<Section>,
}

/// The Hyper-V enlightenments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hyperv {
    /// Their names, in libvirt's order.
    pub features: Enumeration,
    /// The values that guests get, in libvirt's order.
    pub defaults: Vec<(&'static str, String)>,
}

/// AMD's encrypted virtualization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SevSupport {
    /// The position of the encryption bit in an address.
    pub cbitpos: u32,
    /// The number of address bits that encryption takes.
    pub reduced_phys_bits: u32,
    /// The numbers of guests.
    pub guests: SevGuests,
    /// The first CPU's identity, if QEMU reported it.
    pub cpu0_id: Option<String>,
}

pub(super) fn all(caps: &QemuCaps, domain: &Domain, surroundings: &Surroundings<'_>) -> Features {
    let has = |flag| caps.flags.has(flag);
    let (machine, arch) = (&domain.machine, &caps.arch);
    let has_pv = has("s390-pv-guest") && has("confidential-guest-support");
    let has_ps2 = has("machine-i8042-opt")
        && (machine::is_i440fx(machine, arch)
            || machine::is_q35(machine, arch)
            || machine::is_xenfv(machine, arch)
            || machine == "isapc");
    let mut plain = vec![
        ("vmcoreinfo", has("vmcoreinfo")),
        ("genid", has("vmgenid")),
        ("backingStoreInput", true),
        ("backup", true),
        ("async-teardown", has("run-with.async-teardown")),
    ];
    let reports = |part: &str| parts::has(caps.release, part);
    if arch::is_s390(arch) || reports("s390-pv/other than s390") {
        let is_supported = arch::is_s390(arch) && has_pv && caps.kvm_supports_secure_guest;
        plain.push(("s390-pv", is_supported));
    }
    let has_tdx = has("tdx-guest")
        && arch == "x86_64"
        && domain.virt_type == VirtType::Kvm
        && caps.kvm_supports_secure_guest;
    plain.extend([("ps2", has_ps2), ("tdx", has_tdx)]);
    plain.retain(|(name, _)| reports(name));
    let launch_security = [
        (has("sev-guest"), "sev"),
        (has("sev-snp-guest"), "sev-snp"),
        (has_pv, "s390-pv"),
        (has("tdx-guest"), "tdx"),
    ];
    let launch_security =
        Section::unless_empty("launchSecurity", vec![Enumeration::of("sectype", &launch_security)]);
    Features {
        gic: gic(caps, domain),
        plain,
        sev: caps.sev.as_ref().map(|sev| SevSupport {
            cbitpos: sev.cbitpos,
            reduced_phys_bits: sev.reduced_phys_bits,
            guests: surroundings.sev_guests,
            cpu0_id: sev.cpu0_id.clone(),
        }),
        sgx: caps.sgx.clone(),
        hyperv: hyperv(caps),
        launch_security: parts::reported(caps.release, launch_security),
    }
}

fn gic(caps: &QemuCaps, domain: &Domain) -> Section {
    let is_virt = machine::is_arm_virt(&domain.machine, &caps.arch);
    let has = |version: u32| {
        let mut gics = caps.gic.iter().filter(|gic| is_virt && gic.version == version);
        gics.any(|gic| match domain.virt_type {
            VirtType::Kvm => gic.kernel,
            VirtType::Qemu => gic.emulated,
            VirtType::Hvf => false,
        })
    };
    let versions = [(has(2), "2"), (has(3), "3")];
    Section::unless_empty("gic", vec![Enumeration::of("version", &versions)])
}

fn hyperv(caps: &QemuCaps) -> Option<Hyperv> {
    if caps.hyperv.is_empty() {
        return None;
    }
    let has = |name: &str| caps.hyperv.iter().any(|own| own == name);
    let values = HYPERV.into_iter().filter(|name| has(name)).collect();
    let has_defaults = parts::has(caps.release, "hyperv/defaults");
    Some(Hyperv {
        features: Enumeration { name: "features", values },
        defaults: if has_defaults { defaults(&caps.hyperv_values, has) } else { Vec::new() },
    })
}

/// Returns the values of those enlightenments that the emulator has.
fn defaults(
    values: &EnlightenmentValues,
    has: impl Fn(&str) -> bool,
) -> Vec<(&'static str, String)> {
    let switch =
        |value: Option<bool>| value.map(|is_on| if is_on { "on" } else { "off" }.to_owned());
    let spinlocks = Some(values.spinlocks).filter(|number| *number != 0);
    let all = [
        ("spinlocks", "spinlocks", spinlocks.map(|number| number.to_string())),
        ("stimer", "stimer_direct", switch(values.stimer_direct)),
        ("tlbflush", "tlbflush_direct", switch(values.tlbflush_direct)),
        ("tlbflush", "tlbflush_extended", switch(values.tlbflush_extended)),
        ("vendor_id", "vendor_id", values.vendor_id.clone()),
    ];
    let own = all.into_iter().filter(|(enlightenment, ..)| has(enlightenment));
    own.filter_map(|(_, name, value)| Some((name, value?))).collect()
}
