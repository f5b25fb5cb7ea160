//! A cache, and the calls that return entries.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::OnceLock;

use capscache::{Groups, Lookup};

use crate::boundary::{Fallback, call, free, read};
use crate::entry::Entry;
use crate::error::Error;
use crate::list::List;
use crate::numbers::{groups as set_of, validation as checks};
use crate::options::Options;
use crate::status::Status;
use crate::string::owned_path;
use crate::text::Text;

/// A cache under one root. Owned by the caller, who frees it with capscache_free().
///
/// Threads may use one cache at the same time; several threads that need one probe share it. Nothing outside the root is
/// written, and no thread runs between calls.
#[derive(Debug)]
pub struct Cache {
    cache: capscache::Cache,
    root: OnceLock<CString>,
}

impl Cache {
    fn new(cache: capscache::Cache) -> Option<Box<Cache>> {
        Some(Box::new(Cache { cache, root: OnceLock::new() }))
    }
}

/// Does the work of a call about an emulator.
fn about<T: Fallback>(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
    work: impl FnOnce(&capscache::Cache, &Path) -> Result<T, Error>,
) -> T {
    call(error, || {
        let cache = &cache.ok_or_else(|| Error::null("cache"))?.cache;
        work(cache, emulator.path("emulator")?)
    })
}

/// Opens the cache in a directory, which the first write creates; CAPSCACHE_SYSTEM_ROOT is that of the whole system.
/// NULL after an error: CAPSCACHE_CODE_ROOT for a root that is not a directory, CAPSCACHE_CODE_UNSAFE for one
/// that a user other than root and the user of this process could write or replace.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_open(
    root: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Cache>> {
    call(error, || Ok(Cache::new(capscache::Cache::open(root.path("root")?)?)))
}

/// Opens a cache with options, which stay the caller's. NULL after an error; see capscache_open().
#[unsafe(no_mangle)]
pub extern "C" fn capscache_open_with(
    options: Option<&Options>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Cache>> {
    call(error, || {
        let options = options.ok_or_else(|| Error::null("options"))?;
        Ok(Cache::new(options.open()?))
    })
}

/// The directory of the cache, absolute. Owned by the cache; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_root(cache: Option<&Cache>) -> *const c_char {
    read(cache, |cache| cache.root.get_or_init(|| owned_path(cache.cache.root())).as_ptr())
}

/// Frees a cache; does nothing for NULL. Entries that it returned stay valid.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_free(cache: Option<Box<Cache>>) {
    free(cache);
}

/// Returns the capabilities of an emulator: from the cache if it has a valid entry, else from one probe, for which the
/// call waits. A hit costs a few `stat`s.
///
/// `groups` is a set of enum capscache_group, which are probed if the entry lacks them. NULL after an error, never because
/// an entry cannot be written: see capscache_entry_persist_error(). A library that was built without probes returns
/// valid entries only.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_get(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    groups: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Entry>> {
    about(cache, emulator, error, |cache, emulator| {
        Ok(Entry::boxed(get(cache, emulator, set_of(groups)?)?))
    })
}

/// Returns the valid entry of an emulator, and never probes.
///
/// `validation` is one of enum capscache_validation. NULL with CAPSCACHE_CODE_NO_ENTRY if there is no valid entry;
/// capscache_status_of() has the state of the entry.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_lookup(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    validation: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Entry>> {
    about(cache, emulator, error, |cache, emulator| {
        match cache.lookup_with(emulator, checks(validation)?)? {
            Lookup::Hit(entry) => Ok(Entry::boxed(entry)),
            other => Err(Error::no_entry(emulator, &other.into())),
        }
    })
}

/// Returns the entry of an emulator without any check of what it depends on: its answers may be stale. For programs that
/// go on with old answers. NULL with CAPSCACHE_CODE_NO_ENTRY if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_get_unchecked(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Entry>> {
    about(cache, emulator, error, |cache, emulator| {
        let entry = cache.entry(emulator)?;
        let entry = entry.ok_or_else(|| Error::no_entry(emulator, &capscache::Status::Missing))?;
        Ok(Entry::boxed(entry))
    })
}

/// Checks the entry of an emulator thoroughly, drops what does not hold, also a failure that is remembered, and returns a
/// valid one: probed again if needed. NULL after an error, as of capscache_get().
#[unsafe(no_mangle)]
pub extern "C" fn capscache_refresh(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    groups: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Entry>> {
    about(cache, emulator, error, |cache, emulator| {
        Ok(Entry::boxed(refresh(cache, emulator, set_of(groups)?)?))
    })
}

/// Returns the state of the entry of an emulator after the checks `validation`, one of enum capscache_validation. Never
/// probes. A damaged entry is a state, not an error. NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_status_of(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    validation: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Status>> {
    about(cache, emulator, error, |cache, emulator| {
        let status = cache.status(emulator, checks(validation)?)?;
        Ok(Some(Box::new(Status::new(&status))))
    })
}

/// Checks all entries of the cache and returns them, ordered by the paths of their emulators. NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_list_of(
    cache: Option<&Cache>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<List>> {
    call(error, || {
        let cache = &cache.ok_or_else(|| Error::null("cache"))?.cache;
        Ok(Some(Box::new(List::new(cache.list()?))))
    })
}

/// Removes the entry of an emulator, and a failure that is remembered. Entries that were returned before stay readable.
/// Returns the number of entries that were removed, 0 or 1; -1 after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_invalidate(
    cache: Option<&Cache>,
    emulator: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> i64 {
    about(cache, emulator, error, |cache, emulator| Ok(i64::from(cache.invalidate(emulator)?)))
}

/// Removes all entries and all failures that are remembered. Returns the number of entries that were removed; -1 after an
/// error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_invalidate_all(
    cache: Option<&Cache>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> i64 {
    call(error, || {
        let cache = &cache.ok_or_else(|| Error::null("cache"))?.cache;
        Ok(i64::try_from(cache.invalidate_all()?).unwrap_or(i64::MAX))
    })
}

#[cfg(feature = "probe")]
fn get(
    cache: &capscache::Cache,
    emulator: &Path,
    groups: Groups,
) -> Result<capscache::Capabilities, Error> {
    Ok(cache.get_with(emulator, groups)?)
}

#[cfg(feature = "probe")]
fn refresh(
    cache: &capscache::Cache,
    emulator: &Path,
    groups: Groups,
) -> Result<capscache::Capabilities, Error> {
    Ok(cache.refresh(emulator, groups)?)
}

/// The same without a probe: an entry that lacks a group is returned, and answers from that group are *unknown*.
#[cfg(not(feature = "probe"))]
fn get(
    cache: &capscache::Cache,
    emulator: &Path,
    _: Groups,
) -> Result<capscache::Capabilities, Error> {
    match cache.lookup(emulator)? {
        Lookup::Hit(entry) => Ok(entry),
        other => Err(Error::no_entry(emulator, &other.into())),
    }
}

#[cfg(not(feature = "probe"))]
fn refresh(_: &capscache::Cache, _: &Path, _: Groups) -> Result<capscache::Capabilities, Error> {
    Err(Error::unsupported())
}
