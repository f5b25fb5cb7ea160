//! Where answers come from: a root on disk, or the service.

use std::path::{Path, PathBuf};

use anyhow::Result;
use capscache::Cache;

use crate::client::Client;
use crate::entries;
use crate::interface::{Entry, Status};

/// A root, or the service that keeps one.
#[derive(Debug)]
pub(crate) enum Source {
    Root(Cache),
    Service(Client, PathBuf),
}

impl Source {
    /// The directory of the cache.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Source::Root(cache) => cache.root(),
            Source::Service(_, root) => root,
        }
    }

    /// All entries, ordered by emulator.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        match self {
            Source::Root(cache) => Ok(cache.list()?.iter().map(entries::entry).collect()),
            Source::Service(client, _) => client.list(),
        }
    }

    /// Whether an entry is valid, and if not, why.
    pub(crate) fn status(&self, emulator: &Path, thorough: bool) -> Result<Status> {
        match self {
            Source::Root(cache) => Ok(entries::status(entries::look(cache, emulator, thorough))?),
            Source::Service(client, _) => client.status(emulator, thorough),
        }
    }

    /// Drops the entries of these emulators; those that had one.
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
            Source::Service(client, _) => client.invalidate(emulators),
        }
    }
}
