//! One-line questions to an entry, as the command and the service take them.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;
use std::str::FromStr;

use crate::entry::Entry;
use crate::kind::{Accelerator, Groups};
use crate::tri::{Tri, Unanswered};

/// A question that has a yes, a no, or an unknown.
///
/// ```
/// use capscache_format::Query;
/// let query: Query = "property:virtio-blk-pci.queue-size".parse()?;
/// assert_eq!(query.to_string(), "property:virtio-blk-pci.queue-size");
/// assert!("colour:red".parse::<Query>().is_err());
/// # Ok::<(), capscache_format::QueryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Query {
    /// `machine:q35`: a machine type of that name or alias, under the best accelerator.
    Machine(String),
    /// `cpu:EPYC@kvm`: whether the CPU model runs here under the accelerator; without `@`, under
    /// the best one.
    Cpu(String, Option<Accelerator>),
    /// `cpu-model:EPYC`: whether QEMU knows the CPU model.
    CpuModel(String),
    /// `device:virtio-blk-pci`: a device that can be made.
    Device(String),
    /// `property:virtio-blk-pci.queue-size`: a property of a device or object.
    Property(String),
    /// `type:virtio-gpu-gl-device`: a QOM type, abstract or not.
    Type(String),
    /// `command:blockdev-add`: a QMP command.
    Command(String),
    /// `event:SHUTDOWN`: a QMP event.
    Event(String),
    /// `option:spice`: a group of command-line options.
    Option(String),
    /// `schema:blockdev-add/arg-type/+file/aio/^io_uring`: see [`Schema::has`](crate::Schema::has).
    Schema(String),
}

/// A question that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no `KIND:` in front, or nothing behind it.
    #[error("{0:?} is no query: write KIND:NAME, where KIND is one of {QUERY_KINDS}")]
    Shape(String),
    /// The kind is unknown.
    #[error("unknown kind of query {kind:?}; known are {QUERY_KINDS}")]
    UnknownKind {
        /// What stood before the colon.
        kind: String,
    },
    /// `cpu:NAME@ACCELERATOR` with an unknown accelerator.
    #[error("unknown accelerator {0:?}; known are kvm, hvf, tcg, qtest")]
    UnknownAccelerator(String),
    /// `property:` without a dot.
    #[error("{0:?} names no property: write property:TYPE.PROPERTY")]
    NoProperty(String),
}

/// The kinds of query, for messages.
pub const QUERY_KINDS: &str =
    "machine, cpu, cpu-model, device, property, type, command, event, option, schema";

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Query, QueryError> {
        let shape = || QueryError::Shape(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(shape)?;
        if name.is_empty() {
            return Err(shape());
        }
        let owned = name.to_owned();
        Ok(match kind {
            "machine" => Query::Machine(owned),
            "cpu" => match name.rsplit_once('@') {
                None => Query::Cpu(owned, None),
                Some((model, accelerator)) => {
                    let known = Accelerator::from_name(accelerator)
                        .ok_or_else(|| QueryError::UnknownAccelerator(accelerator.to_owned()))?;
                    Query::Cpu(model.to_owned(), Some(known))
                }
            },
            "cpu-model" => Query::CpuModel(owned),
            "device" => Query::Device(owned),
            "property" if name.contains('.') => Query::Property(owned),
            "property" => return Err(QueryError::NoProperty(owned)),
            "type" => Query::Type(owned),
            "command" => Query::Command(owned),
            "event" => Query::Event(owned),
            "option" => Query::Option(owned),
            "schema" => Query::Schema(owned),
            _ => return Err(QueryError::UnknownKind { kind: kind.to_owned() }),
        })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Machine(name) => write!(f, "machine:{name}"),
            Query::Cpu(name, None) => write!(f, "cpu:{name}"),
            Query::Cpu(name, Some(accelerator)) => write!(f, "cpu:{name}@{accelerator}"),
            Query::CpuModel(name) => write!(f, "cpu-model:{name}"),
            Query::Device(name) => write!(f, "device:{name}"),
            Query::Property(name) => write!(f, "property:{name}"),
            Query::Type(name) => write!(f, "type:{name}"),
            Query::Command(name) => write!(f, "command:{name}"),
            Query::Event(name) => write!(f, "event:{name}"),
            Query::Option(name) => write!(f, "option:{name}"),
            Query::Schema(path) => write!(f, "schema:{path}"),
        }
    }
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Answers a question from what was probed.
    ///
    /// *Unknown* may mean that a group was not filled: see [`Entry::groups_for`].
    pub fn answer(&self, query: &Query) -> Tri {
        match query {
            Query::Machine(name) => Tri::from(&self.best().and_then(|best| best.machine(name))),
            Query::Cpu(name, accelerator) => self.cpu_usable(name, *accelerator),
            Query::CpuModel(name) => self.cpu_known(name),
            Query::Device(name) => self.has_device(name),
            Query::Property(name) => self.property(name).0,
            Query::Type(name) => Tri::from(&self.qom_type(name)),
            Query::Command(name) => self.has_command(name),
            Query::Event(name) => self.has_event(name),
            Query::Option(name) => Tri::from(&self.command_line_option(name)),
            Query::Schema(path) => self.schema().has(path),
        }
    }

    /// The groups without which the answer is unknown for now.
    pub fn groups_for(&self, query: &Query) -> Groups {
        match query {
            Query::Property(name) => self.property(name).1,
            _ => Groups::CORE,
        }
    }

    fn cpu_usable(&self, name: &str, accelerator: Option<Accelerator>) -> Tri {
        let accelerated = match accelerator {
            Some(accelerator) => self.accelerator(accelerator),
            None => self.best(),
        };
        match accelerated.and_then(|answers| answers.cpu_model(name)) {
            Ok(model) => model.usable(),
            missing => Tri::from(&missing),
        }
    }

    /// Known under any accelerator; unknown only if none knows it and one did not say.
    fn cpu_known(&self, name: &str) -> Tri {
        let mut known = Tri::No;
        for accelerator in self.accelerators() {
            let model = self.accelerator(accelerator).and_then(|answers| answers.cpu_model(name));
            match Tri::from(&model) {
                Tri::Yes => return Tri::Yes,
                Tri::Unknown => known = Tri::Unknown,
                Tri::No => {}
            }
        }
        known
    }

    /// Type names hold dots as well (`pc-q35-7.2-machine`), so each dot may be the one.
    fn property(&self, name: &str) -> (Tri, Groups) {
        let mut answer = (Tri::No, Groups::CORE);
        for (dot, _) in name.match_indices('.') {
            let (owner, dotted) = name.split_at(dot);
            let property = dotted.get(1..).unwrap_or_default();
            if Tri::from(&self.qom_type(owner)).is_no() {
                continue;
            }
            let device = self.has_device(owner);
            let list = if device.is_no() { self.object(owner) } else { self.device(owner) };
            match list.and_then(|list| list.property(property)) {
                Ok(_) => return (Tri::Yes, Groups::CORE),
                Err(Unanswered::Absent { .. }) => {}
                Err(Unanswered::NotProbed { group, .. }) => {
                    answer = (Tri::Unknown, answer.1 | Groups::from(group));
                }
                Err(_) => answer.0 = Tri::Unknown,
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_query_is_written_as_it_was_read() {
        for text in [
            "machine:q35",
            "cpu:EPYC",
            "cpu:EPYC@kvm",
            "cpu-model:EPYC",
            "device:virtio-blk-pci",
            "property:pc-q35-7.2-machine.smm",
            "type:virtio-gpu-gl-device",
            "command:blockdev-add",
            "event:SHUTDOWN",
            "option:spice",
            "schema:blockdev-add/arg-type/+file/aio/^io_uring",
        ] {
            assert_eq!(text.parse::<Query>().map(|query| query.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_group_that_cannot_be_parsed_says_why() {
        let error = |text: &str| text.parse::<Query>().unwrap_err();
        assert_eq!(error("q35"), QueryError::Shape("q35".into()));
        assert_eq!(error("machine:"), QueryError::Shape("machine:".into()));
        assert_eq!(error("colour:red"), QueryError::UnknownKind { kind: "colour".into() });
        assert_eq!(error("cpu:EPYC@xyz"), QueryError::UnknownAccelerator("xyz".into()));
        assert_eq!(error("property:virtio"), QueryError::NoProperty("virtio".into()));
    }
}
