//! What all commands share: where the cache is, which emulator is meant, how an answer is had.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use capscache::{Cache, CacheOptions, Capabilities, Groups, Lookup};

use crate::args::{Place, Probing};
use crate::client::Client;
use crate::output;
use crate::source::Source;

/// The cache of the whole system.
const SYSTEM_ROOT: &str = "/var/cache/capscache";

/// One run of the command.
#[derive(Debug)]
pub(crate) struct Session {
    place: Place,
    verbose: bool,
}

impl Session {
    pub(crate) fn new(place: Place, verbose: bool) -> Session {
        Session { place, verbose }
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Opens the cache.
    pub(crate) fn cache(&self) -> Result<Cache> {
        self.open(self.root()?)
    }

    /// Where answers come from: the service, if it serves the root and this user may not write there;
    /// otherwise the root itself.
    pub(crate) fn source(&self) -> Result<Source> {
        let root = self.root()?;
        if !is_writable(&root) {
            let client = Client::new();
            match client.root() {
                Ok(served) if served == root => {
                    let (root, socket) = (root.display(), client.socket().display());
                    self.tell(format_args!(
                        "{root} cannot be written by you: asking the service at {socket}"
                    ));
                    return Ok(Source::Service(client, served));
                }
                Ok(served) => self.tell(format_args!(
                    "the service is for another cache, in {}",
                    served.display()
                )),
                Err(error) => {
                    let error = output::chain(error.as_ref());
                    self.tell(format_args!("no service: {error}"));
                }
            }
        }
        Ok(Source::Root(self.open(root)?))
    }

    fn root(&self) -> Result<PathBuf> {
        let root = self.place.root.clone().map_or_else(default_root, Ok)?;
        Ok(std::path::absolute(root)?)
    }

    fn open(&self, root: PathBuf) -> Result<Cache> {
        self.tell(format_args!("the cache is in {}", root.display()));
        let options = CacheOptions {
            fallbacks: self.place.fallback.clone(),
            trusted_owner: self.place.trust_owner.or_else(|| keeper_of(&root)),
            failure_ttl: Duration::from_secs(self.place.failure_ttl.into()),
            ..CacheOptions::default()
        };
        Ok(Cache::open_with(root, options)?)
    }

    /// Says something that only a curious user wants to know.
    pub(crate) fn tell(&self, what: fmt::Arguments<'_>) {
        if self.verbose {
            output::warn(what);
        }
    }

    /// What an emulator can do, with `groups`: from the cache, or from a probe if that is allowed.
    pub(crate) fn answers(
        &self,
        source: &Source,
        emulator: &Path,
        groups: Groups,
        probing: Probing,
    ) -> Result<Capabilities> {
        let cache = match source {
            Source::Root(cache) => cache,
            Source::Service(client, _) => return client.get(emulator, groups, probing),
        };
        let lookup = cache.lookup(emulator);
        let why = match &lookup {
            Ok(Lookup::Hit(hit)) if hit.has(groups) => return Ok(hit.clone()),
            Ok(Lookup::Hit(hit)) => {
                let lacking: Vec<_> = groups.without(hit.groups()).iter().skip(1).collect();
                format!("the entry lacks {}", join(&lacking, " and "))
            }
            Ok(Lookup::Stale(reason)) => {
                let reason = reason.to_string();
                format!("the entry is stale: {}", output::without_number(&reason))
            }
            Ok(Lookup::Failed(failure)) => format!("cannot be probed: {failure}"),
            Ok(_) => "there is no entry".to_owned(),
            Err(error) => output::chain(error),
        };
        if probing.no_probe {
            exists(emulator)?;
            let full = if groups.is_core() { "" } else { "--full " };
            let emulator = emulator.display();
            bail!(
                "{emulator}: {why}; run `capscache warm {full}{emulator}`, or leave out --no-probe"
            );
        }
        if lookup.is_err() {
            output::warn(format_args!("{why}; probing anew"));
        } else {
            self.tell(format_args!("{}: {why}; probing", emulator.display()));
        }
        let capabilities =
            cache.get_with(emulator, groups).map_err(|error| explain(error, emulator))?;
        if let Some(error) = capabilities.not_kept() {
            output::warn(format_args!("the answers could not be kept: {}", output::chain(error)));
        }
        Ok(capabilities)
    }
}

/// Several things in one line.
pub(crate) fn join<T: ToString>(things: &[T], between: &str) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// What a library's error means to somebody who typed a path.
pub(crate) fn explain(error: capscache::Error, emulator: &Path) -> anyhow::Error {
    match error {
        capscache::Error::Emulator { .. } => exists(emulator).err().unwrap_or_else(|| error.into()),
        capscache::Error::Failed { .. } => {
            anyhow!("{error}; `capscache warm {}` tries at once", emulator.display())
        }
        error => error.into(),
    }
}

/// An error if there is nothing at an emulator's path.
pub(crate) fn exists(emulator: &Path) -> Result<()> {
    match std::fs::metadata(emulator) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let place = if is_bare(emulator) { ", neither here nor on PATH" } else { "" };
            bail!(
                "there is no emulator {}{place}; give the path of a QEMU system emulator",
                emulator.display()
            )
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot look at the emulator {}", emulator.display())),
    }
}

/// The path of the emulator that is meant: a bare name that is no file here is looked up on PATH.
pub(crate) fn locate(named: &Path) -> PathBuf {
    if !is_bare(named) || named.exists() {
        return named.to_owned();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
    };
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(named)).find(is_program);
    found.unwrap_or_else(|| named.to_owned())
}

fn is_bare(path: &Path) -> bool {
    !path.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// Whose files are believed in the cache of the whole system: root, to whom the directory above it
/// belongs, gave it to this user.
fn keeper_of(root: &Path) -> Option<u32> {
    let keeper = || std::fs::symlink_metadata(root).ok().filter(std::fs::Metadata::is_dir);
    (root == Path::new(SYSTEM_ROOT)).then(keeper).flatten().map(|directory| directory.uid())
}

/// Whether a root can be written by this user or, where it is not there yet, made.
fn is_writable(root: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    use rustix::io::Errno;
    for directory in root.ancestors() {
        match accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => return true,
            Err(Errno::NOENT) => {}
            Err(_) => return false,
        }
    }
    false
}

fn default_root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = set("CAPSCACHE_ROOT") {
        return Ok(root);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(SYSTEM_ROOT));
    }
    let caches = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let caches = caches.or_else(|| Some(set("HOME")?.join(".cache")));
    let root = caches.context("neither HOME nor XDG_CACHE_HOME is set: give --root DIR")?;
    Ok(root.join("capscache"))
}
