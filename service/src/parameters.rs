//! Validation of the parameters of calls.

use std::path::{Component, Path, PathBuf};

use capscache::{Group, Groups};
use capscache_libvirt::{Release, UnknownRelease};
use capscache_query::{Query, QueryError};

use crate::interface::Error;
use crate::refusal::Refusal;

/// Emulators of one call, at most: more than any host has.
const MAX_EMULATORS: usize = 1024;

/// `PATH_MAX`, with the NUL.
const MAX_PATH_BYTES: usize = 4096;

/// Parses a query. `release` is that of libvirt for flags.
pub(crate) fn query(
    text: &str,
    release: impl FnOnce() -> Result<Release, UnknownRelease>,
) -> Result<Query, Error> {
    Query::parse(text, release).map_err(|why: QueryError| Error::BadQuery {
        query: prefix(text, Query::MAX_BYTES),
        reason: why.to_string(),
    })
}

/// Normalises the path of an emulator: without `.` and repeated slashes. A relative path is refused, since
/// the working directory is not the caller's; `..` is refused, since it leads elsewhere behind a link.
pub(crate) fn path(emulator: String) -> Result<PathBuf, Error> {
    let path = Path::new(&emulator);
    let reason = if emulator.len() >= MAX_PATH_BYTES {
        format!("it has {} bytes, {} at most", emulator.len(), MAX_PATH_BYTES - 1)
    } else if !path.is_absolute() {
        "it is relative; name it by its absolute path".to_owned()
    } else if path.components().any(|part| part == Component::ParentDir) {
        "it has '..' in it; name it by the path without".to_owned()
    } else {
        return Ok(path.components().collect());
    };
    Err(Error::BadPath { emulator: prefix(&emulator, MAX_PATH_BYTES), reason })
}

/// Returns the first bytes of a text, cut at a character: a reply does not repeat a longer one.
fn prefix(text: &str, bytes: usize) -> String {
    let bytes = text.len().min(bytes);
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// Normalises the paths of several emulators.
pub(crate) fn paths(emulators: Vec<String>) -> Result<Vec<PathBuf>, Refusal> {
    if emulators.len() > MAX_EMULATORS {
        return Err(Refusal::invalid_parameter("emulators"));
    }
    Ok(emulators.into_iter().map(path).collect::<Result<_, _>>()?)
}

/// Parses the names of groups.
pub(crate) fn groups(names: &[String]) -> Result<Groups, Error> {
    let mut groups = Groups::CORE;
    for name in names {
        match Group::ALL.iter().find(|group| group.name() == name) {
            Some(group) => groups = groups | Groups::from(*group),
            None => {
                let known = Group::ALL.iter().map(|group| group.name().to_owned()).collect();
                return Err(Error::UnknownGroup { group: name.clone(), known });
            }
        }
    }
    Ok(groups)
}
