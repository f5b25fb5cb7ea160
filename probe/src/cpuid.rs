//! The CPUID leaves that the kernel's KVM supports.

/// Returns the leaves of CPUID that KVM supports on this host, in the kernel's order, as the JSON of the
/// fact `supported-cpuid`: `KVM_GET_SUPPORTED_CPUID` without the fields that identify the processor.
///
/// Of features that a process must request from the kernel before a guest may have them (AMX), it has
/// those that this process requested.
///
/// `None` where `/dev/kvm` cannot be queried.
#[cfg(target_arch = "x86_64")]
pub fn supported_cpuid() -> Option<String> {
    let most = kvm_bindings::KVM_MAX_CPUID_ENTRIES;
    let leaves = kvm_ioctls::Kvm::new().ok()?.get_supported_cpuid(most).ok()?;
    let leaf = |leaf: &kvm_bindings::kvm_cpuid_entry2| {
        let [eax, ebx, ecx, edx] =
            of_any_processor(leaf.function, [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
        serde_json::json!({
            "function": leaf.function,
            "index": leaf.index,
            "eax": eax,
            "ebx": ebx,
            "ecx": ecx,
            "edx": edx,
        })
    };
    Some(leaves.as_slice().iter().map(leaf).collect::<serde_json::Value>().to_string())
}

/// Returns `None`: CPUs of this architecture have no CPUID.
#[cfg(not(target_arch = "x86_64"))]
pub fn supported_cpuid() -> Option<String> {
    None
}

/// Returns the registers `[eax, ebx, ecx, edx]` of a leaf, without the number of the processor on which
/// the query ran: the kernel does not always hide it.
#[cfg(target_arch = "x86_64")]
fn of_any_processor(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> [u32; 4] {
    match function {
        // The initial APIC id.
        1 => [eax, ebx & 0x00ff_ffff, ecx, edx],
        // The x2APIC id, in the enumerations of topology: of old, Intel's, AMD's.
        0xb | 0x1f | 0x8000_0026 => [eax, ebx, ecx, 0],
        // AMD's ids of the APIC, the core and the node.
        0x8000_001e => [0, ebx & !0xff, ecx & !0xff, edx],
        _ => [eax, ebx, ecx, edx],
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn leaves() -> Option<Vec<serde_json::Value>> {
        let leaves = supported_cpuid();
        if leaves.is_none() {
            println!("SKIPPED: /dev/kvm cannot be queried for CPUID here");
        }
        leaves.map(|json| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn the_supported_leaves_begin_with_the_vendor() {
        let Some(leaves) = leaves() else { return };
        let register = |name: &str| u32::try_from(leaves[0][name].as_u64().unwrap()).unwrap();
        let vendor = ["ebx", "edx", "ecx"].map(|name| register(name).to_le_bytes()).concat();
        assert_eq!(leaves[0]["function"], 0);
        assert!(vendor.is_ascii() && vendor.len() == 12, "{vendor:?}");
    }

    #[test]
    fn every_processor_gives_the_same_leaves() {
        let Some(first) = leaves() else { return };
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let processors = (0..rustix::thread::CpuSet::MAX_CPU).filter(|one| allowed.is_set(*one));
        for processor in processors {
            let mut only = rustix::thread::CpuSet::new();
            only.set(processor);
            // For this thread alone, which ends with the test.
            rustix::thread::sched_setaffinity(None, &only).unwrap();
            assert_eq!(leaves(), Some(first.clone()), "processor {processor}");
        }
        rustix::thread::sched_setaffinity(None, &allowed).unwrap();
    }

    #[test]
    fn fields_that_identify_the_processor_are_left_out() {
        let all = [u32::MAX; 4];
        assert_eq!(of_any_processor(0, all), all);
        assert_eq!(of_any_processor(1, all), [u32::MAX, 0x00ff_ffff, u32::MAX, u32::MAX]);
        for topology in [0xb, 0x1f, 0x8000_0026] {
            assert_eq!(of_any_processor(topology, all), [u32::MAX, u32::MAX, u32::MAX, 0]);
        }
        assert_eq!(of_any_processor(0x8000_001e, all), [0, !0xff, !0xff, u32::MAX]);
    }
}
