//! Finding programs.

use std::path::{Path, PathBuf};

/// Directories of programs beside those of `PATH`.
const DIRECTORIES: &[&str] =
    &["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/lib/qemu"];

/// Returns the path of a program; `None` if it is not there.
pub(crate) fn find_program(program: &Path) -> Option<PathBuf> {
    if program.is_absolute() {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(DIRECTORIES.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}
