//! Machine types.

use std::ffi::{CString, c_char};

use capscache::format::Machine as View;

use crate::boundary::read;
use crate::numbers::Tri;
use crate::string::{address, owned};

/// A machine type: QAPI's `MachineInfo`. Owned by its entry.
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct Machine {
    name: CString,
    alias: Option<CString>,
    default_cpu_type: Option<CString>,
    default_ram_id: Option<CString>,
    is_default: bool,
    is_deprecated: Tri,
    has_hotpluggable_cpus: bool,
    has_numa_memory: Tri,
    has_acpi: Tri,
    max_cpus: u64,
}

impl Machine {
    pub(crate) fn new(view: View<'_>) -> Machine {
        Machine {
            name: owned(view.name()),
            alias: view.alias().map(owned),
            default_cpu_type: view.default_cpu_type().map(owned),
            default_ram_id: view.default_ram_id().map(owned),
            is_default: view.is_default(),
            is_deprecated: view.deprecated().into(),
            has_hotpluggable_cpus: view.hotpluggable_cpus(),
            has_numa_memory: view.numa_mem_supported().into(),
            has_acpi: view.acpi().into(),
            max_cpus: view.max_cpus().unwrap_or(0),
        }
    }
}

/// The versioned name, such as `pc-q35-7.2`.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_name(machine: Option<&Machine>) -> *const c_char {
    read(machine, |machine| machine.name.as_ptr())
}

/// The alias, which names a newer version in each release of QEMU, such as `q35`; NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_alias(machine: Option<&Machine>) -> *const c_char {
    read(machine, |machine| address(machine.alias.as_ref()))
}

/// The largest number of CPUs; 0 if QEMU did not report it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_max_cpus(machine: Option<&Machine>) -> u64 {
    read(machine, |machine| machine.max_cpus)
}

/// Returns true if QEMU uses it by default.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_is_default(machine: Option<&Machine>) -> bool {
    read(machine, |machine| machine.is_default)
}

/// Returns whether QEMU will remove it; *unknown* if QEMU did not report that.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_is_deprecated(machine: Option<&Machine>) -> Tri {
    read(machine, |machine| machine.is_deprecated)
}

/// Returns true if CPUs can be plugged while it runs.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_has_hotpluggable_cpus(machine: Option<&Machine>) -> bool {
    read(machine, |machine| machine.has_hotpluggable_cpus)
}

/// Returns whether its NUMA nodes can have memory of their own (QEMU 4.1 and later).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_has_numa_memory(machine: Option<&Machine>) -> Tri {
    read(machine, |machine| machine.has_numa_memory)
}

/// Returns whether it supports ACPI (QEMU 10.0 and later).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_has_acpi(machine: Option<&Machine>) -> Tri {
    read(machine, |machine| machine.has_acpi)
}

/// The QOM type of the default CPU; NULL if QEMU did not report it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_default_cpu_type(machine: Option<&Machine>) -> *const c_char {
    read(machine, |machine| address(machine.default_cpu_type.as_ref()))
}

/// The name of the memory backend that it creates by default; NULL if QEMU did not report it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_machine_default_ram_id(machine: Option<&Machine>) -> *const c_char {
    read(machine, |machine| address(machine.default_ram_id.as_ref()))
}
