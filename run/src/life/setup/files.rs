//! Files of a guest outside of its directory.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::command::Command;
use crate::host::Descriptor;
use crate::resources::ResourceError;
use crate::user::User;

/// Files of a guest outside of its directory. Dropping them removes them, unless they are kept.
#[derive(Debug, Default)]
pub(in crate::life) struct Files {
    sockets: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Files {
    /// Creates the directories; the sockets are created later.
    pub(super) fn create(
        command: &Command,
        directories: &[&Path],
        user: Option<&User>,
    ) -> Result<Files, ResourceError> {
        let sockets = command.descriptors.iter().filter_map(|(_, descriptor)| match descriptor {
            Descriptor::Listen { path } => Some(path.clone()),
            _ => None,
        });
        let mut files = Files { sockets: sockets.collect(), directories: Vec::new() };
        for path in directories {
            create(path, user).map_err(ResourceError::io("create", *path))?;
            files.directories.push((*path).to_owned());
        }
        Ok(files)
    }

    /// Leaves the files where they are.
    pub(in crate::life) fn keep(&mut self) {
        *self = Files::default();
    }
}

/// Creates a directory, and the one above it, which all users may search, and no other may change.
fn create(path: &Path, user: Option<&User>) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    if let Some(parent) = path.parent() {
        builder.create(parent)?;
        let metadata = std::fs::symlink_metadata(parent)?;
        let is_own = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
        if !metadata.is_dir() || !is_own || metadata.mode() & 0o022 != 0 {
            let what = format!("another user owns {} or may write to it", parent.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        if user.is_some() {
            std::fs::set_permissions(parent, PermissionsExt::from_mode(0o711))?;
        }
    }
    builder.create(path)?;
    user.map_or(Ok(()), |user| chown(path, Some(user.uid), Some(user.gid)))
}

impl Drop for Files {
    fn drop(&mut self) {
        // The next start replaces what is left.
        for socket in &self.sockets {
            // Another file was there already, and let the start fail.
            let is_socket = |metadata: std::fs::Metadata| metadata.file_type().is_socket();
            if std::fs::symlink_metadata(socket).is_ok_and(is_socket) {
                let _ = std::fs::remove_file(socket);
            }
        }
        // QEMU has removed its files in them.
        for directory in &self.directories {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
