//! Confines an emulator's writes to the directories that it may write to.
//!
//! Landlock does, which takes no privileges. But a process that is confined by it cannot mount: a wrapper that does is
//! started again in a mount namespace in which all else is read-only, and which is locked by a further user namespace.
//! Both deny the same, so it does not matter that an emulator can choose between them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use capscache_process::exec::last_errno;
use landlock::{
    ABI, Access, AccessFs, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{self, UnshareFlags};

/// Devices that QEMU and shells open for writing, none of which stores the data.
const DEVICES: [&str; 18] = [
    "/dev/kvm",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/urandom",
    "/dev/sev",
    "/dev/sgx_vepc",
    "/dev/sgx_provision",
    "/dev/vhost-net",
    "/dev/vhost-vsock",
    "/dev/vfio",
    "/dev/iommu",
    "/dev/udmabuf",
    "/dev/net/tun",
];

/// The confinement of an emulator.
#[derive(Debug)]
pub(crate) enum Sandbox {
    /// None: the kernel has no Landlock, or this process may not use it.
    None,
    /// A Landlock ruleset.
    Landlock(OwnedFd),
    /// A mount namespace.
    Mounts(Mounts),
}

/// Data that a child needs to make its mount namespace, during which it must not allocate.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// Directories and files that stay writable.
    writable: Vec<CString>,
    /// Nodes that may be opened: a read-only mount does not prevent opening others, such as disks, but `nodev` does.
    devices: Vec<CString>,
    /// Bounds signals and abstract sockets, as [`Sandbox::Landlock`] does; it does not deny mounts.
    scopes: Option<OwnedFd>,
    /// The maps of its user namespaces, which keep the user and the group.
    uid_map: String,
    gid_map: String,
}

impl Sandbox {
    /// Confines writes to an open directory and these directories and files, by Landlock if the kernel has it. Paths
    /// that do not exist are skipped.
    pub(crate) fn landlock(scratch: Option<BorrowedFd<'_>>, writable: &[PathBuf]) -> Sandbox {
        match ruleset(scratch, writable).map(Option::<OwnedFd>::from) {
            Ok(Some(ruleset)) => Sandbox::Landlock(ruleset),
            Ok(None) | Err(_) => Sandbox::None,
        }
    }

    /// Confines writes to these directories and files, by a mount namespace.
    pub(crate) fn mounts(writable: &[PathBuf]) -> Sandbox {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).ok();
        let mut writable: Vec<_> = writable.iter().filter_map(|at| path(at)).collect();
        // Wrappers that make user namespaces of their own write there. Root needs none, and could write to much else
        // there; root of a user namespace could not.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let is_initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
        if uid != 0 || !is_initial {
            writable.push(c"/proc".to_owned());
        }
        let devices = DEVICES.iter().filter_map(|at| path(Path::new(at))).collect();
        let scopes = Ruleset::default().scope(Scope::from_all(ABI::V6));
        let scopes = scopes.and_then(Ruleset::create).map(Option::<OwnedFd>::from);
        let [uid_map, gid_map] = [uid, gid].map(|id| format!("{id} {id} 1"));
        let scopes = scopes.unwrap_or_default();
        Sandbox::Mounts(Mounts { writable, devices, scopes, uid_map, gid_map })
    }

    /// Returns whether a wrapper that mounts fails in it.
    pub(crate) fn denies_mounts(&self) -> bool {
        matches!(self, Sandbox::Landlock(_))
    }
}

fn ruleset(
    scratch: Option<BorrowedFd<'_>>,
    writable: &[PathBuf],
) -> Result<RulesetCreated, RulesetError> {
    // Later versions have no further rights that are about writing.
    let writes = AccessFs::from_write(ABI::V3);
    Ruleset::default()
        .handle_access(writes)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(scratch.map(|scratch| Ok::<_, RulesetError>(PathBeneath::new(scratch, writes))))?
        .add_rules(path_beneath_rules(writable, writes))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::WriteFile | AccessFs::Truncate))
}

/// Confines this process to a ruleset for good; it must have no_new_privs set.
pub(super) fn restrict_to(ruleset: &OwnedFd) -> Result<(), Errno> {
    let ruleset = ruleset.as_raw_fd();
    // JUSTIFICATION: the landlock crate may allocate here.
    // SAFETY: takes a descriptor that is open, and flags.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

impl Mounts {
    /// Moves this process to a mount namespace of its own, in which all other paths are read-only.
    pub(super) fn enter(&self) -> Result<(), Errno> {
        // Opened before the mounts below, which may make `/proc` read-only.
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process = rustix::fs::open(c"/proc/self", directory, Mode::empty())?;
        self.enter_namespaces(&process)?;
        for path in self.writable.iter().chain(&self.devices) {
            // A path that does not exist needs no mount.
            let _ = bind(path);
        }
        const ALL: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV;
        set_attributes(c"/", ALL, 0, libc::AT_RECURSIVE)?;
        for path in &self.writable {
            let _ = set_attributes(path, 0, libc::MOUNT_ATTR_RDONLY, 0);
        }
        for path in &self.devices {
            let _ = set_attributes(path, 0, libc::MOUNT_ATTR_NODEV, 0);
        }
        // A further user namespace locks what was set in the outer one for good (mount_namespaces(7)).
        self.enter_namespaces(&process)?;
        self.scopes.as_ref().map_or(Ok(()), restrict_to)
    }

    fn enter_namespaces(&self, process: &OwnedFd) -> Result<(), Errno> {
        // JUSTIFICATION: rustix marks it unsafe because of UnshareFlags::FILES.
        // SAFETY: descriptors stay shared as they are, and the child has one thread.
        unsafe { thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
        let files =
            [(c"setgroups", "deny"), (c"uid_map", &self.uid_map), (c"gid_map", &self.gid_map)];
        for (name, text) in files {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(process, name, flags, Mode::empty())?;
            rustix::io::write(&file, text.as_bytes())?;
        }
        Ok(())
    }
}

/// Mounts a path on itself.
fn bind(path: &CStr) -> Result<(), Errno> {
    let path = path.as_ptr();
    // JUSTIFICATION: rustix has no mount_setattr(2), and one call alone is not worth another feature of it.
    // SAFETY: two paths that end with a null byte, and null where nothing is read.
    let done = unsafe { libc::mount(path, path, ptr::null(), libc::MS_BIND, ptr::null()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Sets attributes of a mount, and clears others.
fn set_attributes(path: &CStr, set: u64, clear: u64, flags: libc::c_int) -> Result<(), Errno> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    // JUSTIFICATION: rustix has no mount_setattr(2).
    // SAFETY: a path that ends with a null byte, and a structure with its size.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
