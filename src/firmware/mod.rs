//! The firmware descriptors of this host, as QEMU's `docs/interop/firmware.json` has them: JSON files that
//! say which firmware a machine can be started with.
//!
//! No entry has them: they are read each time somebody asks.

mod glob;
mod search;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use capscache_format::{Entry, Escaped, Unanswered};
use serde::{Deserialize, Serialize, Serializer};

pub use self::search::firmware_directories;

/// Longer than any descriptor; the longest ones that distributions have are of 2 KiB.
const DESCRIPTOR_BYTES: u64 = 1 << 20;

/// The firmware descriptors that are in effect.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct FirmwareList {
    /// Those that can be read, by file name: of several that fit, the first is to be taken.
    pub found: Vec<Firmware>,
    /// What else stands where descriptors do, and keeps no other from being found.
    pub broken: Vec<FirmwareError>,
}

/// A firmware, as its descriptor presents it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Firmware {
    /// The descriptor's file.
    pub path: PathBuf,
    /// What it says.
    pub descriptor: FirmwareDescriptor,
    /// All that it says, as it does.
    document: serde_json::Value,
}

/// What a descriptor says: QAPI's `Firmware`. Words that a later QEMU may add to are text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct FirmwareDescriptor {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What it offers to a guest, what is most native to it first: `bios`, `openfirmware`, `uboot`, `uefi`.
    pub interface_types: Vec<String>,
    /// How it is loaded.
    pub mapping: FirmwareMapping,
    /// Where it runs.
    pub targets: Vec<FirmwareTarget>,
    /// What it supports, and what it requires of a machine: `secure-boot`, `requires-smm`, `amd-sev`, …
    pub features: Vec<String>,
    /// Notes of its makers, which nothing is to depend on.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// How a firmware is loaded: QAPI's `FirmwareMapping`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Mapping")]
#[non_exhaustive]
pub struct FirmwareMapping {
    /// What it is loaded into: `flash`, `kernel`, `memory`, `igvm`.
    pub device: String,
    /// Where the guest's variables are kept: `split`, in a copy of the template; `combined`, in a copy of the
    /// executable; `stateless`, nowhere. `None` where the specification knows no mode.
    pub mode: Option<String>,
    /// What is loaded. Only a device that this release does not know may have none.
    pub executable: Option<FirmwareFile>,
    /// What each machine gets a copy of, for its variables.
    pub nvram_template: Option<FirmwareFile>,
}

/// A file of a firmware: QAPI's `FirmwareFlashFile`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FirmwareFile {
    /// Its path.
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
    /// Patterns, as of a shell, for their names, which are no aliases.
    pub machines: Vec<String>,
}

/// Why a descriptor tells nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// It, or a directory of descriptors, cannot be read.
    #[error("cannot read {}", Escaped::new(path))]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error(
        "{} is no file: remove it; what hides a descriptor is an empty file",
        Escaped::new(path)
    )]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// It is longer than any descriptor.
    #[error("{} is longer than {DESCRIPTOR_BYTES} bytes, as no descriptor is", Escaped::new(path))]
    TooLong {
        /// Its path.
        path: PathBuf,
    },
    /// It is no JSON, or lacks what makes a descriptor.
    #[error("{} is no firmware descriptor: mend it, or hide it", Escaped::new(path))]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl FirmwareError {
    /// The path that it is about.
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

    /// Reads the descriptors in these directories, of which the most specific stands first. Of files with one
    /// name, that in the most specific directory is in effect, whatever it is; an empty one hides the others.
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

    /// Those that run on a machine of an emulator, which may be named by its alias; the first is to be taken.
    ///
    /// # Errors
    /// [`Unanswered`] for a machine that the emulator does not have, or did not tell of.
    pub fn fitting<'a, B: AsRef<[u8]>>(
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
    /// The patterns for the machines of an architecture that it runs on; none if it runs on none.
    pub fn machines<'a>(&'a self, arch: &'a str) -> impl Iterator<Item = &'a str> {
        let targets = self.targets.iter().filter(move |target| target.architecture == arch);
        targets.flat_map(|target| target.machines.iter().map(String::as_str))
    }

    /// Whether it runs on a machine of an architecture, by its name, which is no alias.
    pub fn runs_on(&self, arch: &str, machine: &str) -> bool {
        self.machines(arch).any(|pattern| glob::matches(pattern, machine))
    }
}

/// As the file has it, with keys that this release does not know.
impl Serialize for Firmware {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

/// A mapping in any form that the specification has.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    mode: Option<String>,
    executable: Option<FirmwareFile>,
    nvram_template: Option<FirmwareFile>,
    filename: Option<String>,
}

impl TryFrom<Mapping> for FirmwareMapping {
    type Error = String;

    fn try_from(mapping: Mapping) -> Result<FirmwareMapping, String> {
        let Mapping { device, mode, executable, nvram_template, filename } = mapping;
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
        Ok(FirmwareMapping { device, mode, executable, nvram_template })
    }
}

/// A descriptor; `None` for an empty file.
fn read(path: PathBuf) -> Result<Option<Firmware>, FirmwareError> {
    match content(&path) {
        Ok(Some(bytes)) if bytes.is_empty() => Ok(None),
        Ok(Some(bytes)) if bytes.len() as u64 > DESCRIPTOR_BYTES => {
            Err(FirmwareError::TooLong { path })
        }
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok((descriptor, document)) => Ok(Some(Firmware { path, descriptor, document })),
            Err(source) => Err(FirmwareError::Syntax { path, source }),
        },
        Ok(None) => Err(FirmwareError::NoFile { path }),
        Err(source) => Err(FirmwareError::Read { path, source }),
    }
}

fn parse(bytes: &[u8]) -> serde_json::Result<(FirmwareDescriptor, serde_json::Value)> {
    let document = serde_json::from_slice(bytes)?;
    Ok((FirmwareDescriptor::deserialize(&document)?, document))
}

/// The bytes of a regular file, no more than tell that they are too many; `None` for anything else.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match crate::file::open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(DESCRIPTOR_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
