//! The release of libvirt that this host has, from its files: nothing of it is started.

use std::fs;
use std::path::{Path, PathBuf};

use capscache_libvirt::{CpuMap, CpuMapError, Release, UnknownRelease};

/// Returns the release of the installed libvirt; the newest known one if none is installed.
///
/// # Errors
/// [`UnknownRelease`], where another one is installed.
pub fn libvirt() -> Result<Release, UnknownRelease> {
    installed_version().map_or(Ok(Release::default()), Release::of_version)
}

/// Returns the version of the installed libvirt in its own encoding, such as 11003000 for 11.3.0: that of the file
/// which the name of its library leads to.
pub fn installed_version() -> Option<u32> {
    let targets = library_directories().into_iter().filter_map(|directory| {
        fs::read_link(directory.join("libvirt.so.0")).ok()?.file_name()?.to_str().map(str::to_owned)
    });
    let targets: Vec<String> = targets.collect();
    capscache_libvirt::installed_version(targets.iter().map(String::as_str))
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
    let is_other = |version| Release::of_version(version).ok() != Some(release);
    if installed_version().is_some_and(is_other) {
        return Ok(None);
    }
    CpuMap::installed_for(arch)
}

/// Returns the directories of libraries, as distributions build libvirt.
pub(crate) fn library_directories() -> [PathBuf; 3] {
    // Debian's names of architectures, where they are not Rust's.
    let multiarch = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "powerpc64le-linux-gnu",
        "x86" => "i386-linux-gnu",
        "arm" => "arm-linux-gnueabihf",
        "loongarch64" => "loongarch64-linux-gnu",
        "aarch64" => "aarch64-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        _ => "x86_64-linux-gnu",
    };
    [Path::new("/usr/lib").join(multiarch), "/usr/lib64".into(), "/usr/lib".into()]
}
