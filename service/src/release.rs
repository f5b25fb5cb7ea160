//! The release of libvirt that this host has.

use std::path::Path;

use capscache_libvirt::{CpuMap, CpuMapError, Installed, Release, UnknownRelease};

/// Returns the release of the installed libvirt; the newest known one if none is installed.
///
/// # Errors
/// [`UnknownRelease`], where another one is installed.
pub fn libvirt() -> Result<Release, UnknownRelease> {
    Installed::on_this_host().map_or(Ok(Release::default()), |libvirt| libvirt.release())
}

/// Returns the CPU map of a release for an architecture: that in `folder`, else the installed one, unless another release is
/// installed. `None` if there is none.
///
/// # Errors
/// [`CpuMapError`].
pub fn cpu_map(
    release: Release,
    arch: &str,
    folder: Option<&Path>,
) -> Result<Option<CpuMap>, CpuMapError> {
    if let Some(folder) = folder {
        return CpuMap::read_for(folder, arch).map(Some);
    }
    let is_other = |libvirt: Installed| libvirt.release().ok() != Some(release);
    if Installed::on_this_host().is_some_and(is_other) {
        return Ok(None);
    }
    CpuMap::installed_for(arch)
}
