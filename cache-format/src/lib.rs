//! The capability model of a QEMU emulator, and the file that holds it, read in place.
//!
//! A [`Model`] is filled with an emulator's replies, [encoded](Model::encode), and from then on read
//! through an [`Entry`] over the bytes of its file: nothing is decoded, nothing is copied, and
//! opening costs the same for ten kilobytes and ten megabytes.
//!
//! ```
//! use capscache_format::{Accelerator, Entry, Fact, FactKey, FactKind, Group, Handle, Model};
//!
//! let mut model = Model::default();
//! let reply = r#"[{"name":"pc-q35-7.2","alias":"q35","cpu-max":288,"a-new-key":1.5}]"#;
//! let machines = model.pool.intern(&mut serde_json::Deserializer::from_str(reply))?;
//! let key = |kind| FactKey { group: Group::Core, accelerator: Accelerator::Tcg, kind };
//! model.set(key(FactKind::Machines), Fact::Answered(machines));
//! model.set(key(FactKind::Ran), Fact::Answered(Handle::bool(true)));
//!
//! let entry = Entry::open(model.encode()?)?;
//! let machine = entry.accelerator(Accelerator::Tcg)?.machine("pc-q35-7.2")?;
//! assert_eq!(machine.max_cpus(), Some(288));
//! assert_eq!(serde_json::to_string(&[machine.raw()])?, reply);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The types in order of use: [`Model`] and its [`Pool`]; [`Entry`] with [`Facts`],
//! [`Accelerated`], [`Machine`], [`CpuModel`], [`Properties`], [`Schema`]; [`Value`] for data
//! without a getter of its own; [`Query`] for queries in text form. An [`Entry`] serializes as the
//! JSON that `export` prints.
//!
//! The file is specified in `docs/format.md`. No byte pattern makes a reader panic, loop, read
//! outside the file or allocate out of proportion to its size; [`Entry::verify`] finds the damage
//! that [`Entry::open`] does not.

#![forbid(unsafe_code)]

mod accelerated;
mod decode;
mod encode;
mod entry;
mod error;
mod escaped;
mod evidence;
mod explain;
mod facts;
mod failure;
mod fields;
mod getters;
mod header;
mod hex;
mod input;
mod interner;
mod json;
mod kind;
#[doc(hidden)]
pub mod layout;
mod model;
mod names;
mod pool;
mod query;
mod report;
mod schema;
mod serialize;
mod store;
mod tri;
mod value;
mod views;

pub use accelerated::{Accelerated, Expansion};
pub use entry::Entry;
pub use error::{FormatError, ModelError};
pub use escaped::Escaped;
pub use evidence::{Cpu, DeviceNode, Evidence, Incomplete, Kernel, KvmState, Memfd, Variable};
pub use facts::Facts;
pub use failure::FailureRecord;
pub use hex::hex;
pub use input::{Input, InputRef, Signature};
pub use kind::{Accelerator, FactKind, FailureCause, Group, Groups, InputKind, Scope};
pub use layout::FORMAT_VERSION;
pub use model::{Fact, FactKey, Model};
pub use names::NameList;
pub use pool::{Handle, Keys, MAX_DISTINCT, Node, Pool};
pub use query::{QUERY_KINDS, Query, QueryError, VersionQuery};
pub use report::{CommandReport, PassReport, Quarantine, Refusal, Report, Source};
pub use schema::Schema;
pub use tri::{Tri, Unanswered};
pub use value::{Array, Object, Value};
pub use views::{
    CommandLineOption, CpuModel, Machine, Parameter, Properties, Property, Type, Version,
};
