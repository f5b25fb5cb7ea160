//! The service, asked by the command.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use capscache::{Capabilities, Escaped, Group, Groups};
use zlink::tokio::unix::{Connection, connect};

use crate::args::Probing;
use crate::interface::{self, Dropped, Entries, Entry, Error, Got, Info, State, Status};

/// The methods that the command calls. (zlink makes the calls from it.)
#[zlink::proxy("io.capscache.Cache")]
trait Methods {
    async fn get_info(&mut self) -> zlink::Result<Result<Info, Error>>;
    #[zlink(return_fds)]
    async fn get(
        &mut self,
        emulator: &str,
        no_probe: bool,
        groups: &[&str],
    ) -> zlink::Result<(Result<Got, Error>, Vec<OwnedFd>)>;
    async fn list(&mut self) -> zlink::Result<Result<Entries, Error>>;
    async fn status(
        &mut self,
        emulator: &str,
        thorough: bool,
    ) -> zlink::Result<Result<Status, Error>>;
    async fn invalidate(&mut self, emulators: &[&str]) -> zlink::Result<Result<Dropped, Error>>;
}

/// The way to the service: a connection for each call, so that several threads can ask.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The service at `CAPSCACHE_SOCKET`, else where it usually is.
    pub(crate) fn new() -> Client {
        let socket = std::env::var_os("CAPSCACHE_SOCKET").filter(|socket| !socket.is_empty());
        Client { socket: socket.map_or_else(|| interface::SOCKET.into(), PathBuf::from) }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The root of the cache that the service keeps.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let info = self.call(async |service| Ok(service.get_info().await??))?;
        Ok(PathBuf::from(info.root))
    }

    /// What an emulator can do, with `groups`, mapped from the file that the service passes. Where it
    /// passes none, as too many are under way, from the file that it names.
    pub(crate) fn get(
        &self,
        emulator: &Path,
        groups: Groups,
        probing: Probing,
    ) -> Result<Capabilities> {
        let emulator = text(emulator)?;
        let names: Vec<_> = groups.iter().map(Group::name).collect();
        let get = async |service: &mut Connection| {
            let (got, files) = service.get(&emulator, probing.no_probe, &names).await?;
            Ok((got?, files))
        };
        let (got, files) = self.call(get)?;
        if got.state != State::Valid {
            let state = got.state.name();
            bail!(
                "{emulator}: the service's entry is {state}; leave out --no-probe to have it asked"
            );
        }
        let file = match files.into_iter().next() {
            Some(file) => File::from(file),
            None => {
                let kept = got.entry.context("the service could not keep the answers")?;
                File::open(&kept)
                    .with_context(|| format!("the service passed no file, only {kept}"))?
            }
        };
        Ok(Capabilities::in_file(&file)?)
    }

    pub(crate) fn list(&self) -> Result<Vec<Entry>> {
        Ok(self.call(async |service| Ok(service.list().await??))?.entries)
    }

    pub(crate) fn status(&self, emulator: &Path, thorough: bool) -> Result<Status> {
        let emulator = text(emulator)?;
        self.call(async |service| Ok(service.status(&emulator, thorough).await??))
    }

    pub(crate) fn invalidate(&self, emulators: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let texts = emulators.iter().map(|path| text(path)).collect::<Result<Vec<_>>>()?;
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let dropped = self.call(async |service| Ok(service.invalidate(&texts).await??))?;
        Ok(dropped.dropped.into_iter().map(PathBuf::from).collect())
    }

    fn call<T>(&self, method: impl AsyncFnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let mut connection = connect(&self.socket)
                .await
                .with_context(|| format!("cannot connect to {}", Escaped::new(&self.socket)))?;
            method(&mut connection).await
        })
    }
}

/// A path as the service knows it.
fn text(emulator: &Path) -> Result<String> {
    let absolute = std::path::absolute(emulator)?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| anyhow!("{}: the service takes only UTF-8", Escaped::new(&absolute)))
}
