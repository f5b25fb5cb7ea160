//! libvirt as it is installed: its release, from the name of its library. Nothing of it is started.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::release::{Release, UnknownRelease, readable, version_of_library};
use crate::root::{Root, Times, modified};

/// The directories of libraries, in the order of the search; those of Debian's architectures are searched after
/// the first.
const LIBRARY_DIRECTORIES: [&str; 5] =
    ["/usr/lib64", "/usr/lib", "/usr/local/lib64", "/usr/local/lib", "/lib64"];

/// The version of libvirt that is installed, and the directory of its libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Installed {
    /// The version: 1,000,000 × major + 1,000 × minor + micro, as in `<selfvers>`.
    pub version: u32,
    /// The directory of `libvirt.so.0`, as seen within the system.
    pub library_directory: PathBuf,
}

impl fmt::Display for Installed {
    /// Writes the version as people do, such as `11.3.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&readable(self.version))
    }
}

impl Installed {
    /// Finds the libvirt of this host; `None` if none is installed.
    pub fn on_this_host() -> Option<Installed> {
        Installed::find(&Root::open(Path::new("/"), Times::Kept).ok()?)
    }

    /// Finds the libvirt of a system: the link `libvirt.so.0`, which the loader follows, names its library,
    /// `libvirt.so.0.11003.0`. The library of an earlier one may have been left beside it.
    pub(crate) fn find(root: &Root) -> Option<Installed> {
        library_directories(root).into_iter().find_map(|library_directory| {
            let library = root.link(&library_directory.join("libvirt.so.0")).ok()?;
            let version = version_of_library(library.file_name()?.to_str()?)?;
            Some(Installed { version, library_directory })
        })
    }

    /// Returns the release.
    ///
    /// # Errors
    /// [`UnknownRelease`].
    pub fn release(&self) -> Result<Release, UnknownRelease> {
        Release::of_version(self.version)
    }
}

impl Release {
    /// Returns the release of the libvirt of this host; the newest known one if none is installed.
    ///
    /// # Errors
    /// [`UnknownRelease`], where another one is installed.
    pub fn of_this_host() -> Result<Release, UnknownRelease> {
        Installed::on_this_host().map_or(Ok(Release::default()), |libvirt| libvirt.release())
    }
}

/// Returns the directories of libraries of a system, in the order in which libvirt's is searched for.
pub(crate) fn library_directories(root: &Root) -> Vec<PathBuf> {
    let mut multiarch = root.names(Path::new("/usr/lib")).unwrap_or_default();
    multiarch.retain(|name| name.contains("-linux-gnu"));
    // The libraries of a further architecture may be there too.
    multiarch.sort_by_key(|name| !name.starts_with(std::env::consts::ARCH));
    let mut directories: Vec<PathBuf> = LIBRARY_DIRECTORIES.iter().map(PathBuf::from).collect();
    directories.splice(1..1, multiarch.iter().map(|name| Path::new("/usr/lib").join(name)));
    directories
}

/// Returns the modification time (seconds) of the directory of QEMU's modules that libvirt compares, as distributions
/// build it (`QEMU_MODDIR`): beside libvirt's library, or if that is not installed, the first that there is. 0 if there
/// is none.
pub(crate) fn module_directory_mtime(root: &Root, installed: Option<&Installed>) -> i64 {
    let directories = match installed {
        Some(libvirt) => vec![libvirt.library_directory.clone()],
        None => library_directories(root),
    };
    let mut modules = directories.iter().filter_map(|path| root.status(&path.join("qemu")).ok());
    modules.next().map_or(0, |status| modified(&status))
}
