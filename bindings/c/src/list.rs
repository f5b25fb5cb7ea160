//! All entries of a cache.

use std::ffi::{CString, c_char};

use capscache::ListedEntry;

use crate::boundary::{free, read, read_ref};
use crate::entry::Entry;
use crate::status::Status;
use crate::string::{address, owned_path};

/// The entries of a cache, valid or not, ordered by the paths of their emulators. Owned by the caller, who frees it with
/// capscache_list_free().
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct List(Vec<Item>);

#[derive(Debug)]
struct Item {
    /// `None` for a damaged entry.
    emulator: Option<CString>,
    status: Status,
    entry: Option<Entry>,
}

impl List {
    pub(crate) fn new(entries: Vec<Result<ListedEntry, capscache::Error>>) -> List {
        let item = |entry: Result<ListedEntry, capscache::Error>| match entry {
            Ok(listed) => Item {
                emulator: Some(owned_path(&listed.capabilities.emulator())),
                status: Status::new(&listed.status()),
                entry: Some(Entry::new(listed.capabilities)),
            },
            Err(error) => {
                Item { emulator: None, status: Status::new(&error.status()), entry: None }
            }
        };
        List(entries.into_iter().map(item).collect())
    }
}

/// The number of entries; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_list_length(list: Option<&List>) -> usize {
    read(list, |list| list.0.len())
}

/// The path of the emulator at a position; NULL for a damaged entry, and beyond the end. Owned by the list.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_list_emulator(list: Option<&List>, position: usize) -> *const c_char {
    read(list, |list| address(list.0.get(position).and_then(|item| item.emulator.as_ref())))
}

/// The state of the entry at a position; NULL beyond the end. Owned by the list.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_list_status(list: Option<&List>, position: usize) -> Option<&Status> {
    read_ref(list, |list| Some(&list.0.get(position)?.status))
}

/// The entry at a position, valid or stale; NULL for a damaged one, and beyond the end. Owned by the list.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_list_entry(list: Option<&List>, position: usize) -> Option<&Entry> {
    read_ref(list, |list| list.0.get(position)?.entry.as_ref())
}

/// Frees a list and the entries in it; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_list_free(list: Option<Box<List>>) {
    free(list);
}
