//! Source of answers: a root on disk, or the service.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use capscache::{Cache, Capabilities, Escaped, Groups, Status, Validation};
use capscache_service::client::{Client, ClientError};

use crate::entries::Entry;

/// A root, or the service that serves one.
#[derive(Debug)]
pub(crate) enum Source {
    Root(Cache),
    Service(Client, PathBuf),
}

impl Source {
    /// Returns the directory of the cache.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Source::Root(cache) => cache.root(),
            Source::Service(_, root) => root,
        }
    }

    /// Returns all entries, ordered by emulator.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        match self {
            Source::Root(cache) => Ok(cache.list()?.into_iter().map(Entry::from).collect()),
            Source::Service(client, _) => Ok(client.list()?.into_iter().map(Entry::from).collect()),
        }
    }

    /// Returns the state of an entry.
    pub(crate) fn status(&self, emulator: &Path, thorough: bool) -> Result<Status> {
        match self {
            Source::Root(cache) => {
                let validation = if thorough { Validation::Start } else { Validation::Fast };
                Ok(cache.status(emulator, validation)?)
            }
            Source::Service(client, _) => Ok(client.status(emulator, thorough)?),
        }
    }

    /// Drops the entries of these emulators; returns those that had one.
    pub(crate) fn invalidate(&self, emulators: &[PathBuf]) -> Result<Vec<PathBuf>> {
        match self {
            Source::Root(cache) => {
                let mut dropped = Vec::new();
                for emulator in emulators {
                    if cache.invalidate(emulator)? {
                        dropped.push(emulator.clone());
                    }
                }
                Ok(dropped)
            }
            Source::Service(client, _) => Ok(client.invalidate(emulators)?),
        }
    }
}

/// Gets the capabilities of an emulator from the service.
pub(crate) fn get_from_service(
    client: &Client,
    emulator: &Path,
    groups: Groups,
    no_probe: bool,
) -> Result<Capabilities> {
    client.get(emulator, groups, no_probe).map_err(|error| match error {
        ClientError::NotValid { .. } => {
            anyhow!(
                "cannot answer for {} from the cache: {error}; leave out --no-probe",
                Escaped::new(emulator)
            )
        }
        error => error.into(),
    })
}
