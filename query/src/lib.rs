//! The language of `capscache query`: one line about what a QEMU can do, answered with yes, no or unknown.
//!
//! It has the kinds of [`capscache::Query`], which an entry answers alone, and two more: `flag:NAME`, a capability flag of a
//! release of libvirt, and `firmware:NAMES`, a firmware descriptor of this host. Command, service and bindings use it, so that
//! each understands the same lines.
//!
//! ```
//! use capscache_libvirt::Release;
//! use capscache_query::Query;
//!
//! let query: Query = "firmware:uefi,secure-boot".parse()?;
//! assert_eq!(query.to_string(), "firmware:uefi,secure-boot");
//! let query = Query::parse("flag:virtio-gpu", || Ok(Release::V11_3))?;
//! assert_eq!(query.to_string(), "flag:virtio-gpu");
//! assert!("colour:red".parse::<Query>().is_err());
//! # Ok::<(), capscache_query::QueryError>(())
//! ```
//!
//! In order of use: [`Query`] with its [`QueryError`], and [`groups_for`], which returns the groups that several queries need.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod error;
mod firmware;
mod query;

pub use error::{KINDS, QueryError};
pub use query::{Query, groups_for};
