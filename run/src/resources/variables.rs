//! Variables of firmware, in a file that outlives the guest.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::fchown;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{FILE_MODE, ResourceError};
use crate::user::User;

/// Creates a file of variables as a copy of its template, if it does not exist. It is never overwritten, and never there
/// in part.
pub(super) fn create(
    path: &Path,
    template: Option<&Path>,
    user: Option<&User>,
) -> Result<(), ResourceError> {
    if path.exists() {
        return Ok(());
    }
    let Some(template) = template else {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return Err(ResourceError::io("find the variables of the firmware", path)(missing));
    };
    let template = open(template).map_err(ResourceError::io("open", template))?;
    copy(template, path, user).map_err(ResourceError::io("create", path))
}

/// Opens a regular file. Another kind of file must not block.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

fn copy(template: File, path: &Path, user: Option<&User>) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "it is not the path of a file");
    let directory = path.parent().ok_or_else(invalid)?;
    // Without a name until it is whole: nothing of it is left if this process is killed.
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(FILE_MODE);
    let file = match rustix::fs::open(directory, flags, mode) {
        Ok(file) => File::from(file),
        // File systems without it, such as NFS.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => return copy_by_name(template, path, user),
        Err(errno) => return Err(errno.into()),
    };
    fill(&file, template, user)?;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    link(Path::new(&own), path)
}

/// Copies by way of a file with a fixed name, which a process that was killed may have left.
fn copy_by_name(template: File, path: &Path, user: Option<&User>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let remove = || match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    remove()?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(new, flags, Mode::from_raw_mode(FILE_MODE))?);
    let linked = fill(&file, template, user).and_then(|()| link(new, path));
    linked.and(remove())
}

fn fill(mut file: &File, mut template: File, user: Option<&User>) -> io::Result<()> {
    io::copy(&mut template, &mut file)?;
    if let Some(user) = user {
        fchown(file, Some(user.uid), Some(user.gid))?;
    }
    file.sync_all()
}

/// Gives a file its name. It does not replace what another process created meanwhile.
fn link(file: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::linkat(CWD, file, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_by_name_replaces_what_a_killed_process_left_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (template, path) = (directory.path().join("template"), directory.path().join("vars"));
        fs::write(&template, "whole").unwrap();
        fs::write(directory.path().join("vars.new"), "in pa").unwrap();
        copy_by_name(open(&template).unwrap(), &path, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR).unwrap();
        assert_eq!(open(&fifo).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn variables_are_copied_once_and_then_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (template, path) = (directory.path().join("template"), directory.path().join("vars"));
        fs::write(&template, "first").unwrap();
        create(&path, Some(&template), None).unwrap();
        fs::write(&template, "second").unwrap();
        create(&path, Some(&template), None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        create(&path, None, None).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let missing = create(&directory.path().join("no"), None, None).unwrap_err();
        assert!(matches!(missing, ResourceError::Io { .. }), "{missing:?}");
    }
}
