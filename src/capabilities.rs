//! The handle that a driver holds on an entry.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use capscache_format::{Entry, Groups, Input, InputKind, InputRef};

use crate::error::Error;
use crate::file::FileStamp;
use crate::inputs::{self, FastCheck, HostFacts};
use crate::status::Dependency;
use crate::store::{Bytes, Stored};

/// The capabilities of one emulator: a cheap handle on its mapped entry.
///
/// Dereferences to [`Entry`], which has the getters. Stays readable after the entry was replaced
/// or removed.
#[derive(Clone)]
pub struct Capabilities(pub(crate) Arc<Loaded>);

/// An entry in memory, with the checks that a hit makes.
#[derive(Debug)]
pub(crate) struct Loaded {
    entry: Arc<Entry<Bytes>>,
    /// The entry's file; `None` if it could not be written.
    file: Option<FileStamp>,
    /// The fast checks of its inputs; `None`: only full checks decide.
    checks: Option<Vec<FastCheck>>,
    /// The inputs as of the last full check: their signatures may be newer than the entry's.
    inputs: OnceLock<Vec<Input>>,
    persist_error: Option<Error>,
}

impl Loaded {
    pub(crate) fn new(Stored { entry, file }: Stored, host: &HostFacts) -> Loaded {
        let inputs = recorded_inputs(&entry);
        let checks = inputs::fast_checks(&inputs, host);
        Loaded { checks, inputs: inputs.into(), entry: Arc::new(entry), file, persist_error: None }
    }

    /// An entry that is not compared with the present.
    fn detached(entry: Entry<Bytes>) -> Loaded {
        let entry = Arc::new(entry);
        Loaded { checks: None, inputs: OnceLock::new(), entry, file: None, persist_error: None }
    }

    /// An entry that is in no file.
    pub(crate) fn in_memory(entry: Entry<Bytes>, host: &HostFacts) -> Loaded {
        Loaded::new(Stored { entry, file: None }, host)
    }

    /// An entry that could not be written: only this process has it.
    pub(crate) fn not_persisted(entry: Entry<Bytes>, error: Error, host: &HostFacts) -> Loaded {
        Loaded { persist_error: Some(error), ..Loaded::in_memory(entry, host) }
    }

    /// The same entry with other signatures of its inputs, found by a full check.
    pub(crate) fn with_inputs(&self, inputs: Vec<Input>, host: &HostFacts) -> Loaded {
        Loaded {
            checks: inputs::fast_checks(&inputs, host),
            inputs: inputs.into(),
            entry: Arc::clone(&self.entry),
            file: self.file.clone(),
            persist_error: self.persist_error.clone(),
        }
    }

    pub(crate) fn entry(&self) -> &Entry<Bytes> {
        &self.entry
    }

    /// The path of the emulator.
    pub(crate) fn emulator(&self) -> PathBuf {
        self.path(InputKind::Emulator)
    }

    /// The inputs that the answers depend on.
    pub(crate) fn inputs(&self) -> &[Input] {
        self.inputs.get_or_init(|| recorded_inputs(&self.entry))
    }

    fn path(&self, kind: InputKind) -> PathBuf {
        let name = self.entry.input(kind).map_or(&b""[..], |input| input.name);
        Path::new(OsStr::from_bytes(name)).to_owned()
    }

    /// Returns whether only this process has it.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.file.is_none()
    }

    /// Returns whether this file is the entry's.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        self.file.as_ref().is_some_and(|file| file.path().as_os_str() == path.as_os_str())
    }

    /// Returns whether the entry's file was neither replaced nor removed.
    pub(crate) fn is_current(&self) -> bool {
        !self.file.as_ref().is_some_and(FileStamp::has_changed)
    }

    /// Returns whether all fast checks hold.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| !checks.iter().any(FastCheck::fails))
    }
}

/// The inputs as they are recorded in an entry, whether they hold or not.
pub(crate) fn recorded_inputs(entry: &Entry<Bytes>) -> Vec<Input> {
    entry.inputs().map(InputRef::to_owned).collect()
}

impl Capabilities {
    /// Opens the entry in an open file, such as one that the service passes to a process that may not read
    /// the directory of the cache. It is not compared with the present: only the process that opened the
    /// file can do that.
    ///
    /// # Errors
    /// [`Error::Entry`] for a file that cannot be read, [`Error::Format`] for one that is not an entry.
    pub fn in_file(file: &File) -> Result<Capabilities, Error> {
        let link = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // The number may be another file's by the time that an error is read.
        let path = std::fs::read_link(&link).unwrap_or(link);
        let status = rustix::fs::fstat(file).map_err(io::Error::from);
        let length = status.map(|status| u64::try_from(status.st_size).unwrap_or(0));
        let bytes = length.and_then(|length| Bytes::of(file, length));
        let bytes = bytes.map_err(Error::entry("read", &path))?;
        let entry = Entry::open(bytes).map_err(|source| Error::Format { path, source })?;
        Ok(Capabilities(Arc::new(Loaded::detached(entry))))
    }

    /// The entry's file, opened for reading, to be passed to another process. `None` if it is in no
    /// file, or no longer in one: it could not be written, was replaced or removed.
    pub fn file(&self) -> Option<File> {
        self.0.file.as_ref()?.open_unchanged()
    }

    /// The path of the entry's file; `None` if it is in no file.
    pub fn file_path(&self) -> Option<&Path> {
        self.0.file.as_ref().map(FileStamp::path)
    }

    /// Returns whether all these groups were filled.
    pub fn has(&self, groups: Groups) -> bool {
        groups.is_core() || groups.without(self.groups()).is_core()
    }

    /// The path of the emulator.
    pub fn emulator(&self) -> PathBuf {
        self.0.emulator()
    }

    /// The path of the file that runs: another one behind a link or a wrapper script.
    pub fn executable(&self) -> PathBuf {
        self.0.path(InputKind::Executable)
    }

    /// The paths that the answers depend on, in no particular order: the emulator and the files that it
    /// runs, modules, shared objects, `/dev/kvm`.
    pub fn depends_on(&self) -> Vec<Dependency> {
        // Of a stale entry also those that no longer hold.
        inputs::watched_paths(&recorded_inputs(&self.0.entry))
    }

    /// The reason why the answers could not be written to disk, if they could not: they are correct all
    /// the same, but the next process has to probe again.
    pub fn persist_error(&self) -> Option<&Error> {
        self.0.persist_error.as_ref()
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
