//! The daemon of libvirt, its drivers, and the change times that it compares.

use std::path::{Path, PathBuf};

use super::error::SeedError;
use crate::installed::Installed;
use crate::root::Root;

/// The directories of daemons.
const DAEMON_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];

/// The daemons that have a driver for QEMU: the one for QEMU alone, and the one with all drivers.
const DAEMONS: [&str; 2] = ["virtqemud", MONOLITHIC];
const MONOLITHIC: &str = "libvirtd";

/// The drivers that `libvirtd` loads (`daemonInitialize` in `src/remote/remote_daemon.c`); others load only QEMU's.
const DRIVERS: [&str; 11] = [
    "network",
    "interface",
    "secret",
    "storage",
    "nodedev",
    "nwfilter",
    "libxl",
    "qemu",
    "ch",
    "lxc",
    "vbox",
];

impl Installed {
    fn driver(&self, name: &str) -> PathBuf {
        let directory = self.library_directory.join("libvirt/connection-driver");
        directory.join(format!("libvirt_driver_{name}.so"))
    }

    /// Returns the newest change time of the files that a process of libvirt records when it loads them
    /// (`virUpdateSelfLastChanged`): its daemon, if it is one, and drivers.
    ///
    /// # Errors
    /// [`SeedError::NoDriver`], [`SeedError::NoDaemon`].
    pub(super) fn self_ctime(&self, root: &Root, daemon: Option<&Path>) -> Result<i64, SeedError> {
        let driver = self.driver("qemu");
        let no_driver = |_| SeedError::NoDriver { path: root.outside(&driver) };
        let mut newest = root.changed(&driver).map_err(no_driver)?;
        if let Some(daemon) = daemon {
            let searched = || root.outside(daemon).to_string_lossy().into_owned();
            let of_daemon =
                root.changed(daemon).map_err(|_| SeedError::NoDaemon { searched: searched() })?;
            newest = newest.max(of_daemon);
        }
        if daemon.is_some_and(|path| path.ends_with(MONOLITHIC)) {
            let drivers = DRIVERS.map(|name| self.driver(name));
            // The driver of storage loads those of its kinds of pools.
            let backends = self.library_directory.join("libvirt/storage-backend");
            let names = root.names(&backends).unwrap_or_default();
            let backends = names.iter().map(|name| backends.join(name));
            let backends = backends.filter(|_| root.status(&self.driver("storage")).is_ok());
            let all = drivers.into_iter().chain(backends);
            newest = all.filter_map(|path| root.changed(&path).ok()).fold(newest, i64::max);
        }
        Ok(newest)
    }

    /// Returns the daemon that serves QEMU's guests here: the given one (a path, or a name), else the one that is
    /// installed, else the one of several that systemd starts.
    ///
    /// # Errors
    /// [`SeedError::NoDaemon`], [`SeedError::Daemons`].
    pub(super) fn daemon(&self, root: &Root, given: Option<&Path>) -> Result<PathBuf, SeedError> {
        let is_program = |path: &PathBuf| root.is_program(path);
        if let Some(given) = given.filter(|path| path.is_absolute()) {
            return Ok(given.to_owned());
        }
        let named: Vec<&Path> = match given {
            Some(name) => vec![name],
            None => DAEMONS.iter().map(Path::new).collect(),
        };
        let paths = |name: &&Path| DAEMON_DIRECTORIES.map(|within| Path::new(within).join(name));
        let installed: Vec<PathBuf> =
            named.iter().filter_map(|name| paths(name).into_iter().find(is_program)).collect();
        match &installed[..] {
            [] => {
                let names: Vec<_> = named.iter().map(|name| name.to_string_lossy()).collect();
                let directories = DAEMON_DIRECTORIES.join(", ");
                let searched = format!("{} in {directories}", names.join(" or "));
                Err(SeedError::NoDaemon { searched })
            }
            [one] => Ok(one.clone()),
            several => {
                let enabled: Vec<_> =
                    several.iter().filter(|path| is_enabled(root, path)).collect();
                match &enabled[..] {
                    [one] => Ok((*one).clone()),
                    _ => self.same_for_all(root, several),
                }
            }
        }
    }

    /// Returns one of several daemons if all accept the same files.
    fn same_for_all(&self, root: &Root, daemons: &[PathBuf]) -> Result<PathBuf, SeedError> {
        let mut times = daemons.iter().map(|path| self.self_ctime(root, Some(path)));
        let first = times.next().transpose()?;
        for time in times {
            if Some(time?) != first {
                let names = daemons.iter().map(|path| path.to_string_lossy().into_owned());
                return Err(SeedError::Daemons { names: names.collect() });
            }
        }
        Ok(daemons[0].clone())
    }
}

/// Returns whether systemd starts a daemon, or one of its sockets, at boot.
fn is_enabled(root: &Root, daemon: &Path) -> bool {
    let Some(name) = daemon.file_name().map(|name| name.to_string_lossy()) else { return false };
    let units = ["/etc/systemd/system", "/usr/lib/systemd/system"].map(Path::new);
    let wants = units.iter().flat_map(|units| {
        let names = root.names(units).unwrap_or_default();
        names.into_iter().filter(|name| name.ends_with(".wants")).map(|name| units.join(name))
    });
    wants.into_iter().any(|wants| {
        let names = root.names(&wants).unwrap_or_default();
        let unit = |name: &str| {
            name.strip_suffix(".socket").or(name.strip_suffix(".service")).map(str::to_owned)
        };
        names.iter().filter_map(|name| unit(name)).any(|unit| unit == name)
    })
}
