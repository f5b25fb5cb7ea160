//! The description of a run, and its preparation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use capscache_devaddr::Policy;
use capscache_domain::{DeviceKind, GraphicsType, Guest};
use capscache_format::Entry;

use super::actions::Actions;
use super::block_on::block_on;
use super::detached::Detached;
use super::error::StartError;
use super::prepared::{Deadlines, Prepared};
use super::runner;
use super::running::Running;
use super::setup;
use super::timing::Timing;
use crate::command::{command_of, complete};
use crate::host::Host;
use crate::identity;
use crate::root::{Ports, Root, RootError};
use crate::scope::Scope;
use crate::secret::store::{MasterKey, SecretStore, Sources};
use crate::user::User;

/// The description of a run: a guest, a root, and options.
#[derive(Clone)]
pub struct Run {
    guest: Guest,
    root: Root,
    policy: Policy,
    user: Option<User>,
    scope: Scope,
    environment: Vec<(String, String)>,
    secrets: Sources,
    deadlines: Deadlines,
    emulator: PathBuf,
}

impl std::fmt::Debug for Run {
    /// Without the guest, which may contain passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.guest.name;
        f.debug_struct("Run").field("name", name).field("root", &self.root).finish_non_exhaustive()
    }
}

impl Run {
    /// Describes a run of a guest in a root.
    pub fn new(guest: Guest, root: Root) -> Run {
        Run {
            secrets: Sources::new(&root),
            guest,
            root,
            policy: Policy::default(),
            user: None,
            scope: Scope::default(),
            environment: Vec::new(),
            deadlines: Deadlines::default(),
            emulator: PathBuf::new(),
        }
    }

    /// Sets the policy of addresses.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Run {
        self.policy = policy;
        self
    }

    /// Sets the emulator of a guest that names none.
    #[must_use]
    pub fn emulator(mut self, emulator: impl Into<PathBuf>) -> Run {
        self.emulator = emulator.into();
        self
    }

    /// Sets the user that the emulator runs as; the caller's by default.
    #[must_use]
    pub fn user(mut self, user: Option<User>) -> Run {
        self.user = user;
        self
    }

    /// Sets the use of a scope of systemd; [`Scope::Auto`] by default.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Run {
        self.scope = scope;
        self
    }

    /// Sets the environment of the emulator beside a locale, its directories and its user's name; `PATH` of this
    /// process by default.
    #[must_use]
    pub fn environment(mut self, environment: Vec<(String, String)>) -> Run {
        self.environment = environment;
        self
    }

    /// Sets where secrets come from; the root's directory of secrets by default.
    #[must_use]
    pub fn secrets(mut self, secrets: Sources) -> Run {
        self.secrets = secrets;
        self
    }

    /// Sets the deadlines.
    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Run {
        self.deadlines = deadlines;
        self
    }

    /// Completes the guest and builds its command line. Reads secrets, and writes nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn prepare<B: AsRef<[u8]>>(self, entry: &Entry<B>) -> Result<Prepared, StartError> {
        let started = Instant::now();
        let Run { mut guest, root, policy, user, scope, environment, secrets, deadlines, emulator } =
            self;
        let name = guest.name.clone().ok_or(StartError::NoName)?;
        let random = |error| StartError::Random(Arc::new(error));
        identity::complete(&mut guest).map_err(random)?;
        let actions = Actions::of(&guest)?;
        let completed = complete(&guest, entry, &policy)?;
        let mut host = root.host(&name, environment, user.as_ref())?;
        host.emulator = emulator;
        let mut ports = Ports::default();
        choose_ports(&completed.guest, &mut host, &mut ports)?;
        let key = MasterKey::random().map_err(random)?;
        let store = SecretStore::new(&secrets, &key);
        let command = command_of(&completed, entry, &host, &store)?;
        let mut timing = Timing::default();
        timing.push("command line", started.elapsed());
        let prepared = Prepared {
            guest: completed.guest,
            command,
            root,
            name,
            user,
            scope,
            key,
            actions,
            deadlines,
            ports,
            timing,
        };
        // What cannot be applied is refused here, and not at the start only.
        setup::plan(&prepared, false)?;
        Ok(prepared)
    }
}

impl Prepared {
    /// Starts the guest and blocks until it runs.
    ///
    /// Works inside an async runtime too, but blocks its thread.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self) -> Result<Running, StartError> {
        block_on(self.start_async())
    }

    /// Starts the guest and returns when it runs, on any executor. Dropping the future kills the emulator.
    ///
    /// # Errors
    /// See [`Prepared::start`].
    pub async fn start_async(self) -> Result<Running, StartError> {
        self.start_unless_async(std::future::pending()).await
    }

    /// Starts the guest and returns when it runs, on any executor. If `given_up` is ready before, it is not started, and
    /// returns when the emulator has ended and its files are removed.
    ///
    /// # Errors
    /// See [`Prepared::start`]; [`StartError::Abandoned`] if it was given up.
    pub async fn start_unless_async(
        self,
        given_up: impl Future<Output = ()>,
    ) -> Result<Running, StartError> {
        runner::start(self, given_up).await
    }

    /// Starts the guest and blocks until it runs. It outlives this process, and nothing watches it: the emulator ends
    /// by itself when the guest shuts down.
    ///
    /// # Errors
    /// See [`Prepared::start`]; also [`StartError::Guest`] for actions that need a runner.
    pub fn start_detached(self) -> Result<Detached, StartError> {
        block_on(self.start_detached_async())
    }

    /// Does the same as [`Prepared::start_detached`] without blocking the thread, on any executor. Dropping the future
    /// kills the emulator.
    ///
    /// # Errors
    /// See [`Prepared::start_detached`].
    pub async fn start_detached_async(self) -> Result<Detached, StartError> {
        self.start_detached_unless_async(std::future::pending()).await
    }

    /// Does the same as [`Prepared::start_detached_async`]. If `given_up` is ready before the guest runs, it is not
    /// started, and returns when the emulator has ended and its files are removed.
    ///
    /// # Errors
    /// See [`Prepared::start_detached`]; [`StartError::Abandoned`] if it was given up.
    pub async fn start_detached_unless_async(
        self,
        given_up: impl Future<Output = ()>,
    ) -> Result<Detached, StartError> {
        self.actions.check_detached(&self.guest)?;
        runner::start_detached(self, given_up).await
    }
}

/// Sets the ports of consoles that leave them open.
fn choose_ports(guest: &Guest, host: &mut Host, ports: &mut Ports) -> Result<(), RootError> {
    for device in &guest.devices {
        let DeviceKind::Graphics(graphics) = &device.device else { continue };
        let element = device.element();
        let is_open = element.attribute("autoport") == Some("yes");
        let is_named = |name| {
            !is_open && element.attribute(name).is_some_and(|port| !matches!(port, "-1" | "0"))
        };
        match graphics.r#type {
            GraphicsType::Vnc => {
                if !is_named("port") {
                    host.vnc.port = ports.reserve()?;
                }
                if element.attribute("websocket") == Some("-1") {
                    host.vnc.websocket = Some(ports.reserve_websocket()?);
                }
            }
            GraphicsType::Spice => {
                if !is_named("port") {
                    host.spice.port = ports.reserve()?;
                }
                if host.spice.tls_dir.is_some() && !is_named("tlsPort") {
                    host.spice.tls_port = ports.reserve()?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
