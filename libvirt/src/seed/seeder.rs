//! libvirt's files: what it would do with each, and writing them.

use std::path::{Path, PathBuf};

use capscache_format::{Entry, hex};
use rustix::fs::Stat;
use sha2::{Digest, Sha256};

use super::directory::{Absent, Directory, Found};
use super::error::{SeedError, io_error};
use super::user::QemuUser;
use crate::caps::QemuCaps;
use crate::derive::Host;
use crate::flags;
use crate::installed::Installed;
use crate::release::Release;
use crate::root::Root;
use crate::validity::{Outdated, Present};
use crate::xml::XmlError;

/// libvirt's cache of capabilities, with the present state of all that libvirt compares its files with.
#[derive(Debug)]
pub struct Seeder {
    pub(super) root: Root,
    pub(super) is_image: bool,
    pub(super) installed: Installed,
    pub(super) release: Release,
    pub(super) daemon: Option<PathBuf>,
    pub(super) user: QemuUser,
    pub(super) directory: PathBuf,
    pub(super) emulators: Vec<PathBuf>,
    pub(super) present: Present,
}

/// The state of libvirt's file of an emulator.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// libvirt accepts it, and does not start the emulator.
    Accepted,
    /// There is none.
    Missing,
    /// libvirt would accept whatever it has, and another user could have written it: its owner or mode.
    Untrusted(String),
    /// libvirt cannot read it.
    Unreadable(XmlError),
    /// libvirt discards it.
    Outdated(Outdated),
}

/// The identity of a file: another one, or a changed one, has another.
#[derive(Clone, Copy, Debug)]
pub struct Identity(Stat);

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        let parts = |Identity(stat): &Identity| {
            let modified = (stat.st_mtime, stat.st_mtime_nsec);
            let changed = (stat.st_ctime, stat.st_ctime_nsec);
            (stat.st_dev, stat.st_ino, stat.st_size, modified, changed)
        };
        parts(self) == parts(other)
    }
}

impl State {
    /// Returns true if libvirt does not start the emulator.
    pub fn is_accepted(&self) -> bool {
        matches!(self, State::Accepted)
    }
}

impl Seeder {
    /// Returns libvirt as it is installed.
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Returns the release of libvirt, whose files are read and written.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Returns the daemon whose files are written; `None` for a libvirt within a process.
    pub fn daemon(&self) -> Option<&Path> {
        self.daemon.as_deref()
    }

    /// Returns the user that libvirt runs emulators as.
    pub fn user(&self) -> &QemuUser {
        &self.user
    }

    /// Returns the directory of libvirt's files, by its path for this process.
    pub fn directory(&self) -> PathBuf {
        self.root.outside(&self.directory)
    }

    /// Returns the state of the host and of libvirt; the emulator is left empty.
    pub fn present(&self) -> &Present {
        &self.present
    }

    /// Returns the emulators that libvirt finds by itself, one of each architecture. It has files of others, by their
    /// paths, if guests name them.
    pub fn emulators(&self) -> &[PathBuf] {
        &self.emulators
    }

    /// Returns the path of libvirt's file of an emulator, for this process: it may be absent.
    ///
    /// # Errors
    /// [`SeedError::EmulatorPath`].
    pub fn file(&self, emulator: &Path) -> Result<PathBuf, SeedError> {
        Ok(self.directory().join(file_name(emulator)?))
    }

    /// Returns what libvirt would do with its file of an emulator.
    ///
    /// # Errors
    /// [`SeedError`]: other users may write to the directory, the file is not a file, or it or the emulator cannot be
    /// examined.
    pub fn check(&self, emulator: &Path) -> Result<State, SeedError> {
        let name = file_name(emulator)?;
        let directory = self.open_directory(Absent::Keep)?;
        let found = directory.map(|directory| directory.read(&name)).transpose()?.flatten();
        let present = self.present_with(emulator, &self.identify(emulator)?)?;
        let Some(Found { content, untrusted }) = found else { return Ok(State::Missing) };
        if let Some(why) = untrusted {
            return Ok(State::Untrusted(why));
        }
        let caps = match text(content).and_then(|text| self.read(&text)) {
            Ok(caps) => caps,
            Err(error) => return Ok(State::Unreadable(error)),
        };
        Ok(match present.check(&caps) {
            Ok(()) => State::Accepted,
            Err(outdated) => State::Outdated(outdated),
        })
    }

    /// Returns the identity of the file of an emulator, for [`Seeder::write`].
    ///
    /// # Errors
    /// [`SeedError::Io`].
    pub fn identify(&self, emulator: &Path) -> Result<Identity, SeedError> {
        let status = self.root.status(emulator);
        Ok(Identity(status.map_err(io_error("stat", self.root.outside(emulator)))?))
    }

    /// Replaces libvirt's file of an emulator by one from a valid entry, unless libvirt accepts the one that is there.
    /// `identity` is that of the emulator before the entry was requested. The directory is made if it is absent. Other
    /// processes see the old file or the whole new one.
    ///
    /// # Errors
    /// [`SeedError`]: as [`Seeder::check`]; [`SeedError::QemuCaps`] if libvirt keeps no such emulator;
    /// [`SeedError::NotAccepted`], [`SeedError::NotReadable`] or [`SeedError::DependsOnHost`] if it would discard the file;
    /// [`SeedError::Changed`] if the emulator was replaced meanwhile. The old file is kept.
    pub fn write<B: AsRef<[u8]>>(
        &self,
        emulator: &Path,
        entry: &Entry<B>,
        identity: &Identity,
    ) -> Result<(), SeedError> {
        if self.check(emulator)?.is_accepted() {
            return Ok(());
        }
        // libvirt compares the change time alone: it must be that of the file that gave the answers.
        if self.identify(emulator)? != *identity {
            return Err(SeedError::Changed { path: self.root.outside(emulator) });
        }
        let present = self.present_with(emulator, identity)?;
        let has_kvm =
            flags::flag(entry, "kvm", self.release).is_ok_and(capscache_format::Tri::is_yes);
        if has_kvm && self.is_image {
            return Err(SeedError::DependsOnHost);
        }
        let host = present.host.clone().kept_with(entry, self.release);
        let xml = QemuCaps::from_entry(entry, host, self.release)?.to_xml();
        // Names may have characters that XML does not have, or not as they are: libvirt would not find them again.
        let read = QemuCaps::from_xml(&xml, self.release)
            .map_err(|source| SeedError::NotReadable { path: emulator.to_owned(), source })?;
        present.check(&read).map_err(SeedError::NotAccepted)?;
        let directory = self.open_directory(Absent::Make)?;
        let directory = directory.expect("an absent directory is made");
        directory.write(&file_name(emulator)?, &xml)
    }

    /// Reads a file, also one of another release, since libvirt compares the release before all else.
    fn read(&self, text: &str) -> Result<QemuCaps, XmlError> {
        QemuCaps::from_xml(text, self.release).or_else(|error| {
            let others = Release::ALL.into_iter().filter(|release| *release != self.release);
            let mut read = others.filter_map(|release| QemuCaps::from_xml(text, release).ok());
            read.find(|caps| caps.self_version != self.installed.version).ok_or(error)
        })
    }

    fn open_directory(&self, absent: Absent) -> Result<Option<Directory>, SeedError> {
        Directory::open(&self.root, &self.directory, self.user.uid, absent)
    }

    /// Returns the state of all that libvirt compares the file of an emulator with.
    fn present_with(&self, emulator: &Path, identity: &Identity) -> Result<Present, SeedError> {
        let host = Host {
            emulator: utf8(emulator)?.to_owned(),
            qemu_ctime: self.root.change_time(&identity.0),
            ..self.present.host.clone()
        };
        Ok(Present { host, ..self.present.clone() })
    }
}

/// Returns the name of libvirt's file of an emulator (`virFileCacheGetFileName`).
fn file_name(emulator: &Path) -> Result<String, SeedError> {
    Ok(hex(&Sha256::digest(utf8(emulator)?)) + ".xml")
}

fn utf8(emulator: &Path) -> Result<&str, SeedError> {
    let text = emulator.to_str().filter(|_| emulator.is_absolute());
    text.ok_or_else(|| SeedError::EmulatorPath { path: emulator.to_owned() })
}

fn text(content: Vec<u8>) -> Result<String, XmlError> {
    String::from_utf8(content).map_err(|error| {
        let at = error.utf8_error().valid_up_to() as u64;
        XmlError::Syntax { at, what: "it is not UTF-8".to_owned() }
    })
}
