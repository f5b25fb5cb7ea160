//! Queries in text form.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use capscache_libvirt::Release;

use crate::boundary::{call, free, read};
use crate::entry::Entry;
use crate::error::Error;
use crate::numbers::{Tri, bits};
use crate::text::Text;

/// A parsed query, to be answered many times or by many entries. Owned by the caller, who frees it with
/// capscache_query_free().
///
/// It does not change: threads may use it at the same time.
#[derive(Debug)]
pub struct Query(capscache_query::Query);

/// Parses a query in the language of `capscache query`: `machine:q35`, `cpu:EPYC@kvm`, `device:virtio-blk-pci`,
/// `property:virtio-blk-pci.queue-size`, `schema:blockdev-add/arg-type/+file/aio/^io_uring`, `version:>=8.2`,
/// `flag:virtio-gpu`, `firmware:uefi,secure-boot`. NULL with CAPSCACHE_CODE_INVALID_QUERY for text that cannot be parsed.
///
/// `flag:NAME` is a capability flag of the libvirt of this host, or of the newest known one if none is installed;
/// capscache_query_parse_for_libvirt() is for those of another.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_query_parse(
    text: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Query>> {
    call(error, || Ok(Some(Box::new(Query(text.utf8("text")?.parse()?)))))
}

/// Parses a query as capscache_query_parse() does, with `flag:NAME` of a release of libvirt: `11.3`. NULL after an error:
/// CAPSCACHE_CODE_INVALID_ARGUMENT for a release that is not known, CAPSCACHE_CODE_INVALID_QUERY for text that cannot be
/// parsed, as for a flag that the release does not have.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_query_parse_for_libvirt(
    text: Text<'_>,
    release: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Query>> {
    call(error, || {
        let release = Release::parse(release.utf8("release")?);
        let release = release.map_err(|error| Error::invalid(&error.to_string()))?;
        let query = capscache_query::Query::parse(text.utf8("text")?, || Ok(release))?;
        Ok(Some(Box::new(Query(query))))
    })
}

/// Frees a query; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_query_free(query: Option<Box<Query>>) {
    free(query);
}

/// Answers a query from an entry; `firmware:` from the firmware descriptors of this host at present. *Unknown* may mean that a
/// group was not probed: see capscache_entry_groups_for(). *Unknown* for NULL, too.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_answer(entry: Option<&Entry>, query: Option<&Query>) -> Tri {
    let Some(query) = query else { return Tri::Unknown };
    read(entry, |entry| query.0.answer(&entry.caps).into())
}

/// Parses a query and answers it: see capscache_query_parse() and capscache_entry_answer(). *Unknown* after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_query(
    entry: Option<&Entry>,
    text: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Tri {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let query: capscache_query::Query = text.utf8("text")?.parse()?;
        Ok(query.answer(&entry.caps).into())
    })
}

/// The reason for the answer of a query, in one line. Owned by the entry, which keeps each line once; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_explain(
    entry: Option<&Entry>,
    query: Option<&Query>,
) -> *const c_char {
    let Some(query) = query else { return std::ptr::null() };
    read(entry, |entry| entry.reason(&query.0.explain(&entry.caps)))
}

/// The groups without which the answer of a query is unknown for now: a set of enum capscache_group. With them
/// capscache_get() returns an entry that knows more. 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_groups_for(entry: Option<&Entry>, query: Option<&Query>) -> u32 {
    let Some(query) = query else { return 0 };
    read(entry, |entry| bits(query.0.groups(&entry.caps)))
}
