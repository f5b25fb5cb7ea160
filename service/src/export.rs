//! Entries as documents, with the facts of this host that libvirt stores beside them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache::{Capabilities, Escaped};
use capscache_libvirt::{
    CapsError, CpuMap, CpuMapError, Domain, DomainCaps, DomainError, Host, QemuCaps, Release,
    UnknownRelease, VirtType,
};

use crate::surroundings;

/// Format of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Json,
    LibvirtXml,
}

impl Format {
    /// All formats with their names.
    pub(crate) const ALL: [(&str, Format); 2] =
        [("json", Format::Json), ("libvirt-xml", Format::LibvirtXml)];

    pub(crate) fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}

/// The reason why an entry cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The emulator cannot be examined.
    #[error("cannot stat the emulator {}", Escaped::new(path))]
    Emulator {
        /// The path of the emulator.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The entry lacks what libvirt's document needs.
    #[error(transparent)]
    QemuCaps(#[from] CapsError),
    /// The emulator has no such domain.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// libvirt's CPU map cannot be read.
    #[error(transparent)]
    CpuMap(#[from] CpuMapError),
    /// The libvirt of this host is not known.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
    /// The answers are not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Returns an entry as a document.
pub(crate) fn document(
    emulator: &Path,
    entry: &Capabilities,
    format: Format,
) -> Result<String, ExportError> {
    match format {
        Format::Json => Ok(serde_json::to_string(&**entry)?),
        Format::LibvirtXml => libvirt_xml(emulator, entry, Release::of_this_host()?, 0, 0),
    }
}

/// Returns the `<qemuCaps>` XML that a release of libvirt writes for an entry. `self_ctime` (seconds) and
/// `self_version` (11003000 for 11.3.0) are those of libvirt itself.
///
/// # Errors
/// [`ExportError::Emulator`], or [`ExportError::QemuCaps`] where the entry lacks what the document needs.
pub fn libvirt_xml(
    emulator: &Path,
    entry: &Capabilities,
    release: Release,
    self_ctime: i64,
    self_version: u32,
) -> Result<String, ExportError> {
    let host = Host { self_ctime, self_version, ..host(emulator, entry, release)? };
    Ok(QemuCaps::from_entry(&**entry, host, release)?.to_xml())
}

/// Returns the domain capabilities that libvirt reports on this host for an entry. `machine` may be an alias; the
/// defaults are libvirt's. `map_folder` has the CPU map of the release; without it, that is the installed one, if it is of that
/// release.
///
/// # Errors
/// [`ExportError`].
pub fn domain_capabilities(
    emulator: &Path,
    entry: &Capabilities,
    release: Release,
    machine: Option<&str>,
    virt_type: Option<VirtType>,
    map_folder: Option<&Path>,
) -> Result<DomainCaps, ExportError> {
    let caps = QemuCaps::from_entry(&**entry, host(emulator, entry, release)?, release)?;
    let domain = Domain::of(&caps, machine, virt_type)?;
    let map = CpuMap::of_release(release, &caps.arch, map_folder)?;
    let surroundings = surroundings::of_this_host(
        entry.arch(),
        &domain.machine,
        caps.cpu_data.as_ref(),
        map.as_ref(),
    );
    Ok(DomainCaps::from_caps(&caps, &domain, &surroundings))
}

/// Returns the facts that libvirt keeps with an emulator's capabilities on this host.
fn host(emulator: &Path, entry: &Capabilities, release: Release) -> Result<Host, ExportError> {
    let path = std::path::absolute(emulator).unwrap_or_else(|_| emulator.to_owned());
    let status = fs::metadata(&path)
        .map_err(|source| ExportError::Emulator { path: path.clone(), source })?;
    Ok(Host {
        emulator: path.to_string_lossy().into_owned(),
        qemu_ctime: status.ctime(),
        ..Host::of_this_host().kept_with(entry, release)
    })
}
