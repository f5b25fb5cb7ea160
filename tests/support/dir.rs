//! A directory of one test. The tests of the command and of the service include this file: only there Cargo sets the
//! path of the binary, and they add methods of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use test_support::{text, write_program};

/// A directory of one test, with the root of the cache and the socket of the service in it. Other users can read it
/// and connect to the socket.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        Dir(directory)
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// The command, which has nothing of the caller's environment but `PATH`.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capscache"));
        self.prepare(&mut command);
        command
    }

    /// Gives a program that runs the command the environment of [`Dir::command`].
    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CAPSCACHE_ROOT", self.root())
            .env("CAPSCACHE_SOCKET", self.socket())
            .current_dir(self.directory())
            .stdin(Stdio::null());
    }

    /// Writes an executable file, in place if it exists, and returns its path.
    pub(crate) fn program(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        write_program(&path, content);
        text(&path)
    }

    /// Writes a script that executes an emulator, and returns its path.
    pub(crate) fn wrapper(&self, name: &str, target: &str) -> String {
        self.program(name, format!("#!/bin/sh\nexec {target} \"$@\"\n"))
    }
}
