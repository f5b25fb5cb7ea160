//! What all commands share: where the cache is, which emulator is meant, how an answer is had.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use capscache::probe::TimedOut;
use capscache::{Cache, Capabilities, Escaped, FailureCause, Groups, Lookup};
use capscache_service::client::Client;
use capscache_service::interface;
use rustix::io::Errno;

use crate::args::{Place, Probing};
use crate::keeper;
use crate::output;
use crate::remedy;
use crate::source::{self, Source};

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

    /// Where the cache is, and what emulators get and may cost.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Opens the cache.
    pub(crate) fn cache(&self) -> Result<Cache> {
        self.open(self.root()?)
    }

    /// Where answers come from: the service, if it serves the root and this user may not write there, or
    /// is root and it belongs to somebody else; otherwise the root itself.
    pub(crate) fn source(&self) -> Result<Source> {
        let root = self.root()?;
        // The service gives emulators an environment and directories of its own.
        let kept = keeper::of(&root);
        let is_usual = self.place.env.is_empty() && self.place.writable.is_empty();
        if (kept.is_some() || !is_writable(&root)) && is_usual {
            let client = Client::new(socket());
            match client.root() {
                Ok(served) if served == root => {
                    let (root, socket) = (Escaped::new(&root), Escaped::new(client.socket()));
                    let why = if kept.is_some() {
                        "is another user's"
                    } else {
                        "cannot be written by you"
                    };
                    self.tell(format_args!("{root} {why}: asking the service at {socket}"));
                    return Ok(Source::Service(client, served));
                }
                Ok(served) => self.tell(format_args!(
                    "the service is for another cache, in {}",
                    Escaped::new(&served)
                )),
                Err(error) => {
                    let error = output::chain(&error);
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
        self.tell(format_args!("the cache is in {}", Escaped::new(&root)));
        let trusted_owner = self.place.trust_owner.or_else(|| keeper::of_system(&root));
        if let Some(keeper) = keeper::of(&root)
            && trusted_owner == Some(keeper)
        {
            self.tell(format_args!("it belongs to the user {keeper}: going on as that user"));
            keeper::become_user(keeper, &root)?;
        }
        let mut builder = Cache::builder(root)
            .failure_ttl(Duration::from_secs(self.place.failure_ttl.into()))
            .limits(self.place.limits())
            .environment(self.place.env.iter().cloned())
            .writable(self.place.writable.iter().cloned());
        for fallback in &self.place.fallback {
            builder = builder.fallback(fallback);
        }
        if let Some(owner) = trusted_owner {
            builder = builder.trusted_owner(owner);
        }
        Ok(builder.open()?)
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
            Source::Service(client, _) => {
                return source::get_from_service(client, emulator, groups, probing.no_probe);
            }
        };
        let lookup = cache.lookup(emulator);
        let why = match &lookup {
            Ok(Lookup::Hit(hit)) if hit.has(groups) => return Ok(hit.clone()),
            Ok(Lookup::Hit(hit)) => {
                let lacking: Vec<_> = groups.without(hit.groups()).iter().skip(1).collect();
                format!("the entry lacks {}", join(&lacking, " and "))
            }
            Ok(Lookup::Stale { reason, .. }) => {
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
            let emulator = Escaped::new(emulator);
            bail!(
                "{emulator}: {why}; run `capscache warm {full}{emulator}`, or leave out --no-probe"
            );
        }
        if lookup.is_err() {
            output::warn(format_args!("{why}; probing anew"));
        } else {
            self.tell(format_args!("{}: {why}; probing", Escaped::new(emulator)));
        }
        let capabilities =
            cache.get_with(emulator, groups).map_err(|error| self.explain(error, emulator))?;
        if let Some(error) = capabilities.persist_error() {
            output::warn(format_args!("the answers could not be kept: {}", output::chain(error)));
        }
        Ok(capabilities)
    }
}

/// Warns that answers are missing because the prober was short of something.
pub(crate) fn warn_of_missing(capabilities: &Capabilities) {
    if let Some(short) = capabilities.incomplete() {
        let remedy = remedy::of(&short.reason);
        output::warn(format_args!("the answers are incomplete: {}{remedy}", short.reason));
    }
}

/// Several things in one line.
pub(crate) fn join<T: ToString>(things: &[T], between: &str) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// Variables by which a user makes an emulator find its libraries and modules.
const TELLING: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "QEMU_MODULE_DIR"];

impl Session {
    /// What a library's error means to somebody who typed a path.
    pub(crate) fn explain(&self, error: capscache::Error, emulator: &Path) -> anyhow::Error {
        match &error {
            capscache::Error::Emulator { .. } => {
                exists(emulator).err().unwrap_or_else(|| error.into())
            }
            capscache::Error::Failed { .. } => {
                let (emulator, advice) = (Escaped::new(emulator), self.advice(None));
                anyhow!("{error}; `capscache warm {emulator}` tries at once{advice}")
            }
            capscache::Error::Probe { .. } | capscache::Error::Thread { .. } => {
                let told = output::chain(&error);
                let is_short =
                    matches!(error.cause(), Some(FailureCause::Shortage | FailureCause::TimedOut));
                let remedy = if is_short { remedy::of(&told) } else { "" };
                let advice = match &error {
                    capscache::Error::Probe { source, .. } => self.advice(source.timed_out()),
                    _ => String::new(),
                };
                if remedy.is_empty() && advice.is_empty() {
                    return error.into();
                }
                anyhow!("{told}{remedy}{advice}")
            }
            _ => error.into(),
        }
    }

    /// What to try when an emulator cannot be probed, as an addition to a message: more time if that was
    /// over, and variables of this process that emulators do not get.
    pub(crate) fn advice(&self, timed_out: Option<TimedOut>) -> String {
        let mut advice = match timed_out {
            Some(TimedOut::Start) => "; --start-timeout SECONDS gives it more".to_owned(),
            Some(_) => "; --probe-timeout SECONDS gives it more".to_owned(),
            None => String::new(),
        };
        for name in TELLING {
            let is_given = self.place.env.iter().any(|(given, _)| given == name);
            if !is_given && std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
                advice.push_str(&format!(
                    "; {name} is set here, but emulators get no variable of this process: \
                     --env {name}=\"${name}\" gives it to them"
                ));
            }
        }
        advice
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
                Escaped::new(emulator)
            )
        }
        Err(error) => {
            let advice = match Errno::from_io_error(&error) {
                Some(Errno::ACCESS) => {
                    "; a directory above it may not be searched (`namei -l` shows which), or a security \
                     module such as AppArmor or SELinux refuses it (`journalctl -k`, `ausearch -m avc`)"
                }
                Some(Errno::LOOP) => {
                    "; links lead to one another (`namei -l` shows them): mend them"
                }
                Some(Errno::NAMETOOLONG) => "; give a shorter path",
                _ => "",
            };
            let emulator = Escaped::new(emulator);
            let cause = error.to_string();
            let cause = output::without_number(&cause);
            Err(anyhow!("cannot look at the emulator {emulator}: {cause}{advice}"))
        }
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

/// Whether a root can be written by this user or, where it is not there yet, made.
fn is_writable(root: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    for directory in root.ancestors() {
        match accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => return true,
            Err(Errno::NOENT) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Returns the path in an environment variable that is set and not empty.
fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns the path of the service's socket.
fn socket() -> PathBuf {
    path_variable("CAPSCACHE_SOCKET").unwrap_or_else(|| interface::SOCKET.into())
}

fn default_root() -> Result<PathBuf> {
    if let Some(root) = path_variable("CAPSCACHE_ROOT") {
        return Ok(root);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(keeper::SYSTEM_ROOT));
    }
    let caches = path_variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let caches = caches.or_else(|| Some(path_variable("HOME")?.join(".cache")));
    let root = caches.context("neither HOME nor XDG_CACHE_HOME is set: give --root DIR")?;
    Ok(root.join("capscache"))
}
