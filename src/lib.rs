#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![cfg_attr(
    not(feature = "probe"),
    allow(dead_code, unused_imports, reason = "only `refresh` records inputs and writes entries")
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod builder;
mod cache;
mod capabilities;
pub mod discovery;
mod entries;
mod error;
mod file;
pub mod firmware;
mod inputs;
mod lookup;
#[cfg(feature = "probe")]
mod refresh;
mod status;
mod store;
pub mod trust;

pub use builder::CacheBuilder;
pub use cache::Cache;
pub use capabilities::Capabilities;
pub use error::{Error, chain};
pub use inputs::HostFacts;
pub use lookup::{ListedEntry, Lookup, Validation};
pub use status::{Dependency, Failure, GarbageReport, Stale, Status};
pub use store::Bytes;

pub use capscache_format as format;
#[cfg(feature = "probe")]
pub use capscache_probe as probe;
#[cfg(feature = "probe")]
pub use refresh::{Revalidated, queue};

pub use capscache_format::{Accelerator, Entry, Escaped, FailureCause, Group, Groups, Query, Tri};

#[cfg(test)]
mod tests {
    #[test]
    fn threads_can_share_a_cache_and_all_that_it_returns() {
        fn is_shareable<T: Send + Sync + Clone>() {}
        is_shareable::<crate::Cache>();
        is_shareable::<crate::CacheBuilder>();
        is_shareable::<crate::Capabilities>();
        is_shareable::<crate::Error>();
        is_shareable::<crate::HostFacts>();
    }
}
