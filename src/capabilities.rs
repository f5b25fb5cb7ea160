//! The handle that a driver holds.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use capscache_format::{Entry, Groups, Input, InputKind};

use crate::error::Error;
use crate::host::HostFacts;
use crate::input::Trigger;
use crate::map::Bytes;
use crate::store::Stored;

/// What one emulator can do: a cheap handle on its mapped entry.
///
/// Dereferences to [`Entry`], which has the getters. Stays readable after the entry was replaced
/// or removed.
#[derive(Clone)]
pub struct Capabilities(pub(crate) Arc<Loaded>);

/// An entry in memory, with what a hit compares.
#[derive(Debug)]
pub(crate) struct Loaded {
    entry: Arc<Entry<Bytes>>,
    /// The entry's file; `None` if it could not be written.
    file: Option<Trigger>,
    /// What the answers depend on; `None`: content decides.
    triggers: Option<Vec<Trigger>>,
    /// As they were found at the last look: their signatures may be newer than the entry's.
    inputs: OnceLock<Vec<Input>>,
    not_kept: Option<Error>,
}

impl Loaded {
    pub(crate) fn new(Stored { entry, file }: Stored, host: &HostFacts) -> Loaded {
        let inputs = recorded(&entry);
        let triggers = Trigger::of(&inputs, host);
        Loaded { triggers, inputs: inputs.into(), entry: Arc::new(entry), file, not_kept: None }
    }

    /// An entry that nobody will ask whether it still holds.
    fn detached(entry: Entry<Bytes>) -> Loaded {
        let entry = Arc::new(entry);
        Loaded { triggers: None, inputs: OnceLock::new(), entry, file: None, not_kept: None }
    }

    /// An entry that is in no file.
    #[cfg(feature = "probe")]
    pub(crate) fn in_memory(entry: Entry<Bytes>, host: &HostFacts) -> Loaded {
        Loaded::new(Stored { entry, file: None }, host)
    }

    /// An entry that could not be written: kept in this process only.
    #[cfg(feature = "probe")]
    pub(crate) fn not_kept(entry: Entry<Bytes>, why: Error, host: &HostFacts) -> Loaded {
        Loaded { not_kept: Some(why), ..Loaded::in_memory(entry, host) }
    }

    /// The same entry, whose inputs were looked at and found unchanged under new signatures.
    pub(crate) fn with_inputs(&self, inputs: Vec<Input>, host: &HostFacts) -> Loaded {
        Loaded {
            triggers: Trigger::of(&inputs, host),
            inputs: inputs.into(),
            entry: Arc::clone(&self.entry),
            file: self.file.clone(),
            not_kept: self.not_kept.clone(),
        }
    }

    pub(crate) fn entry(&self) -> &Entry<Bytes> {
        &self.entry
    }

    /// The path of the emulator that it is about.
    pub(crate) fn emulator(&self) -> PathBuf {
        self.path(InputKind::Emulator)
    }

    /// What the answers depend on.
    pub(crate) fn inputs(&self) -> &[Input] {
        self.inputs.get_or_init(|| recorded(&self.entry))
    }

    fn path(&self, kind: InputKind) -> PathBuf {
        let name = self.entry.input(kind).map_or(&b""[..], |input| input.name);
        Path::new(OsStr::from_bytes(name)).to_owned()
    }

    /// Whether it is in this process alone.
    pub(crate) fn is_in_no_file(&self) -> bool {
        self.file.is_none()
    }

    /// Whether this file is the entry's.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        self.file.as_ref().is_some_and(|file| file.is_of(path))
    }

    /// Whether no process replaced or removed the entry's file.
    pub(crate) fn is_current(&self) -> bool {
        !self.file.as_ref().is_some_and(Trigger::moved)
    }

    /// Whether nothing moved that the answers depend on.
    pub(crate) fn is_untouched(&self) -> bool {
        self.triggers.as_ref().is_some_and(|triggers| !triggers.iter().any(Trigger::moved))
    }
}

/// All that an entry's answers depend on, whether it still holds or not.
pub(crate) fn recorded(entry: &Entry<Bytes>) -> Vec<Input> {
    entry.inputs().map(capscache_format::InputRef::to_owned).collect()
}

impl Capabilities {
    /// The entry in an open file, such as one that the service passes to a process that may not read
    /// the directory of the cache. It is believed as it stands: whether it still holds is for the
    /// one who opened it to know.
    ///
    /// # Errors
    /// [`Error::Entry`] for a file that cannot be read, [`Error::Format`] for one that is no entry.
    pub fn in_file(file: &File) -> Result<Capabilities, Error> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let status = rustix::fs::fstat(file).map_err(io::Error::from);
        let length = status.map(|status| u64::try_from(status.st_size).unwrap_or(0));
        let bytes = length.and_then(|length| Bytes::of(file, length));
        let bytes = bytes.map_err(Error::entry("read", &path))?;
        let entry = Entry::open(bytes).map_err(|source| Error::Format { path, source })?;
        Ok(Capabilities(Arc::new(Loaded::detached(entry))))
    }

    /// The entry's file, opened for reading, to be passed to another process. `None` if it is in no
    /// file, or in none any more: it could not be written, was replaced or removed.
    pub fn file(&self) -> Option<File> {
        self.0.file.as_ref()?.open_unmoved()
    }

    /// The path of the entry's file; `None` if it is in no file.
    pub fn file_path(&self) -> Option<&Path> {
        self.0.file.as_ref().and_then(Trigger::path)
    }

    /// Whether all these groups were filled.
    pub fn has(&self, groups: Groups) -> bool {
        groups.is_core() || groups.without(self.groups()).is_core()
    }

    /// The path of the emulator that was asked for.
    pub fn emulator(&self) -> PathBuf {
        self.0.emulator()
    }

    /// The path of the file that really runs: another one behind a link or a wrapper script.
    pub fn executable(&self) -> PathBuf {
        self.0.path(InputKind::Executable)
    }

    /// Why the answers could not be kept on disk, if they could not: they are right all the same,
    /// but the next process has to ask again.
    pub fn not_kept(&self) -> Option<&Error> {
        self.0.not_kept.as_ref()
    }
}

impl Deref for Capabilities {
    type Target = Entry<Bytes>;

    fn deref(&self) -> &Entry<Bytes> {
        &self.0.entry
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities")
            .field("emulator", &self.emulator())
            .field("version", &self.version().to_string())
            .field("arch", &self.arch())
            .finish_non_exhaustive()
    }
}
