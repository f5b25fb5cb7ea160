//! Kinds of machine types, by their names (`src/qemu/qemu_domain.c`).

use crate::arch;

/// Returns true for a name, and for names that continue it.
fn is_or_continues(machine: &str, name: &str) -> bool {
    machine.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

pub(super) fn is_q35(machine: &str, arch: &str) -> bool {
    arch::is_x86(arch) && (machine == "q35" || machine.starts_with("pc-q35-"))
}

pub(super) fn is_i440fx(machine: &str, arch: &str) -> bool {
    const STARTS: [&str; 4] = ["pc-0.", "pc-1.", "pc-i440fx-", "rhel"];
    arch::is_x86(arch) && (machine == "pc" || STARTS.iter().any(|start| machine.starts_with(start)))
}

pub(super) fn is_xenfv(machine: &str, arch: &str) -> bool {
    arch::is_x86(arch) && is_or_continues(machine, "xenfv")
}

pub(super) fn is_arm_virt(machine: &str, arch: &str) -> bool {
    arch::has_gic(arch) && is_or_continues(machine, "virt")
}

pub(super) fn is_pseries(machine: &str, arch: &str) -> bool {
    arch::is_ppc64(arch) && is_or_continues(machine, "pseries")
}

/// Returns true for a machine with a controller of IDE on its board.
pub(super) fn has_ide(machine: &str, arch: &str) -> bool {
    is_i440fx(machine, arch) || ["malta", "sun4u", "g3beige"].contains(&machine)
}

/// Returns true for a machine of KVM on s390 that has no CPU models.
pub(super) fn has_host_cpu_only(machine: &str) -> bool {
    let version = machine.strip_prefix("s390-ccw-virtio-");
    version.is_some_and(|version| ["2.4", "2.5", "2.6", "2.7"].contains(&version))
}
