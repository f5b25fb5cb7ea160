//! Reads from `/proc` the files that a running emulator consists of.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// Bound on the bytes that are read of a list under `/proc`. QEMU's list of mappings has some 50 KB.
const MAX_PROC_BYTES: u64 = 4 << 20;

/// Variables that decide which libraries and modules are loaded (ld.so(8), QEMU's `util/module.c`).
const LOADER_VARIABLES: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "QEMU_MODULE_DIR"];

/// Options of glibc's loader that take a library as their value: it is mapped, and is not the program.
const LOADER_OPTIONS: [&[u8]; 2] = [b"--preload", b"--audit"];

/// Bound on the words of a command line that may name the program.
const MAX_WORDS: usize = 64;

/// The file that runs as an emulator.
#[derive(Debug)]
pub struct Executable {
    /// Its path in `/proc/PID/exe`, or in the command line of its interpreter. It may be a path in another
    /// mount namespace.
    pub path: PathBuf,
    /// The file itself, open for reading; its path may be that of another file by now.
    pub file: File,
    /// The program that runs it, if it is not executed itself: a dynamic loader with the program's path
    /// as an argument, or an interpreter that binfmt_misc chose.
    pub interpreter: Option<PathBuf>,
    /// Those of `LD_LIBRARY_PATH`, `LD_PRELOAD` and `QEMU_MODULE_DIR` that are set in the process.
    pub environment: Vec<(OsString, OsString)>,
    /// The root directory of the process, as a path of this process: `/` unless it runs in a chroot.
    pub root: PathBuf,
    /// True if the process has another mount namespace than this process.
    pub has_own_mounts: bool,
}

impl Executable {
    /// Reads which file runs as a process. Fails for a process that has ended.
    pub(crate) fn of(pid: Pid) -> io::Result<Executable> {
        let process = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
        let (exe, file) = (process.join("exe"), File::open(process.join("exe"))?);
        let own_mounts = fs::read_link("/proc/self/ns/mnt").ok();
        let mounts = fs::read_link(process.join("ns/mnt")).ok();
        let mut executable = Executable {
            path: fs::read_link(exe)?,
            file,
            interpreter: None,
            environment: environment(&process),
            root: fs::read_link(process.join("root")).unwrap_or_else(|_| "/".into()),
            has_own_mounts: own_mounts.is_some() && mounts.is_some() && own_mounts != mounts,
        };
        if let Some((path, file)) = interpreted(&process, &executable.file) {
            executable.interpreter = Some(std::mem::replace(&mut executable.path, path));
            executable.file = file;
        }
        Ok(executable)
    }

    /// Returns a program that does not run.
    pub(crate) fn not_running(path: PathBuf, file: File) -> Executable {
        Executable {
            path,
            file,
            interpreter: None,
            environment: Vec::new(),
            root: "/".into(),
            has_own_mounts: false,
        }
    }

    /// Returns device and inode.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.file.metadata().ok().map(|status| identity(&status))
    }
}

fn identity(status: &Metadata) -> (u64, u64) {
    (status.dev(), status.ino())
}

/// Reads a file of a process, or the beginning of it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PROC_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn environment(process: &Path) -> Vec<(OsString, OsString)> {
    let variables = read(&process.join("environ")).unwrap_or_default();
    let variables = variables.split(|byte| *byte == 0).filter_map(|variable| {
        let end = variable.iter().position(|byte| *byte == b'=')?;
        let name = OsStr::from_bytes(&variable[..end]);
        let is_set = end + 1 < variable.len() && LOADER_VARIABLES.iter().any(|one| name == *one);
        is_set.then(|| (name.to_owned(), OsStr::from_bytes(&variable[end + 1..]).to_owned()))
    });
    variables.collect()
}

/// Returns the program that `exe` interprets: the first file on the command line that is an ELF object,
/// is mapped, and is not `exe` itself. A loader and a user-mode emulator map the program that they run,
/// and QEMU maps no file that is a word of its command line.
fn interpreted(process: &Path, exe: &File) -> Option<(PathBuf, File)> {
    let exe = identity(&exe.metadata().ok()?);
    let line = read(&process.join("cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).take(MAX_WORDS).collect();
    let mappings = read(&process.join("maps")).ok()?;
    let mapped: Vec<u64> = mappings.split(|byte| *byte == b'\n').filter_map(inode).collect();
    let before = std::iter::once(&b""[..]).chain(words.iter().copied());
    let programs = words.iter().zip(before).filter(|(word, before)| {
        !word.is_empty() && !word.starts_with(b"-") && !LOADER_OPTIONS.contains(before)
    });
    programs.into_iter().find_map(|(word, _)| {
        let word = Path::new(OsStr::from_bytes(word));
        let (base, inside) = match word.strip_prefix("/") {
            Ok(inside) => ("root", inside),
            Err(_) => ("cwd", word),
        };
        let path = process.join(base).join(inside);
        let status = fs::metadata(&path).ok().filter(Metadata::is_file)?;
        if identity(&status) == exe || !mapped.contains(&status.ino()) {
            return None;
        }
        let mut file = File::open(&path).ok()?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).ok().filter(|()| magic == *b"\x7fELF")?;
        let file = File::open(&path).ok()?;
        let path = fs::read_link(process.join(base)).ok()?.join(inside);
        Some((fs::canonicalize(&path).unwrap_or(path), file))
    })
}

/// Returns the inode of a mapping; `None` for one that is not of a file.
fn inode(line: &[u8]) -> Option<u64> {
    let inode = line.split(u8::is_ascii_whitespace).nth(4)?;
    std::str::from_utf8(inode).ok()?.parse().ok().filter(|inode| *inode != 0)
}

/// The files from which a process has mapped code, and all shared objects.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    /// Paths of this mount namespace, sorted. A path of another file here is left out.
    pub(crate) objects: Vec<PathBuf>,
    /// Paths whose file was removed or replaced while it was mapped.
    pub(crate) replaced: BTreeSet<PathBuf>,
}

impl Mapped {
    /// Reads `/proc/PID/maps`, whose paths are those of the process' mount namespace. `is_foreign`: whether
    /// that is another one than that of this process.
    pub(crate) fn of(pid: Pid, executable: (u64, u64), is_foreign: bool) -> io::Result<Mapped> {
        let maps = read(Path::new(&format!("/proc/{}/maps", pid.as_raw_pid())))?;
        let mappings = maps.split(|byte| *byte == b'\n').filter_map(Mapping::parse);
        let mut objects = BTreeSet::new();
        let mut mapped = Mapped::default();
        for mapping in mappings.filter(Mapping::is_code) {
            match mapping.file_at_path() {
                FileAtPath::Same(status) if identity(&status) == executable => {}
                FileAtPath::Same(_) => drop(objects.insert(mapping.path.to_owned())),
                // In another mount namespace any path may be that of another file.
                FileAtPath::Other if is_foreign => {}
                FileAtPath::Other => drop(mapped.replaced.insert(mapping.path.to_owned())),
            }
        }
        mapped.objects = objects.into_iter().collect();
        Ok(mapped)
    }
}

/// A line of `/proc/PID/maps`: `FROM-TO PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH` (proc_pid_maps(5)).
struct Mapping<'a> {
    is_executable: bool,
    device: u64,
    inode: u64,
    path: &'a Path,
    is_deleted: bool,
}

/// The file at the path of a mapping.
enum FileAtPath {
    /// The file that is mapped.
    Same(Metadata),
    /// Another file, or none.
    Other,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a [u8]) -> Option<Mapping<'a>> {
        const DELETED: &[u8] = b" (deleted)";
        let start = line.iter().position(|byte| *byte == b'/')?;
        let (columns, path) = line.split_at(start);
        let columns = std::str::from_utf8(columns).ok()?;
        let mut columns = columns.split_ascii_whitespace().skip(1);
        let permissions = columns.next()?;
        let (major, minor) = columns.nth(1)?.split_once(':')?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        let kept = path.strip_suffix(DELETED);
        Some(Mapping {
            is_executable: permissions.contains('x'),
            device: rustix::fs::makedev(number(major)?, number(minor)?),
            inode: columns.next()?.parse().ok()?,
            path: Path::new(OsStr::from_bytes(kept.unwrap_or(path))),
            is_deleted: kept.is_some(),
        })
    }

    /// Returns whether it maps code of a file, or data of a shared object. Code that QEMU generates itself is
    /// in anonymous memory, some of which has a path too.
    fn is_code(&self) -> bool {
        const NO_FILES: [&str; 4] = ["/memfd:", "/dev/", "/SYSV", "/["];
        let path = self.path.as_os_str().as_bytes();
        let name = self.path.file_name().unwrap_or_default().as_bytes();
        let is_object = name.windows(3).any(|part| part == b".so");
        (self.is_executable || is_object)
            && !NO_FILES.iter().any(|no_file| path.starts_with(no_file.as_bytes()))
    }

    fn file_at_path(&self) -> FileAtPath {
        match fs::metadata(self.path) {
            _ if self.is_deleted => FileAtPath::Other,
            // Overlay and btrfs report other numbers in the list than stat(2) does: then the path decides.
            Ok(status) if status.ino() == self.inode || status.dev() != self.device => {
                FileAtPath::Same(status)
            }
            _ => FileAtPath::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that runs until it is dropped.
    struct Running(Child);

    impl Running {
        /// Starts a program that waits for its input, and waits until it was executed.
        fn start(command: &mut Command) -> Running {
            use std::io::Write;
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            child.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
            Running(child)
        }

        fn pid(&self) -> Pid {
            Pid::from_child(&self.0)
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn loader() -> Option<PathBuf> {
        let own = Mapped::of(rustix::process::getpid(), (0, 0), false).unwrap();
        let is_loader = |path: &PathBuf| path.file_name().unwrap().as_bytes().starts_with(b"ld");
        own.objects.into_iter().find(is_loader)
    }

    #[test]
    fn a_program_that_a_loader_runs_is_the_executable_and_the_loader_its_interpreter() {
        let Some(loader) = loader() else {
            println!("SKIPPED: this program has no dynamic loader");
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let cat = directory.path().canonicalize().unwrap().join("my-cat");
        fs::copy("/bin/cat", &cat).unwrap();
        let preload = Mapped::of(rustix::process::getpid(), (0, 0), false).unwrap().objects;
        let preload = preload.iter().find(|path| path.ends_with("libc.so.6")).unwrap();
        for arguments in [vec![], vec![OsStr::new("--preload"), preload.as_os_str()]] {
            let running = Running::start(Command::new(&loader).args(arguments).arg(&cat).arg("-"));
            let executable = Executable::of(running.pid()).unwrap();
            assert_eq!(executable.path, cat);
            assert_eq!(executable.interpreter.as_ref(), Some(&loader));
            assert_eq!(executable.identity(), Some(identity(&fs::metadata(&cat).unwrap())));
        }
        let running = Running::start(Command::new(&cat).arg("-"));
        let executable = Executable::of(running.pid()).unwrap();
        assert_eq!((executable.path, executable.interpreter), (cat, None));
    }

    #[test]
    fn the_variables_that_decide_what_is_loaded_are_those_of_the_process() {
        let running = Running::start(
            Command::new("/bin/sh")
                .args(["-c", "LD_LIBRARY_PATH=/a:/b QEMU_MODULE_DIR=/m LD_PRELOAD= exec cat"])
                .env("UNRELATED", "1"),
        );
        let found = Executable::of(running.pid()).unwrap().environment;
        let expected = [("LD_LIBRARY_PATH", "/a:/b"), ("QEMU_MODULE_DIR", "/m")];
        let mut found: Vec<_> =
            found.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_object_that_is_replaced_while_it_is_mapped_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let (cat, new) = (directory.path().join("program"), directory.path().join("new"));
        fs::copy("/bin/cat", &cat).unwrap();
        let running = Running::start(&mut Command::new(&cat));
        let mapped = || Mapped::of(running.pid(), (0, 0), false).unwrap();
        assert!(mapped().objects.contains(&cat), "although its name does not end with .so");
        assert!(mapped().replaced.is_empty());
        fs::copy("/bin/cat", &new).unwrap();
        fs::rename(&new, &cat).unwrap();
        assert_eq!(mapped().replaced, BTreeSet::from([cat.clone()]));
        assert!(!mapped().objects.contains(&cat));
        fs::remove_file(&cat).unwrap();
        assert_eq!(mapped().replaced, BTreeSet::from([cat]));
    }

    #[test]
    fn this_process_has_mapped_objects_and_all_of_them_are_files() {
        let objects = Mapped::of(rustix::process::getpid(), (0, 0), false).unwrap().objects;
        assert!(
            objects.iter().any(|path| path.to_string_lossy().contains("libc.so")),
            "{objects:?}"
        );
        assert!(objects.iter().all(|path| path.is_file()), "{objects:?}");
    }
}
