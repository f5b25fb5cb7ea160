//! Reads the file that runs as an emulator, while it runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::modules::{OVERLAP_BYTES, module_directories, named_module_directories};
use crate::process::Executable;

/// Bound on the module directories that an executable may name. QEMU's names one.
const MAX_NAMED: usize = 1000;

/// An executable that was read from end to end.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) executable: Executable,
    pub(crate) sha256: [u8; 32],
    /// The module directories that it names.
    pub(crate) named: BTreeSet<PathBuf>,
}

/// A thread that reads an executable. Dropping it stops the thread and waits for its end.
#[derive(Debug)]
pub(crate) struct Reading {
    thread: Option<JoinHandle<io::Result<Read>>>,
    is_stopped: Arc<AtomicBool>,
}

impl Reading {
    /// Begins to read; gives up at `deadline`.
    pub(crate) fn start(executable: Executable, deadline: Instant) -> io::Result<Self> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let check_deadline = move || match stop.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false if Instant::now() >= deadline => Err(too_large()),
            false => Ok(()),
        };
        let thread = std::thread::Builder::new()
            .name("capscache-hash".to_owned())
            .spawn(move || read(executable, check_deadline))?;
        Ok(Self { thread: Some(thread), is_stopped })
    }

    /// Waits until everything is read.
    pub(crate) fn finish(mut self) -> io::Result<Read> {
        let thread = self.thread.take().ok_or(io::ErrorKind::Interrupted)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The result, or a panic, is not needed any more.
            let _ = thread.join();
        }
    }
}

fn read(executable: Executable, check_deadline: impl Fn() -> io::Result<()>) -> io::Result<Read> {
    let mut file = &executable.file;
    let mut hasher = Sha256::new();
    let mut named = BTreeSet::new();
    let mut buffer = vec![0; 64 * 1024];
    // The end of one block is kept before the next, so that no name is cut in two.
    let mut kept = 0;
    loop {
        check_deadline()?;
        let read = file.read(&mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        let end = kept + read;
        hasher.update(&buffer[kept..end]);
        named_module_directories(&buffer[..end], &mut named);
        if named.len() > MAX_NAMED {
            return Err(io::Error::other(format!(
                "it names more than {MAX_NAMED} module directories"
            )));
        }
        let keep_from = end.saturating_sub(OVERLAP_BYTES);
        buffer.copy_within(keep_from..end, 0);
        kept = end - keep_from;
    }
    Ok(Read { sha256: hasher.finalize().into(), named, executable })
}

/// Returns the directories in which the program at `path` searches for QEMU's modules, as far as its file
/// names them: none for a program that names no such directory, or a file that is not a program. The
/// directory for modules of upgraded packages is that of all versions.
///
/// # Errors
/// Those of reading the file, and [`io::ErrorKind::TimedOut`] if that takes until `deadline`.
pub fn module_directories_of(path: &Path, deadline: Instant) -> io::Result<Vec<PathBuf>> {
    let path = path.canonicalize()?;
    // Opening a pipe or a terminal could block for ever.
    if !path.metadata()?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = File::open(&path)?;
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Ok(Vec::new());
    }
    let in_time = || if Instant::now() < deadline { Ok(()) } else { Err(too_large()) };
    let Read { executable, named, .. } = read(Executable::not_running(path, file), in_time)?;
    Ok(module_directories(&executable, "", &named, &[]))
}

fn too_large() -> io::Error {
    let what = "it is too large to be read before the deadline of the probe";
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Returns a sparse file that takes minutes to read.
    fn huge(dir: &tempfile::TempDir) -> Executable {
        let path = dir.path().join("huge");
        let file = File::options().create(true).truncate(true).write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        Executable::not_running(path.clone(), File::open(&path).unwrap())
    }

    #[test]
    fn an_executable_that_takes_too_long_to_read_is_given_up_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = Reading::start(huge(&dir), deadline).unwrap().finish().unwrap_err();
        let expected = "it is too large to be read before the deadline of the probe";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn dropping_a_reading_stops_its_thread() {
        let dir = tempfile::tempdir().unwrap();
        let deadline = Instant::now() + Duration::from_secs(3600);
        let reading = Reading::start(huge(&dir), deadline).unwrap();
        let is_stopped = Arc::clone(&reading.is_stopped);
        drop(reading);
        // The thread had the other one.
        assert_eq!(Arc::strong_count(&is_stopped), 1);
    }

    #[test]
    fn an_executable_that_names_countless_directories_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names");
        let names: String = (0..2000).map(|n| format!("\0/{n}/lib/qemu\0")).collect();
        std::fs::write(&path, names).unwrap();
        let executable = Executable::not_running(path.clone(), File::open(&path).unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let error = Reading::start(executable, deadline).unwrap().finish().unwrap_err();
        assert_eq!(error.to_string(), format!("it names more than {MAX_NAMED} module directories"));
    }
}
