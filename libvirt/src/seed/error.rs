//! Errors of filling libvirt's cache.

use std::io;
use std::path::PathBuf;

use capscache_format::Escaped;

use crate::derive::CapsError;
use crate::validity::Outdated;
use crate::xml::XmlError;

/// The reason why libvirt's cache cannot be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// No library of libvirt is installed.
    #[error(
        "cannot find libvirt: there is no link libvirt.so.0 to a libvirt.so.0.N.N in {}; install libvirt, or give the root of the system that has it",
        Escaped::new(searched)
    )]
    NotInstalled {
        /// The directories that were searched.
        searched: String,
    },
    /// A release is installed whose files are not known.
    #[error(
        "cannot write files for libvirt {version}: the known releases are {known}; leave its cache to libvirt itself"
    )]
    UnknownRelease {
        /// The version, such as `11.4.0`.
        version: String,
        /// The releases that are known.
        known: String,
    },
    /// libvirt has no driver for QEMU here.
    #[error(
        "cannot find libvirt's driver for QEMU, {}: install it (libvirt-daemon-driver-qemu)",
        Escaped::new(path)
    )]
    NoDriver {
        /// The path of the driver.
        path: PathBuf,
    },
    /// No daemon of libvirt is installed, or not the given one.
    #[error(
        "cannot find a daemon of libvirt: there is no {}; install it, or give its path",
        Escaped::new(searched)
    )]
    NoDaemon {
        /// The files that were searched.
        searched: String,
    },
    /// Two daemons are installed, which accept different files, and none is enabled.
    #[error(
        "cannot choose a daemon of libvirt: {} are installed and systemd starts neither or both, and \
         each accepts only files of its own; name the one that runs here",
        names.join(" and ")
    )]
    Daemons {
        /// The names of the daemons.
        names: Vec<String>,
    },
    /// The user in libvirt's configuration does not exist.
    #[error(
        "cannot find the {kind} {name:?}, which {} names; create it, or correct the file",
        Escaped::new(path)
    )]
    UnknownUser {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The configuration.
        path: PathBuf,
    },
    /// A directory or file cannot be used.
    #[error("cannot {action} {}", Escaped::new(path))]
    Io {
        /// The operation: `read`, `write`, `open`, `create`, `stat`.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another user could put files there.
    #[error(
        "cannot fill libvirt's cache: {} {why}, so other users could put files there; give it to root, or to the \
         user of the session, with mode 755",
        Escaped::new(path)
    )]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// Owner or mode.
        why: String,
    },
    /// Something else than a file has the name of a file of the cache.
    #[error(
        "cannot fill libvirt's cache: {} is {found}, not a file, and libvirt would follow it; remove it",
        Escaped::new(path)
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// The kind of file.
        found: &'static str,
    },
    /// The path of an emulator is not one that libvirt can have a file of.
    #[error(
        "cannot fill libvirt's cache for {}: give an absolute path in UTF-8",
        Escaped::new(path)
    )]
    EmulatorPath {
        /// The path.
        path: PathBuf,
    },
    /// The entry lacks what libvirt's file needs.
    #[error(transparent)]
    QemuCaps(#[from] CapsError),
    /// The emulator was replaced after its answers were requested.
    #[error(
        "cannot fill libvirt's cache for {}: it changed meanwhile; run this again",
        Escaped::new(path)
    )]
    Changed {
        /// The path of the emulator.
        path: PathBuf,
    },
    /// The answers are about the KVM of this host, and the system is to be started on another.
    #[error(
        "cannot fill libvirt's cache in an image: the emulator runs under KVM here, and libvirt compares kernel, CPU \
         and microcode with those where the image is started; seed there, before libvirt starts"
    )]
    DependsOnHost,
    /// libvirt would discard the file: the answers come from other surroundings than those that it finds.
    #[error("cannot fill libvirt's cache: it would discard a file with these answers")]
    NotAccepted(#[source] Outdated),
    /// libvirt could not read the file, such as one whose path has characters that XML does not have.
    #[error(
        "cannot fill libvirt's cache for {}, whose file it could not read; rename the emulator if its path has such \
         characters",
        Escaped::new(path)
    )]
    NotReadable {
        /// The path of the emulator.
        path: PathBuf,
        /// The cause.
        #[source]
        source: XmlError,
    },
}

/// Returns a function that turns an error of the system into one about a path.
pub(super) fn io_error(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> SeedError {
    let path = path.into();
    move |source| SeedError::Io { action, path, source }
}
