//! Releases of libvirt: the differences between their files, beside those of the flags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A release of libvirt whose flags and XML are known.
///
/// The default is the newest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[non_exhaustive]
pub enum Release {
    /// 9.0, of Debian 12.
    V9_0,
    /// 10.0, of Ubuntu 24.04.
    V10_0,
    /// 11.3, of Debian 13.
    V11_3,
    /// 12.8.
    #[default]
    V12_8,
}

/// The differences between the files of releases.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Major and minor number.
    version: (u32, u32),
    /// The oldest QEMU that libvirt accepts, in the encoding of [`Release::version`].
    pub(crate) oldest_qemu: u32,
    /// The number of enlightenments of Hyper-V that it knows, the first ones of [`crate::HYPERV`].
    pub(crate) enlightenments: usize,
    /// The element `<kvmVersion>`, always 0.
    pub(crate) has_kvm_version: bool,
    /// The attribute `acpi` of `<machine>`.
    pub(crate) has_acpi: bool,
    /// Features that QEMU reports as deprecated.
    pub(crate) deprecated: Deprecated,
    /// Values of enlightenments beside their names.
    pub(crate) has_enlightenment_values: bool,
    /// `virt` as the preferred machine of ARM and RISC-V.
    pub(crate) prefers_virt: bool,
    /// The architecture loongarch64.
    pub(crate) has_loongarch: bool,
    /// The number of CPU models of ppc64 that it knows, which QEMU spells otherwise.
    pub(crate) ppc64_models: usize,
    /// QEMU's spelling of features that block a CPU model, for all that libvirt spells otherwise.
    pub(crate) spells_all_blockers: bool,
    /// `query-accelerators` instead of `query-kvm`, where QEMU has it: without hardware the first pass
    /// is known to be TCG's, and expands the CPU `max`.
    pub(crate) queries_accelerators: bool,
    /// TDX beside SEV as what makes KVM support guests that the host cannot read.
    pub(crate) has_tdx: bool,
    /// Domain capabilities: the CPU models in the order of their names, else in QEMU's.
    pub(crate) sorts_models: bool,
    /// Domain capabilities: the features of the host's CPU in the order of their names.
    pub(crate) sorts_features: bool,
    /// Domain capabilities: floppy disks only where QEMU has a controller for them.
    pub(crate) needs_floppy_controller: bool,
    /// Descriptors of firmware: a malformed one is skipped; else there are no domain capabilities at all.
    pub(crate) skips_malformed_firmware: bool,
    /// Descriptors of firmware: one for memory or a kernel without a file is malformed.
    pub(crate) needs_firmware_file: bool,
    /// Descriptors of firmware: JSON with a key twice in an object is malformed; else the last one counts.
    pub(crate) rejects_repeated_keys: bool,
    /// Descriptors of firmware: those of a kernel are known.
    pub(crate) has_kernel_firmware: bool,
}

/// The element for features that QEMU reports as deprecated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deprecated {
    /// None.
    Absent,
    /// One list: that of the full expansion, otherwise that of the static one.
    Merged,
    /// A list for each of the two.
    Separate,
}

/// The facts of 9.0; the others build on it.
const V9_0: Facts = Facts {
    version: (9, 0),
    oldest_qemu: 4_002_000,
    enlightenments: 15,
    has_kvm_version: true,
    has_acpi: false,
    deprecated: Deprecated::Absent,
    has_enlightenment_values: false,
    prefers_virt: false,
    has_loongarch: false,
    ppc64_models: 7,
    spells_all_blockers: false,
    queries_accelerators: false,
    has_tdx: false,
    sorts_models: false,
    sorts_features: false,
    needs_floppy_controller: false,
    skips_malformed_firmware: false,
    needs_firmware_file: false,
    rejects_repeated_keys: true,
    has_kernel_firmware: true,
};

const V10_0: Facts =
    Facts { version: (10, 0), has_kvm_version: false, has_acpi: true, prefers_virt: true, ..V9_0 };

const V11_3: Facts = Facts {
    version: (11, 3),
    oldest_qemu: 6_002_000,
    enlightenments: 17,
    deprecated: Deprecated::Merged,
    has_loongarch: true,
    spells_all_blockers: true,
    sorts_models: true,
    skips_malformed_firmware: true,
    needs_firmware_file: true,
    rejects_repeated_keys: false,
    ..V10_0
};

const V12_8: Facts = Facts {
    version: (12, 8),
    oldest_qemu: 7_002_000,
    deprecated: Deprecated::Separate,
    has_enlightenment_values: true,
    ppc64_models: 8,
    queries_accelerators: true,
    has_tdx: true,
    sorts_features: true,
    needs_floppy_controller: true,
    has_kernel_firmware: false,
    ..V11_3
};

impl Release {
    /// All of them, the oldest first.
    pub const ALL: [Release; 4] = [Release::V9_0, Release::V10_0, Release::V11_3, Release::V12_8];

    /// The oldest of them.
    pub(crate) const OLDEST: Release = Release::V9_0;

    /// The newest of them, the default.
    pub(crate) const NEWEST: Release = Release::V12_8;

    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Release::V9_0 => &V9_0,
            Release::V10_0 => &V10_0,
            Release::V11_3 => &V11_3,
            Release::V12_8 => &V12_8,
        }
    }

    /// The number of its first version: 1,000,000 × major + 1,000 × minor.
    pub fn version(self) -> u32 {
        let (major, minor) = self.facts().version;
        1_000_000 * major + 1000 * minor
    }

    /// Returns the release of a version in libvirt's encoding, such as 11003000 for 11.3.0; the last three
    /// digits, which are for corrections, do not matter.
    ///
    /// # Errors
    /// [`UnknownRelease`].
    pub fn of_version(version: u32) -> Result<Release, UnknownRelease> {
        let found = Release::ALL.into_iter().find(|known| known.version() / 1000 == version / 1000);
        found.ok_or_else(|| UnknownRelease { requested: readable(version) })
    }

    /// Parses MAJOR.MINOR or MAJOR.MINOR.MICRO; the last number does not matter.
    ///
    /// # Errors
    /// [`UnknownRelease`].
    pub fn parse(text: &str) -> Result<Release, UnknownRelease> {
        let unknown = || UnknownRelease { requested: text.to_owned() };
        let numbers = text.split('.').map(decimal).collect::<Option<Vec<u32>>>();
        let known = |major, minor| {
            Release::ALL.into_iter().find(|known| known.facts().version == (major, minor))
        };
        match numbers.as_deref() {
            Some([major, minor] | [major, minor, _]) => known(*major, *minor).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.facts().version;
        f.pad(&format!("{major}.{minor}"))
    }
}

impl FromStr for Release {
    type Err = UnknownRelease;

    fn from_str(text: &str) -> Result<Release, UnknownRelease> {
        Release::parse(text)
    }
}

/// An error of a release of libvirt of which nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot use the release {requested:?} of libvirt: known are {}; choose one of them (--libvirt)",
    known()
)]
pub struct UnknownRelease {
    /// The release.
    pub requested: String,
}

/// Returns the known releases, for messages.
pub(crate) fn known() -> String {
    Release::ALL.map(|release| release.to_string()).join(", ")
}

/// Returns the version of libvirt in its own encoding (11003000 for 11.3.0) from the name of its library:
/// `libvirt.so.0.11003.0` is of 11.3.0.
pub(crate) fn version_of_library(name: &str) -> Option<u32> {
    let (release, micro) = name.strip_prefix("libvirt.so.0.")?.split_once('.')?;
    decimal(release)?.checked_mul(1000)?.checked_add(decimal(micro).filter(|micro| *micro < 1000)?)
}

/// Parses digits alone.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns the text of a version in libvirt's encoding.
pub(crate) fn readable(version: u32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_release_is_that_of_the_library() {
        assert_eq!(version_of_library("libvirt.so.0.11003.1"), Some(11_003_001));
        assert_eq!(version_of_library("libvirt.so.0.9000.0"), Some(9_000_000));
        for none in [
            "libvirt-qemu.so.0.12008.0",
            "libc.so.6",
            "libvirt.so.0",
            "libvirt.so.0.11003",
            "libvirt.so.1.11003.0",
            "libvirt.so.0.11003.0.dpkg-new",
            "libvirt.so.0.+1.0",
            "libvirt.so.0.11003.1000",
            "libvirt.so.0.4294968.0",
        ] {
            assert_eq!(version_of_library(none), None, "{none}");
        }
    }
}
