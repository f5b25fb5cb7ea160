//! The firmware descriptors of this host, as specified by QEMU's `docs/interop/firmware.json`: JSON files that
//! describe the firmware that a machine can be started with.
//!
//! Entries do not contain them: they are read for each request.

mod glob;
mod search;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use capscache_format::{Entry, Escaped, Unanswered};
use serde::{Deserialize, Serialize, Serializer};

pub use self::search::firmware_directories;

/// The largest size of a descriptor; the longest ones that distributions have are of 2 KiB.
const DESCRIPTOR_BYTES: u64 = 1 << 20;

/// The firmware descriptors that are in effect.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct FirmwareList {
    /// The readable descriptors, ordered by file name: of several that fit, the first is to be used.
    pub found: Vec<Firmware>,
    /// The errors of other files and directories, which do not keep descriptors from being found.
    pub broken: Vec<FirmwareError>,
}

/// A firmware and its descriptor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Firmware {
    /// The descriptor's file.
    pub path: PathBuf,
    /// The content of the descriptor.
    pub descriptor: FirmwareDescriptor,
    /// The document in the file, with keys that this release does not use.
    document: serde_json::Value,
}

/// The content of a descriptor: QAPI's `Firmware`. Enumerations that a later QEMU may extend are text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct FirmwareDescriptor {
    /// A description for people.
    #[serde(default)]
    pub description: String,
    /// The interfaces that it offers to a guest, the most native first: `bios`, `openfirmware`, `uboot`,
    /// `uefi`.
    pub interface_types: Vec<String>,
    /// The way in which it is loaded.
    pub mapping: FirmwareMapping,
    /// The machines that it runs on.
    pub targets: Vec<FirmwareTarget>,
    /// Features that it supports, and those that it requires of a machine: `secure-boot`, `requires-smm`,
    /// `amd-sev`, …
    pub features: Vec<String>,
    /// Notes of its vendor, for information only.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// The way in which a firmware is loaded: QAPI's `FirmwareMapping`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Mapping")]
#[non_exhaustive]
pub struct FirmwareMapping {
    /// The device that it is loaded into: `flash`, `kernel`, `memory`, `igvm`.
    pub device: String,
    /// The place of the guest's variables: `split`, a copy of the template; `combined`, a copy of the
    /// executable; `stateless`, none. `None` where the specification has no mode.
    pub mode: Option<String>,
    /// The file that is loaded. `None` only for a device that is unknown to this release.
    pub executable: Option<FirmwareFile>,
    /// The file that is copied for each machine, for its variables.
    pub nvram_template: Option<FirmwareFile>,
    /// The file that is copied for each machine, for a variable store of QEMU's.
    pub varstore_template: Option<String>,
}

/// A file of a firmware: QAPI's `FirmwareFlashFile`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FirmwareFile {
    /// The path of the file.
    pub filename: String,
    /// Its format, `raw` or `qcow2`; `None` where the descriptor has a file name alone.
    pub format: Option<String>,
}

/// Machines that a firmware runs on: QAPI's `FirmwareTarget`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FirmwareTarget {
    /// QEMU's name of their architecture.
    pub architecture: String,
    /// Patterns for their names, with the syntax of a shell. Aliases are not names.
    pub machines: Vec<String>,
}

/// The reason why a descriptor cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// A descriptor, or a directory of descriptors, cannot be read.
    #[error("cannot read {}", Escaped::new(path))]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe or a device is at the path of a descriptor.
    #[error(
        "cannot use the firmware descriptor {}: it is not a regular file; remove it, or replace it by an empty \
         file to hide a descriptor",
        Escaped::new(path)
    )]
    NoFile {
        /// The path of the file.
        path: PathBuf,
    },
    /// A file is larger than any descriptor.
    #[error(
        "cannot use the firmware descriptor {}: it is larger than {DESCRIPTOR_BYTES} bytes; hide it by an \
         empty file",
        Escaped::new(path)
    )]
    TooLong {
        /// The path of the file.
        path: PathBuf,
    },
    /// A file is not JSON, or lacks a member that a descriptor must have.
    #[error(
        "cannot parse the firmware descriptor {}: {error}; fix it, or hide it by an empty file",
        Escaped::new(path)
    )]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// The error of the parser. It is part of the message, and not a `source`, since a remedy follows it.
        error: serde_json::Error,
    },
}

impl FirmwareError {
    /// The path of the file or directory.
    pub fn path(&self) -> &Path {
        match self {
            FirmwareError::Read { path, .. }
            | FirmwareError::NoFile { path }
            | FirmwareError::TooLong { path }
            | FirmwareError::Syntax { path, .. } => path,
        }
    }
}

impl FirmwareList {
    /// Reads the descriptors in [`firmware_directories`].
    pub fn of_this_host() -> FirmwareList {
        FirmwareList::read(&firmware_directories())
    }

    /// Reads the descriptors in these directories, of which the most specific comes first. Of files with one
    /// name, that in the most specific directory is in effect, whatever its content; an empty one hides the
    /// others.
    pub fn read(directories: &[PathBuf]) -> FirmwareList {
        let mut list = FirmwareList::default();
        for path in search::in_effect(directories, &mut list.broken) {
            match read(path) {
                Ok(Some(firmware)) => list.found.push(firmware),
                Ok(None) => {}
                Err(error) => list.broken.push(error),
            }
        }
        list
    }

    /// Returns the firmware for an architecture of QEMU's, in order of precedence.
    pub fn for_arch<'a>(&'a self, arch: &'a str) -> impl Iterator<Item = &'a Firmware> {
        self.found
            .iter()
            .filter(move |firmware| firmware.descriptor.machines(arch).next().is_some())
    }

    /// Returns the firmware for a machine of an emulator, which may be named by its alias; the first is to be
    /// used.
    ///
    /// # Errors
    /// [`Unanswered`] for a machine that the emulator does not have, or did not report.
    pub fn matching<'a, B: AsRef<[u8]>>(
        &'a self,
        entry: &Entry<B>,
        machine: &str,
    ) -> Result<Vec<&'a Firmware>, Unanswered> {
        let machine = entry.best()?.machine(machine)?.name();
        let fits = |firmware: &&Firmware| firmware.descriptor.runs_on(entry.arch(), machine);
        Ok(self.found.iter().filter(fits).collect())
    }
}

impl FirmwareDescriptor {
    /// Returns the patterns for the machines of an architecture that it runs on; empty if it runs on none.
    pub fn machines<'a>(&'a self, arch: &'a str) -> impl Iterator<Item = &'a str> {
        let targets = self.targets.iter().filter(move |target| target.architecture == arch);
        targets.flat_map(|target| target.machines.iter().map(String::as_str))
    }

    /// Returns whether it runs on a machine of an architecture. `machine` is a name, not an alias.
    pub fn runs_on(&self, arch: &str, machine: &str) -> bool {
        self.machines(arch).any(|pattern| glob::matches(pattern, machine))
    }
}

/// Serializes the document in the file, with keys that this release does not use.
impl Serialize for Firmware {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

/// A mapping in any form of the specification.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    mode: Option<String>,
    executable: Option<FirmwareFile>,
    nvram_template: Option<FirmwareFile>,
    filename: Option<String>,
    uefi_vars: Option<VariableStore>,
}

/// A variable store of QEMU's: QAPI's `FirmwareMappingMemoryUefiVars`.
#[derive(Deserialize)]
struct VariableStore {
    template: Option<String>,
}

impl TryFrom<Mapping> for FirmwareMapping {
    type Error = String;

    fn try_from(mapping: Mapping) -> Result<FirmwareMapping, String> {
        let Mapping { device, mode, executable, nvram_template, filename, uefi_vars } = mapping;
        let by_name = filename.map(|filename| FirmwareFile { filename, format: None });
        let (usual, executable, lacks) = match device.as_str() {
            "flash" => (Some("split"), executable, "executable"),
            "memory" if by_name.is_some() => (Some("stateless"), by_name, ""),
            "memory" => (None, executable, "filename"),
            "kernel" | "igvm" => (None, by_name, "filename"),
            _ => (None, executable.or(by_name), ""),
        };
        if executable.is_none() && !lacks.is_empty() {
            return Err(format!("the mapping into {device} has no {lacks}"));
        }
        let mode = mode.or_else(|| usual.map(str::to_owned));
        let varstore_template = uefi_vars.and_then(|store| store.template);
        Ok(FirmwareMapping { device, mode, executable, nvram_template, varstore_template })
    }
}

/// Reads a descriptor; `None` for an empty file.
fn read(path: PathBuf) -> Result<Option<Firmware>, FirmwareError> {
    match content(&path) {
        Ok(Some(bytes)) if bytes.is_empty() => Ok(None),
        Ok(Some(bytes)) if bytes.len() as u64 > DESCRIPTOR_BYTES => {
            Err(FirmwareError::TooLong { path })
        }
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok((descriptor, document)) => Ok(Some(Firmware { path, descriptor, document })),
            Err(error) => Err(FirmwareError::Syntax { path, error }),
        },
        Ok(None) => Err(FirmwareError::NoFile { path }),
        Err(source) => Err(FirmwareError::Read { path, source }),
    }
}

fn parse(bytes: &[u8]) -> serde_json::Result<(FirmwareDescriptor, serde_json::Value)> {
    let document = serde_json::from_slice(bytes)?;
    Ok((FirmwareDescriptor::deserialize(&document)?, document))
}

/// Reads a regular file, up to a byte more than a descriptor may have; `None` for a file of another type.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match crate::file::open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(DESCRIPTOR_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
