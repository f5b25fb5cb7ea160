//! One-line queries of an entry, in the syntax of the command and the service.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;
use std::str::FromStr;

use crate::entry::Entry;
use crate::kind::{Accelerator, FactKind, Groups};
use crate::tri::{Tri, Unanswered};
use crate::value::{Array, Value};
use crate::views::Version;

/// A query with the result yes, no, or unknown.
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
    /// `machine-deprecated:pc-i440fx-1.4`: whether QEMU marks the machine type of that name or alias
    /// as deprecated; *no* for one that it does not have.
    MachineDeprecated(String),
    /// `cpu:EPYC@kvm`: whether the CPU model runs on this host under the accelerator; without `@`,
    /// under the best one that the emulator ran under. If it should have run under a better one and
    /// failed, a *no* of the others is *unknown*.
    Cpu(String, Option<Accelerator>),
    /// `cpu-model:EPYC`: whether QEMU has the CPU model.
    CpuModel(String),
    /// `device:virtio-blk-pci`: a device that can be created.
    Device(String),
    /// `property:virtio-blk-pci.queue-size`: a property of a device or object. Any of the first 16 dots
    /// may be the one that ends the type's name.
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
    /// `version:>=8.2`: a comparison with the version of QEMU.
    Version(VersionQuery),
    /// `gic:3`: an ARM guest can have an interrupt controller of this version
    /// (`query-gic-capabilities`), emulated or in the kernel, under any accelerator.
    Gic(u64),
}

/// A comparison with the given parts of QEMU's version: `8.2.1` is neither `>8.2` nor `<8.2`, but
/// `8.2`.
///
/// ```
/// use capscache_format::{Version, VersionQuery};
/// let query: VersionQuery = ">=8.2".parse()?;
/// assert!(query.matches(Version { major: 8, minor: 2, micro: 0 }));
/// assert!(!query.matches(Version { major: 7, minor: 2, micro: 22 }));
/// # Ok::<(), capscache_format::QueryError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionQuery {
    comparison: &'static str,
    /// One to three numbers.
    parts: Vec<u64>,
}

/// The number of dots in a property that may end the name of its type: more than any type's name has.
/// Each one costs a search.
const MAX_DOTS: usize = 16;

/// More versions than there are of the GIC.
const MAX_GICS: usize = 16;

/// The comparison operators before a version, the longest first; an empty one means equality.
const COMPARISONS: [&str; 6] = [">=", "<=", "=", "<", ">", ""];

impl VersionQuery {
    /// Returns true if `version` satisfies the comparison.
    pub fn matches(&self, version: Version) -> bool {
        let Version { major, minor, micro } = version;
        let given = [major, minor, micro].into_iter().take(self.parts.len());
        let order = given.cmp(self.parts.iter().copied());
        match self.comparison {
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            _ => order.is_eq(),
        }
    }
}

impl FromStr for VersionQuery {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<VersionQuery, QueryError> {
        let found = COMPARISONS.iter().find_map(|one| Some((*one, text.strip_prefix(one)?)));
        let (comparison, version) = found.unwrap_or(("", text));
        // Digits only: the standard library also accepts a sign.
        let number =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok());
        let parts: Option<Vec<u64>> =
            version.split('.').take(4).map(|part| number(part)?).collect();
        match parts {
            Some(parts) if parts.len() <= 3 => Ok(VersionQuery { comparison, parts }),
            _ => Err(QueryError::InvalidVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for VersionQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.comparison)?;
        for (at, part) in self.parts.iter().enumerate() {
            write!(f, "{}{part}", if at == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// An error of a query that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text is longer than [`Query::MAX_BYTES`].
    #[error(
        "cannot parse the query: it has {bytes} bytes, more than {}; send a shorter one",
        Query::MAX_BYTES
    )]
    TooLong {
        /// The length of the query in bytes.
        bytes: usize,
    },
    /// The text lacks `KIND:`, or a name after it.
    #[error("cannot parse the query {query:?}: it is not KIND:NAME; kinds are {QUERY_KINDS}")]
    Shape {
        /// The query.
        query: String,
    },
    /// The kind is unknown.
    #[error("cannot parse the query {query:?}: unknown kind; kinds are {QUERY_KINDS}")]
    UnknownKind {
        /// The query.
        query: String,
    },
    /// `cpu:NAME@ACCELERATOR` with an unknown accelerator.
    #[error("cannot parse the accelerator {0:?}: unknown name; names are kvm, hvf, tcg, qtest")]
    UnknownAccelerator(String),
    /// `property:` without a dot.
    #[error("cannot parse the property {0:?}: it has no dot; write property:TYPE.PROPERTY")]
    MissingProperty(String),
    /// `version:` without a version of one to three numbers.
    #[error(
        "cannot parse the version {0:?}: it is not one to three numbers; write version:8.2, or >=, >, <=, < or = before \
         the number"
    )]
    InvalidVersion(String),
    /// `gic:` without a number.
    #[error(
        "cannot parse the version of the GIC {0:?}: it is not a number; write gic:2, gic:3 or gic:4"
    )]
    InvalidGicVersion(String),
}

/// The kinds of query, for messages.
pub const QUERY_KINDS: &str = "machine, cpu, cpu-model, machine-deprecated, version, gic, device, property, type, \
     command, event, option, schema";

impl Query {
    /// The longest text that is parsed, in bytes: several times the longest path into QEMU's schema.
    pub const MAX_BYTES: usize = 4096;
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Query, QueryError> {
        if text.len() > Query::MAX_BYTES {
            return Err(QueryError::TooLong { bytes: text.len() });
        }
        let shape = || QueryError::Shape { query: text.to_owned() };
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
                    let accelerator = Accelerator::from_name(accelerator)
                        .ok_or_else(|| QueryError::UnknownAccelerator(accelerator.to_owned()))?;
                    Query::Cpu(model.to_owned(), Some(accelerator))
                }
            },
            "cpu-model" => Query::CpuModel(owned),
            "device" => Query::Device(owned),
            "property" if name.contains('.') => Query::Property(owned),
            "property" => return Err(QueryError::MissingProperty(owned)),
            "type" => Query::Type(owned),
            "command" => Query::Command(owned),
            "event" => Query::Event(owned),
            "option" => Query::Option(owned),
            "schema" => Query::Schema(owned),
            "machine-deprecated" => Query::MachineDeprecated(owned),
            "version" => Query::Version(name.parse()?),
            "gic" => match name.parse() {
                Ok(version) if name.bytes().all(|b| b.is_ascii_digit()) => Query::Gic(version),
                _ => return Err(QueryError::InvalidGicVersion(owned)),
            },
            _ => return Err(QueryError::UnknownKind { query: text.to_owned() }),
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
            Query::MachineDeprecated(name) => write!(f, "machine-deprecated:{name}"),
            Query::Version(version) => write!(f, "version:{version}"),
            Query::Gic(version) => write!(f, "gic:{version}"),
        }
    }
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Answers a query from the recorded facts.
    ///
    /// *Unknown* may mean that a group was not probed: see [`Entry::groups_for`].
    pub fn answer(&self, query: &Query) -> Tri {
        match query {
            Query::Machine(name) => Tri::from(&self.best().and_then(|best| best.machine(name))),
            Query::Cpu(name, Some(accelerator)) => or_unknown(self.cpu_usable(name, *accelerator)),
            Query::Cpu(name, None) => self.cpu_usable_at_best(name),
            Query::CpuModel(name) => self.cpu_known(name),
            Query::Device(name) => self.has_device(name),
            Query::Property(name) => self.property_at_any_dot(name).0,
            Query::Type(name) => Tri::from(&self.qom_type(name)),
            Query::Command(name) => self.has_command(name),
            Query::Event(name) => self.has_event(name),
            Query::Option(name) => Tri::from(&self.command_line_option(name)),
            Query::Schema(path) => self.schema().has(path),
            Query::MachineDeprecated(name) => self.machine_deprecated(name),
            Query::Version(version) => match self.core(FactKind::Version) {
                Ok(_) => Tri::from(version.matches(self.version())),
                Err(_) => Tri::Unknown,
            },
            Query::Gic(version) => self.gic(*version),
        }
    }

    /// Returns the groups without which the result is unknown for now.
    pub fn groups_for(&self, query: &Query) -> Groups {
        match query {
            Query::Property(name) => self.property_at_any_dot(name).1,
            _ => Groups::CORE,
        }
    }

    /// Returns whether a CPU model runs on this host under an accelerator.
    pub(crate) fn cpu_usable(
        &self,
        name: &str,
        accelerator: Accelerator,
    ) -> Result<Tri, Unanswered> {
        Ok(self.accelerator(accelerator)?.cpu_model(name)?.usable())
    }

    /// The same under the best accelerator. If a better one failed, a *no* of another is *unknown*.
    fn cpu_usable_at_best(&self, name: &str) -> Tri {
        let mut failed = false;
        for accelerator in Accelerator::ALL {
            match self.accelerator(*accelerator) {
                Ok(_) => {
                    let answer = or_unknown(self.cpu_usable(name, *accelerator));
                    return if failed && answer.is_no() { Tri::Unknown } else { answer };
                }
                Err(Unanswered::Absent { .. }) => {}
                Err(_) => failed = true,
            }
        }
        Tri::Unknown
    }

    fn machine_deprecated(&self, name: &str) -> Tri {
        match self.best().and_then(|best| best.machine(name)) {
            Ok(machine) => machine.deprecated().map_or(Tri::Unknown, Tri::from),
            missing => Tri::from(&missing),
        }
    }

    /// Returns true if guests of the architecture can have a GIC.
    pub(crate) fn has_gic(&self) -> bool {
        matches!(self.arch(), "arm" | "aarch64")
    }

    /// The versions of the GIC that guests can have under an accelerator.
    pub(crate) fn gic_versions(&self, accelerator: Accelerator) -> Result<Vec<u64>, Unanswered> {
        let reply = self.accelerator(accelerator)?.answer(FactKind::Gic)?;
        let supported = |one: Value<'_>| {
            let is = |key| one.get(key).and_then(Value::as_bool).unwrap_or(false);
            (is("emulated") || is("kernel")).then(|| one.get("version")?.as_u64()).flatten()
        };
        Ok(reply
            .as_array()
            .into_iter()
            .flat_map(Array::iter)
            .filter_map(supported)
            .take(MAX_GICS)
            .collect())
    }

    fn gic(&self, version: u64) -> Tri {
        if !self.has_gic() {
            return Tri::No;
        }
        any(Accelerator::ALL.iter().map(|accelerator| match self.gic_versions(*accelerator) {
            Ok(versions) => Tri::from(versions.contains(&version)),
            missing => Tri::from(&missing),
        }))
    }

    /// Returns *yes* if any accelerator has the model; *unknown* if none has and one did not report.
    fn cpu_known(&self, name: &str) -> Tri {
        any(self.accelerators().map(|accelerator| {
            Tri::from(&self.accelerator(accelerator).and_then(|one| one.cpu_model(name)))
        }))
    }

    /// Returns the types that may have a property, and its name in each. Type names contain dots as
    /// well (`pc-q35-7.2-machine`), so each dot may end one.
    pub(crate) fn owners<'n>(&self, name: &'n str) -> impl Iterator<Item = (&'n str, &'n str)> {
        name.match_indices('.')
            .take(MAX_DOTS)
            .filter_map(|(dot, _)| Some((name.get(..dot)?, name.get(dot.checked_add(1)?..)?)))
            .filter(|(owner, _)| !Tri::from(&self.qom_type(owner)).is_no())
    }

    /// Returns whether a type has a property, and the groups without which that is unknown.
    fn property_at_any_dot(&self, name: &str) -> (Tri, Groups) {
        let mut answer = (Tri::No, Groups::CORE);
        for (owner, property) in self.owners(name) {
            match self.property(owner, property) {
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

fn or_unknown(answer: Result<Tri, Unanswered>) -> Tri {
    answer.unwrap_or_else(|reason| reason.tri())
}

/// Returns *yes* if one is *yes*, *no* if all are *no*.
fn any(answers: impl Iterator<Item = Tri>) -> Tri {
    answers.fold(Tri::No, |known, answer| match (known, answer) {
        (Tri::Yes, _) | (_, Tri::Yes) => Tri::Yes,
        (Tri::Unknown, _) | (_, Tri::Unknown) => Tri::Unknown,
        (Tri::No, Tri::No) => Tri::No,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_in_the_parts_that_are_given() {
        let matches = |query: &str, (major, minor, micro)| {
            query.parse::<VersionQuery>().unwrap().matches(Version { major, minor, micro })
        };
        for (query, yes, no) in [
            (
                ">=8.2",
                vec![(8, 2, 0), (8, 2, 1), (8, 10, 0), (9, 0, 0)],
                vec![(8, 1, 9), (7, 9, 9)],
            ),
            (">8.2", vec![(8, 3, 0), (10, 0, 0)], vec![(8, 2, 0), (8, 2, 9), (7, 2, 0)]),
            ("<=8.2", vec![(8, 2, 9), (7, 2, 22)], vec![(8, 3, 0), (11, 1, 0)]),
            ("<8.2", vec![(8, 1, 9), (7, 2, 0)], vec![(8, 2, 0), (8, 2, 9), (10, 0, 0)]),
            ("=8.2", vec![(8, 2, 0), (8, 2, 9)], vec![(8, 20, 0), (8, 1, 2)]),
            ("8", vec![(8, 0, 0), (8, 2, 9)], vec![(9, 0, 0), (80, 0, 0)]),
            ("8.2.1", vec![(8, 2, 1)], vec![(8, 2, 0), (8, 2, 10)]),
        ] {
            for version in yes {
                assert!(matches(query, version), "{version:?} {query}");
            }
            for version in no {
                assert!(!matches(query, version), "{version:?} not {query}");
            }
        }
        for text in [
            "",
            "x",
            ">=",
            "8.",
            ".8",
            "8.2.1.0",
            "+8",
            "-1",
            "8.2-rc1",
            "==8",
            "99999999999999999999",
        ] {
            let error = text.parse::<VersionQuery>().unwrap_err();
            assert_eq!(error, QueryError::InvalidVersion(text.into()));
        }
    }

    #[test]
    fn every_kind_of_query_is_formatted_as_it_was_parsed() {
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
            "machine-deprecated:pc-i440fx-1.4",
            "version:>=8.2",
            "version:7.2.22",
            "gic:3",
        ] {
            assert_eq!(text.parse::<Query>().map(|query| query.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_query_that_is_too_long_is_refused_by_its_length_alone() {
        let of_length =
            |bytes: usize| format!("property:{}", ".".repeat(bytes - "property:".len()));
        assert!(of_length(Query::MAX_BYTES).parse::<Query>().is_ok());
        for bytes in [Query::MAX_BYTES + 1, 1 << 20] {
            let error = of_length(bytes).parse::<Query>().unwrap_err();
            assert_eq!(error, QueryError::TooLong { bytes });
            assert!(error.to_string().len() < 100, "{error}");
        }
    }

    #[test]
    fn a_query_that_cannot_be_parsed_gives_the_reason() {
        let error = |text: &str| text.parse::<Query>().unwrap_err();
        assert_eq!(error("q35"), QueryError::Shape { query: "q35".into() });
        assert_eq!(error("machine:"), QueryError::Shape { query: "machine:".into() });
        assert_eq!(error("colour:red"), QueryError::UnknownKind { query: "colour:red".into() });
        assert_eq!(error("cpu:EPYC@xyz"), QueryError::UnknownAccelerator("xyz".into()));
        assert_eq!(error("version:new"), QueryError::InvalidVersion("new".into()));
        assert_eq!(error("gic:v3"), QueryError::InvalidGicVersion("v3".into()));
        assert_eq!(error("gic:+3"), QueryError::InvalidGicVersion("+3".into()));
        assert_eq!(error("property:virtio"), QueryError::MissingProperty("virtio".into()));
    }
}
