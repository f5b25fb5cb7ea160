//! Entries as documents, with the facts of this host that libvirt stores beside them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache::{Capabilities, Escaped};
use capscache_libvirt::{
    CapsError, CpuMap, DescriptorError, Domain, DomainCaps, DomainError, Host, QemuCaps, Release,
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
    /// libvirt itself refuses because of a descriptor of firmware.
    #[error(transparent)]
    Firmware(#[from] DescriptorError),
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

/// Returns what a release of libvirt keeps of an entry on this host, from which its domain capabilities are derived.
///
/// # Errors
/// As [`libvirt_xml`].
pub fn qemu_caps(
    emulator: &Path,
    entry: &Capabilities,
    release: Release,
) -> Result<QemuCaps, ExportError> {
    Ok(QemuCaps::from_entry(&**entry, host(emulator, entry, release)?, release)?)
}

/// Returns the domain capabilities that libvirt reports on this host. `machine` may be an alias; the defaults are libvirt's.
/// `map` is the CPU map of the release, for the architecture ([`CpuMap::of_release`]): a program that needs several machine
/// types reads it once.
///
/// # Errors
/// [`ExportError::Domain`], if the emulator has no such domain, and [`ExportError::Firmware`].
pub fn domain_capabilities(
    caps: &QemuCaps,
    machine: Option<&str>,
    virt_type: Option<VirtType>,
    map: Option<&CpuMap>,
) -> Result<DomainCaps, ExportError> {
    let domain = Domain::of(caps, machine, virt_type)?;
    let surroundings = surroundings::of_this_host(caps, &domain.machine, map)?;
    Ok(DomainCaps::from_caps(caps, &domain, &surroundings))
}

/// Returns the path of an emulator as a guest of libvirt names it: an absolute one stays as it is, with `//` and `/./`,
/// since the name of libvirt's file is a hash of its text.
///
/// # Errors
/// The working directory cannot be found.
pub fn as_named(emulator: &Path) -> io::Result<PathBuf> {
    match emulator.is_absolute() {
        true => Ok(emulator.to_owned()),
        false => std::path::absolute(emulator),
    }
}

/// Returns the facts that libvirt keeps with an emulator's capabilities on this host.
fn host(emulator: &Path, entry: &Capabilities, release: Release) -> Result<Host, ExportError> {
    let path = as_named(emulator)
        .map_err(|source| ExportError::Emulator { path: emulator.to_owned(), source })?;
    let status = fs::metadata(&path)
        .map_err(|source| ExportError::Emulator { path: path.clone(), source })?;
    Ok(Host {
        emulator: path.to_string_lossy().into_owned(),
        qemu_ctime: status.ctime(),
        ..Host::of_this_host().kept_with(entry, release)
    })
}
