//! The configuration of a cache.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::entries;
use crate::inputs::HostFacts;
#[cfg(feature = "probe")]
use crate::refresh;

/// Configures a [`Cache`](crate::Cache): see [`Cache::builder`](crate::Cache::builder).
///
/// ```no_run
/// use std::time::Duration;
/// # fn main() -> Result<(), capscache::Error> {
/// let cache = capscache::Cache::builder("/var/cache/driver")
///     .fallback("/usr/share/capscache")
///     .failure_ttl(Duration::from_secs(300))
///     .open()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "`open` opens the cache"]
pub struct CacheBuilder {
    pub(crate) root: PathBuf,
    pub(crate) fallbacks: Vec<PathBuf>,
    pub(crate) trusted_owner: Option<u32>,
    pub(crate) entries: entries::Settings,
    #[cfg(feature = "probe")]
    pub(crate) probes: refresh::Settings,
}

impl CacheBuilder {
    pub(crate) fn new(root: PathBuf) -> CacheBuilder {
        CacheBuilder {
            root,
            fallbacks: Vec::new(),
            trusted_owner: None,
            entries: entries::Settings::default(),
            #[cfg(feature = "probe")]
            probes: refresh::Settings::default(),
        }
    }

    /// Adds the root of another cache, such as one that is part of an image of this host: its valid entries
    /// are used where the root has none, and the parts of its other entries that hold are not probed
    /// again. Fallbacks are searched in this order and never written; one that is absent is skipped. Of one that
    /// belongs to another user, that user is to be trusted: [`trusted_owner`](Self::trusted_owner).
    pub fn fallback(mut self, root: impl Into<PathBuf>) -> CacheBuilder {
        self.fallbacks.push(root.into());
        self
    }

    /// Trusts the files of a user beside those of root and of the user of this process, such as
    /// the user of a service that fills the cache.
    pub fn trusted_owner(mut self, uid: u32) -> CacheBuilder {
        self.trusted_owner = Some(uid);
        self
    }

    /// Sets the time after which an emulator that could not be probed is probed again, if nothing changes
    /// before: 60 s by default.
    pub fn failure_ttl(mut self, ttl: Duration) -> CacheBuilder {
        self.entries.failure_ttl = ttl;
        self
    }

    /// Adds variables to the environment of emulators, which replace those of the same name. Answers
    /// of emulators with other variables are not used.
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> CacheBuilder {
        self.entries.environment.extend(variables);
        self
    }

    /// Replaces the examination of this host; for tests, and for caches that are made for another host.
    pub fn host(mut self, host: HostFacts) -> CacheBuilder {
        self.entries.host = Some(host);
        self
    }
}

/// The configuration of probes.
#[cfg(feature = "probe")]
impl CacheBuilder {
    /// Sets the limits of probes.
    pub fn limits(mut self, limits: capscache_probe::Limits) -> CacheBuilder {
        self.probes.limits = limits.bounded();
        self
    }

    /// Runs emulators as another user, which requires root. KVM is examined with the rights of that user.
    pub fn run_as(mut self, user: capscache_probe::User) -> CacheBuilder {
        self.entries.run_as = Some(user);
        self
    }

    /// Adds directories that emulators may write to, besides their temporary directory: one in which a
    /// wrapper keeps a log, for example.
    pub fn writable(mut self, directories: impl IntoIterator<Item = PathBuf>) -> CacheBuilder {
        self.probes.writable.extend(directories);
        self
    }
}
