#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod cache;
mod capabilities;
mod context;
mod error;
mod failure;
mod firmware;
#[cfg(feature = "probe")]
mod flight;
mod gc;
mod host;
mod identity;
mod input;
mod kvm;
#[cfg(feature = "probe")]
mod libraries;
mod map;
mod owner;
mod search;
mod shortage;
mod store;
mod upkeep;
mod wrapper;

pub use cache::{Cache, CacheOptions, Listed, Lookup};
pub use capabilities::Capabilities;
pub use error::Error;
pub use failure::Failure;
pub use firmware::{
    Firmware, FirmwareDescriptor, FirmwareError, FirmwareFile, FirmwareList, FirmwareMapping,
    FirmwareTarget, firmware_directories,
};
pub use gc::Collected;
pub use host::HostFacts;
pub use input::Stale;
pub use map::Bytes;
pub use owner::is_root_or_unmapped;
pub use search::{find_emulators, finds_emulator, search_directories};
pub use upkeep::{Dependency, is_hidden};

pub use capscache_format::layout::FORMAT_VERSION;
pub use capscache_format::{
    Accelerated, Accelerator, Array, CommandLineOption, CpuModel, Entry, Escaped, Expansion, Fact,
    FactKey, FactKind, Facts, FormatError, Group, Groups, Incomplete, Input, InputKind, InputRef,
    Machine, Model, ModelError, Object, Parameter, Properties, Property, QUERY_KINDS, Query,
    QueryError, Report, Schema, Scope, Signature, Tri, Type, Unanswered, Value, Version,
    VersionQuery,
};
#[cfg(feature = "probe")]
pub use capscache_probe::{
    Limits, MAX_TRANSCRIPT_BYTES, Options as ProbeOptions, ProbeError, Probed, TimedOut,
    TranscriptError, User, kvm_opens, probe, replay, replay_under,
};
