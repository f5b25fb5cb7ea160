//! The instance of libvirt whose cache is examined.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::error::{SeedError, io_error};
use super::search;
use super::seeder::Seeder;
use super::user::QemuUser;
use crate::caps::CpuData;
use crate::derive::Host;
use crate::host::architecture;
use crate::installed::{Installed, library_directories, module_directory_mtime};
use crate::release::known;
use crate::root::{Root, Times};
use crate::validity::Present;

/// An instance of libvirt, which has a cache of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instance {
    /// The one of the system, `qemu:///system`.
    System,
    /// The one of this user, `qemu:///session`, with the user's directory of caches (`XDG_CACHE_HOME`, or
    /// `~/.cache`).
    Session(PathBuf),
    /// The one within a process, `qemu:///embed?root=…`, with this root.
    Embedded(PathBuf),
}

/// The instance of libvirt and the system that are examined.
#[derive(Clone, Debug)]
pub struct Options {
    instance: Instance,
    daemon: Option<PathBuf>,
    path: Option<OsString>,
    image: Option<(PathBuf, Times)>,
    cpu_data: Option<CpuData>,
}

impl Options {
    /// Examines this system for an instance of libvirt.
    pub fn new(instance: Instance) -> Options {
        Options { instance, daemon: None, path: None, image: None, cpu_data: None }
    }

    /// Sets the daemon whose files are written, a path or a name: `virtqemud` or `libvirtd`. By default it is the one
    /// that is installed, or of both the one that systemd starts.
    #[must_use]
    pub fn daemon(mut self, daemon: impl Into<PathBuf>) -> Options {
        self.daemon = Some(daemon.into());
        self
    }

    /// Sets the directories where libvirt searches for emulators, in the form of `PATH`: by default those of systemd's
    /// services for [`Instance::System`] and in an image, and those of this process for others.
    #[must_use]
    pub fn path(mut self, path: impl Into<OsString>) -> Options {
        self.path = Some(path.into());
        self
    }

    /// Examines the system with this root directory, which is to be started elsewhere, on an unknown host.
    #[must_use]
    pub fn image(mut self, root: impl Into<PathBuf>, times: Times) -> Options {
        self.image = Some((root.into(), times));
        self
    }

    /// Sets the CPUID leaves that KVM supports. Without them they are not compared.
    #[must_use]
    pub fn cpu_data(mut self, cpu_data: Option<CpuData>) -> Options {
        self.cpu_data = cpu_data;
        self
    }

    /// Examines libvirt and the host.
    ///
    /// # Errors
    /// [`SeedError`]: libvirt is not installed or its release is not known, its user of QEMU does not exist, or a file with
    /// users or settings cannot be read.
    pub fn open(self) -> Result<Seeder, SeedError> {
        let (path, times) = self.image.clone().unwrap_or(("/".into(), Times::Kept));
        let root = Root::open(&path, times).map_err(io_error("open", path))?;
        let installed = Installed::find(&root).ok_or_else(|| not_installed(&root))?;
        let release = installed.release().map_err(|_| SeedError::UnknownRelease {
            version: installed.to_string(),
            known: known(),
        })?;
        let daemon = match self.instance {
            Instance::Embedded(_) => None,
            _ => Some(installed.daemon(&root, self.daemon.as_deref())?),
        };
        let user = self.user(&root)?;
        let host = Host {
            module_directory_mtime: module_directory_mtime(&root, Some(&installed)),
            self_ctime: installed.self_ctime(&root, daemon.as_deref())?,
            self_version: installed.version,
            ..Host::of_kernel_and_cpu()
        };
        let present = Present {
            host,
            arch: architecture(),
            kvm_usable: self.image.is_none() && user.may_open_kvm(),
            cpu_data: self.cpu_data,
        };
        let directory = match &self.instance {
            Instance::System => PathBuf::from("/var/cache/libvirt/qemu"),
            Instance::Session(caches) => caches.join("libvirt/qemu/cache"),
            Instance::Embedded(within) => within.join("cache/qemu"),
        };
        let is_of_this_user = self.instance != Instance::System && self.image.is_none();
        let path = self.path.unwrap_or_else(|| match is_of_this_user {
            // GLib's default, by which libvirt searches.
            true => std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()),
            false => search::daemon_path(&root).into(),
        });
        let directory = directory.join("capabilities");
        // Root may execute what any user may.
        let is_program = |path: &Path| {
            let may_execute = || accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
            root.is_program(path) && (!is_of_this_user || may_execute())
        };
        Ok(Seeder {
            emulators: search::emulators(is_program, &path, &present.arch, release),
            root,
            is_image: self.image.is_some(),
            installed,
            release,
            daemon,
            user,
            directory,
            present,
        })
    }

    /// Returns the user that the instance runs emulators as: for an unprivileged one its own.
    fn user(&self, root: &Root) -> Result<QemuUser, SeedError> {
        let is_root = rustix::process::geteuid().is_root() || self.image.is_some();
        match &self.instance {
            Instance::System => QemuUser::find(root, Path::new("/etc/libvirt/qemu.conf")),
            Instance::Embedded(within) if is_root => {
                QemuUser::find(root, &within.join("etc/qemu.conf"))
            }
            _ => Ok(QemuUser::own()),
        }
    }
}

fn not_installed(root: &Root) -> SeedError {
    let directories = library_directories(root);
    let searched: Vec<_> = directories.iter().map(|path| path.to_string_lossy()).collect();
    SeedError::NotInstalled { searched: searched.join(", ") }
}
