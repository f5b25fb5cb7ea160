//! A blocking client of the service.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capscache::{Capabilities, Escaped, Group, Groups, Status};
use zlink::tokio::unix::{Connection, connect};

use crate::interface::{self, Dropped, Entries, Entry, GetReply, Info, State};

/// Methods that the client calls; zlink implements them for its `Connection`.
#[zlink::proxy("io.capscache.Cache")]
trait Methods {
    async fn get_info(&mut self) -> zlink::Result<Result<Info, interface::Error>>;
    #[zlink(return_fds)]
    async fn get(
        &mut self,
        emulator: &str,
        no_probe: bool,
        groups: &[&str],
    ) -> zlink::Result<(Result<GetReply, interface::Error>, Vec<OwnedFd>)>;
    async fn list(&mut self) -> zlink::Result<Result<Entries, interface::Error>>;
    async fn status(
        &mut self,
        emulator: &str,
        thorough: bool,
    ) -> zlink::Result<Result<interface::Status, interface::Error>>;
    async fn invalidate(
        &mut self,
        emulators: &[&str],
    ) -> zlink::Result<Result<Dropped, interface::Error>>;
}

/// The reason why the service gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No service accepts a connection.
    #[error("cannot connect to {}", Escaped::new(socket))]
    Connect {
        /// The path of the socket.
        socket: PathBuf,
        /// The cause.
        #[source]
        source: zlink::Error,
    },
    /// The call could not be sent, or its reply not be received.
    #[error(transparent)]
    Transport(#[from] zlink::Error),
    /// The service replied with an error.
    #[error(transparent)]
    Refused(#[from] interface::Error),
    /// The service has no valid entry, and was not to probe.
    #[error("cannot use the service's entry: it is {}", state.name())]
    NotValid {
        /// State of the entry.
        state: State,
    },
    /// The service could not store the entry, which is in no file.
    #[error("cannot open the entry: the service stored none")]
    NotPersisted,
    /// The service passed no descriptor, and the file that it named cannot be opened.
    #[error("cannot open {}, for which the service passed no descriptor", Escaped::new(path))]
    NoDescriptor {
        /// The path of the entry.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The passed file is not an entry.
    #[error(transparent)]
    Entry(#[from] capscache::Error),
    /// A path is not UTF-8.
    #[error("cannot send the path {} to the service: it is not UTF-8", Escaped::new(path))]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// The working directory is unknown, or there is no descriptor for the call.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The time that the service has to describe itself.
const INFO_TIMEOUT: Duration = Duration::from_secs(5);

/// A service that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// The release of capscache.
    pub version: String,
    /// The root of the cache.
    pub root: PathBuf,
}

/// A client of the service at a socket. Each call makes a connection, so that threads can share a client.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Names the socket; connects to nothing yet.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the release of the service and the root of the cache that it serves. Its answer needs no file and no
    /// probe: a service that gives none within five seconds is an error.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls; [`ClientError::Io`] of the kind `TimedOut` without an answer.
    pub fn info(&self) -> Result<ServiceInfo, ClientError> {
        let info = self.call(async |service| {
            let answer = tokio::time::timeout(INFO_TIMEOUT, service.get_info()).await;
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the service does not answer");
            Ok(answer.map_err(late)???)
        })?;
        Ok(ServiceInfo { version: info.version, root: PathBuf::from(info.root) })
    }

    /// Returns the capabilities of an emulator with `groups`, mapped from the file that the service passes.
    /// Where it passes none, as too many are in flight, the file that it names is opened.
    ///
    /// # Errors
    /// [`ClientError::NotValid`] if `no_probe` is set and there is no valid entry.
    pub fn get(
        &self,
        emulator: &Path,
        groups: Groups,
        no_probe: bool,
    ) -> Result<Capabilities, ClientError> {
        let emulator = text(emulator)?;
        let names: Vec<_> = groups.iter().map(Group::name).collect();
        let get = async |service: &mut Connection| {
            let (got, files) = service.get(&emulator, no_probe, &names).await?;
            Ok((got?, files))
        };
        let (GetReply { state, entry, .. }, files) = self.call(get)?;
        if state != State::Valid {
            return Err(ClientError::NotValid { state });
        }
        let file = match files.into_iter().next() {
            Some(file) => File::from(file),
            None => {
                let path = PathBuf::from(entry.ok_or(ClientError::NotPersisted)?);
                File::open(&path).map_err(|source| ClientError::NoDescriptor { path, source })?
            }
        };
        Ok(Capabilities::in_file(&file)?)
    }

    /// Returns all entries, ordered by emulator.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn list(&self) -> Result<Vec<Entry>, ClientError> {
        Ok(self.call(async |service| Ok(service.list().await??))?.entries)
    }

    /// Returns the state of an emulator's entry, and the reason why it is not valid.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self, emulator: &Path, thorough: bool) -> Result<Status, ClientError> {
        let emulator = text(emulator)?;
        self.call(async |service| Ok(service.status(&emulator, thorough).await??.into()))
    }

    /// Drops the entries of emulators; returns the emulators that had one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn invalidate(&self, emulators: &[PathBuf]) -> Result<Vec<PathBuf>, ClientError> {
        let texts = emulators.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let dropped = self.call(async |service| Ok(service.invalidate(&texts).await??))?;
        Ok(dropped.dropped.into_iter().map(PathBuf::from).collect())
    }

    fn call<T>(
        &self,
        method: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = connect(&self.socket)
                .await
                .map_err(|source| ClientError::Connect { socket: self.socket.clone(), source })?;
            method(&mut connection).await
        })
    }
}

/// Returns a path as the interface spells it: absolute, in UTF-8.
fn text(emulator: &Path) -> Result<String, ClientError> {
    let path = std::path::absolute(emulator)?;
    path.into_os_string().into_string().map_err(|path| ClientError::NotUtf8 { path: path.into() })
}
