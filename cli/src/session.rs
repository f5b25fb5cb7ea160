//! Functions of all commands: finding the cache and the emulator, and getting its capabilities.

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

use crate::args::{GlobalOptions, Probing};
use crate::output;
use crate::owner;
use crate::remedy;
use crate::source::{self, Source};

/// One run of the command.
#[derive(Debug)]
pub(crate) struct Session {
    options: GlobalOptions,
    verbose: bool,
}

impl Session {
    pub(crate) fn new(options: GlobalOptions, verbose: bool) -> Session {
        Session { options, verbose }
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Returns the options of all commands.
    pub(crate) fn options(&self) -> &GlobalOptions {
        &self.options
    }

    /// Opens the cache.
    pub(crate) fn cache(&self) -> Result<Cache> {
        self.open(self.root()?)
    }

    /// Returns the source of answers: the service, if it serves the root and this user may not write
    /// there, or is root and the directory belongs to another user; otherwise the root itself.
    pub(crate) fn source(&self) -> Result<Source> {
        let root = self.root()?;
        // The service has its own options for the environment and the writable directories of emulators.
        let owner = owner::other_than_root(&root);
        let is_default = self.options.env.is_empty() && self.options.writable.is_empty();
        if (owner.is_some() || !is_writable(&root)) && is_default {
            let client = Client::new(socket());
            match client.info().map(|info| info.root) {
                Ok(served) if served == root => {
                    let (root, socket) = (Escaped::new(&root), Escaped::new(client.socket()));
                    let why = match owner {
                        Some(_) => "belongs to another user",
                        None => "is not writable",
                    };
                    self.log(format_args!("{root} {why}: using the service at {socket}"));
                    return Ok(Source::Service(client, served));
                }
                Ok(served) => self.log(format_args!(
                    "the service serves another cache, {}",
                    Escaped::new(&served)
                )),
                Err(error) => {
                    let error = output::chain(&error);
                    self.log(format_args!("cannot use the service: {error}"));
                }
            }
        }
        Ok(Source::Root(self.open(root)?))
    }

    /// Returns the absolute path of the root.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let root = self.options.root.clone().map_or_else(default_root, Ok)?;
        Ok(std::path::absolute(root)?)
    }

    fn open(&self, root: PathBuf) -> Result<Cache> {
        self.log(format_args!("the cache is in {}", Escaped::new(&root)));
        let trusted_owner = self.options.trust_owner.or_else(|| owner::of_system_root(&root));
        if let Some(owner) = owner::other_than_root(&root)
            && trusted_owner == Some(owner)
        {
            self.log(format_args!("it belongs to the user {owner}: switching to that user"));
            owner::become_user(owner, &root)?;
        }
        let mut builder = Cache::builder(root)
            .failure_ttl(Duration::from_secs(self.options.failure_ttl.into()))
            .limits(self.options.limits())
            .environment(self.options.env.iter().cloned())
            .writable(self.options.writable.iter().cloned());
        for fallback in &self.options.fallback {
            builder = builder.fallback(fallback);
        }
        if let Some(owner) = trusted_owner {
            builder = builder.trusted_owner(owner);
        }
        Ok(builder.open()?)
    }

    /// Returns a session whose cache is below a directory of guests. Entries of the cache that it has otherwise are used
    /// too, but not written: their owner may be another user.
    pub(crate) fn within(&self, root: &Path) -> Session {
        let mut options = self.options.clone();
        options.root = Some(root.join("cache"));
        if let Ok(default) = default_root()
            && default.is_dir()
        {
            options.trust_owner = options.trust_owner.or_else(|| owner::of_system_root(&default));
            options.fallback.push(default);
        }
        Session { options, verbose: self.verbose }
    }

    /// Prints a message on stderr if `--verbose` is set.
    pub(crate) fn log(&self, message: fmt::Arguments<'_>) {
        if self.verbose {
            output::warn(message);
        }
    }

    /// Returns the capabilities of an emulator with `groups`: from the cache, or from a probe if allowed.
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
                format!("the entry is stale: {reason}")
            }
            Ok(Lookup::Failed(failure)) => format!("the last probe failed: {failure}"),
            Ok(_) => "there is no entry".to_owned(),
            Err(error) => output::chain(error),
        };
        if probing.no_probe {
            check_exists(emulator)?;
            let full = if groups.is_core() { "" } else { "--full " };
            let emulator = Escaped::new(emulator);
            bail!(
                "cannot answer for {emulator} from the cache: {why}; run `capscache warm {full}{emulator}`, \
                 or leave out --no-probe"
            );
        }
        if lookup.is_err() {
            output::warn(format_args!("{why}; probing again"));
        } else {
            self.log(format_args!("{}: {why}; probing", Escaped::new(emulator)));
        }
        let capabilities =
            cache.get_with(emulator, groups).map_err(|error| self.explain(error, emulator))?;
        if let Some(error) = capabilities.persist_error() {
            output::warn(format_args!("cannot store the answers: {}", output::chain(error)));
        }
        Ok(capabilities)
    }
}

/// Warns that answers are missing because the prober lacked a resource.
pub(crate) fn warn_of_missing(capabilities: &Capabilities) {
    if let Some(short) = capabilities.incomplete() {
        let remedy = remedy::of(&short.reason);
        output::warn(format_args!("the answers are incomplete: {}{remedy}", short.reason));
    }
}

/// Returns items joined in one line.
pub(crate) fn join<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// Variables that set where an emulator finds its libraries and modules.
const LIBRARY_VARIABLES: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "QEMU_MODULE_DIR"];

impl Session {
    /// Converts an error of the library to a message with a remedy.
    pub(crate) fn explain(&self, error: capscache::Error, emulator: &Path) -> anyhow::Error {
        match &error {
            capscache::Error::Emulator { .. } => {
                check_exists(emulator).err().unwrap_or_else(|| error.into())
            }
            capscache::Error::Failed { .. } => {
                let (emulator, advice) = (Escaped::new(emulator), self.advice(None));
                anyhow!("{error}; run `capscache warm {emulator}` to retry now{advice}")
            }
            capscache::Error::Probe { .. } | capscache::Error::Thread { .. } => {
                let message = output::chain(&error);
                let is_short =
                    matches!(error.cause(), Some(FailureCause::Shortage | FailureCause::TimedOut));
                let remedy = if is_short { remedy::of(&message) } else { "" };
                let advice = match &error {
                    capscache::Error::Probe { source, .. } => self.advice(source.timed_out()),
                    _ => String::new(),
                };
                if remedy.is_empty() && advice.is_empty() {
                    return error.into();
                }
                anyhow!("{message}{remedy}{advice}")
            }
            _ => error.into(),
        }
    }

    /// Returns a remedy for an emulator that cannot be probed, to append to a message: more time after a
    /// timeout, and variables of this process that emulators do not inherit.
    pub(crate) fn advice(&self, timed_out: Option<TimedOut>) -> String {
        let mut advice = match timed_out {
            Some(TimedOut::Start) => "; allow more with --start-timeout SECONDS".to_owned(),
            Some(_) => "; allow more with --probe-timeout SECONDS".to_owned(),
            None => String::new(),
        };
        for name in LIBRARY_VARIABLES {
            let is_given = self.options.env.iter().any(|(given, _)| given == name);
            if !is_given && std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
                advice.push_str(&format!(
                    "; {name} is set here, but emulators do not inherit variables: pass it with \
                     --env {name}=\"${name}\""
                ));
            }
        }
        advice
    }
}

/// Checks that there is a file at an emulator's path.
///
/// # Errors
/// A message with a remedy if there is none, or it cannot be examined.
pub(crate) fn check_exists(emulator: &Path) -> Result<()> {
    match std::fs::metadata(emulator) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let cause = match is_bare(emulator) {
                true => "it is neither in the working directory nor on PATH",
                false => "the file does not exist",
            };
            bail!(
                "cannot find the emulator {}: {cause}; give the path of a QEMU system emulator",
                Escaped::new(emulator)
            )
        }
        Err(error) => {
            let advice = match Errno::from_io_error(&error) {
                Some(Errno::ACCESS) => {
                    "; permit searching the directories above it (`namei -l` shows them), unless a security \
                     module such as AppArmor or SELinux refuses it (`journalctl -k`, `ausearch -m avc`)"
                }
                Some(Errno::LOOP) => {
                    "; fix the symbolic links, which form a loop (`namei -l` shows them)"
                }
                Some(Errno::NAMETOOLONG) => "; give a shorter path",
                _ => "",
            };
            let emulator = Escaped::new(emulator);
            let cause = output::chain(&error);
            Err(anyhow!("cannot stat the emulator {emulator}: {cause}{advice}"))
        }
    }
}

/// Returns the path of an emulator: a bare name that is not a file in the working directory is searched on
/// PATH.
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

/// Returns whether this user can write to a root or, if it does not exist yet, create it.
pub(crate) fn is_writable(root: &Path) -> bool {
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
pub(crate) fn socket() -> PathBuf {
    path_variable("CAPSCACHE_SOCKET").unwrap_or_else(|| interface::SOCKET.into())
}

/// Returns this user's directory of caches.
pub(crate) fn user_caches() -> Option<PathBuf> {
    let caches = path_variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    caches.or_else(|| Some(path_variable("HOME")?.join(".cache")))
}

/// Returns the directory of guests that is used without `--root`.
pub(crate) fn default_run_root() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/capscache"));
    }
    let state = path_variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(path_variable("HOME")?.join(".local/state")));
    let state = state
        .context("cannot choose a root: neither HOME nor XDG_STATE_HOME is set; give --root DIR")?;
    Ok(state.join("capscache"))
}

fn default_root() -> Result<PathBuf> {
    if let Some(root) = path_variable("CAPSCACHE_ROOT") {
        return Ok(root);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(owner::SYSTEM_ROOT));
    }
    let root = user_caches()
        .context("cannot choose a root: neither HOME nor XDG_CACHE_HOME is set; give --root DIR")?;
    Ok(root.join("capscache"))
}
