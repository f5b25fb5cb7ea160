//! What the kernel says that a guest's CPU can be told here.

use std::io;

/// One leaf of CPUID as KVM supports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuidLeaf {
    /// The leaf.
    pub function: u32,
    /// The subleaf; 0 where the leaf has none.
    pub index: u32,
    /// `eax`, `ebx`, `ecx` and `edx`.
    pub registers: [u32; 4],
}

/// The leaves of CPUID that KVM supports on this host (`KVM_GET_SUPPORTED_CPUID`), in the kernel's
/// order.
///
/// # Errors
/// Whatever keeps this process from opening `/dev/kvm`; `Unsupported` where a CPU has no CPUID.
#[cfg(target_arch = "x86_64")]
pub fn supported_cpuid() -> io::Result<Vec<CpuidLeaf>> {
    let failed = |error: kvm_ioctls::Error| io::Error::from_raw_os_error(error.errno());
    let kvm = kvm_ioctls::Kvm::new().map_err(failed)?;
    let most = kvm_bindings::KVM_MAX_CPUID_ENTRIES;
    let leaves = kvm.get_supported_cpuid(most).map_err(failed)?;
    let leaf = |leaf: &kvm_bindings::kvm_cpuid_entry2| CpuidLeaf {
        function: leaf.function,
        index: leaf.index,
        registers: [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx],
    };
    Ok(leaves.as_slice().iter().map(leaf).collect())
}

/// As above, on a CPU that has no CPUID.
///
/// # Errors
/// `Unsupported`.
#[cfg(not(target_arch = "x86_64"))]
pub fn supported_cpuid() -> io::Result<Vec<CpuidLeaf>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supported_leaves_begin_with_the_vendor() {
        let leaves = match supported_cpuid() {
            Ok(leaves) => leaves,
            Err(error) => {
                println!("SKIPPED: /dev/kvm cannot tell of CPUID here: {error}");
                return;
            }
        };
        let [_, b, c, d] = leaves[0].registers;
        let vendor: Vec<u8> = [b, d, c].iter().flat_map(|part| part.to_le_bytes()).collect();
        assert_eq!(leaves[0].function, 0);
        assert!(vendor.is_ascii() && vendor.len() == 12, "{vendor:?}");
    }
}
