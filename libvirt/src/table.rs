//! libvirt's capability flags: names, order, and sources.
//!
//! They stand in `flags.table`. To follow a new release of libvirt, see `docs/libvirt.md`.

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use crate::release::Release;

/// A capability flag. The index in [`FLAGS`] is its number, and its position in the XML.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The oldest of the known releases that has it.
    pub since: Release,
    /// The name in the XML.
    pub name: &'static str,
    /// The sources in all releases.
    sources: &'static [Sourced],
}

/// Flags are the same if their names are: each is in one table.
impl PartialEq for Flag {
    fn eq(&self, other: &Flag) -> bool {
        self.name == other.name
    }
}

impl Eq for Flag {}

impl Hash for Flag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A source with the first and the last release in which it counts.
#[derive(Clone, Copy, Debug)]
struct Sourced {
    first: Release,
    last: Release,
    source: Source,
}

impl Flag {
    /// The sources in a release, each of which sets the flag; none for a flag that it does not have, or still reads and
    /// never sets.
    pub fn sources(&self, release: Release) -> impl Iterator<Item = Source> {
        let count = move |one: &&Sourced| one.first <= release && release <= one.last;
        self.sources.iter().filter(count).map(|one| one.source)
    }

    /// Returns true if a release sets it.
    pub fn is_live(&self, release: Release) -> bool {
        self.sources(release).next().is_some()
    }
}

/// A source of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `query-kvm`: `enabled` and `present`.
    Kvm,
    /// Apple's Hypervisor framework, which QMP does not report.
    Hvf,
    /// Microsoft's hypervisor, under which no emulator is probed.
    Mshv,
    /// A QOM type of this name (`qom-list-types`).
    Type(&'static str),
    /// An entry of this name in the QMP schema.
    Command(&'static str),
    /// All of these paths exist in the QMP schema.
    Schema(&'static [&'static str]),
    /// A device and a property of it (`device-list-properties`).
    Device(&'static str, &'static str),
    /// The same, with `default-value` false.
    DisabledByDefault(&'static str, &'static str),
    /// An object type and a property of it (`qom-list-properties`).
    Object(&'static str, &'static str),
    /// A machine, by name or alias, and a property of its type.
    Machine(&'static str, &'static str),
    /// A group of `query-command-line-options`.
    Option(&'static str),
    /// The same and a parameter of it.
    Parameter(&'static str, &'static str),
    /// A name in `query-migrate-capabilities`, in any state.
    Migration(&'static str),
    /// A name in `query-tpm-models`.
    TpmModel(&'static str),
    /// A name in `query-tpm-types`.
    TpmType(&'static str),
    /// A CPU model in `query-cpu-definitions` of any pass.
    CpuModel(&'static str),
    /// Another flag.
    Flag(&'static str),
    /// The absence of another flag.
    Without(&'static str),
    /// A QEMU before this version, 1,000,000 × major + 1,000 × minor.
    Before(u32),
    /// All of these together.
    All(&'static [Source]),
    /// One of these architectures, in libvirt's vocabulary.
    Architecture(&'static [&'static str]),
}

/// Types whose properties libvirt queries only if a flag is set.
pub(crate) const GATES: &[(&str, &str)] = &[
    ("virtio-net-pci", "virtio-net"),
    ("virtio-scsi-pci", "virtio-scsi-pci"),
    ("virtio-blk-ccw", "virtio-ccw"),
    ("virtio-net-ccw", "virtio-net"),
    ("virtio-scsi-ccw", "virtio-scsi-pci"),
    ("vfio-pci", "vfio-pci"),
    ("usb-redir", "usb-redir"),
    ("usb-storage", "usb-storage"),
    ("VGA", "VGA"),
    ("vmware-svga", "vmware-svga"),
    ("qxl", "qxl"),
    ("virtio-gpu-pci", "virtio-gpu"),
    ("virtio-gpu-device", "virtio-gpu"),
    ("intel-iommu", "intel-iommu"),
    ("spapr-pci-host-bridge", "spapr-pci-host-bridge"),
    ("virtio-gpu-ccw", "virtio-gpu-ccw"),
    ("mch", "mch"),
    ("nvdimm", "nvdimm"),
    ("pcie-root-port", "pcie-root-port"),
    ("vhost-user-fs-device", "vhost-user-fs"),
    ("virtio-mem-pci", "virtio-mem-pci"),
    ("virtio-mem-ccw", "virtio-mem-ccw"),
    ("amd-iommu", "amd-iommu"),
    ("arm-smmuv3", "arm-smmuv3"),
    ("virtio-iommu-pci", "virtio-iommu-pci"),
    ("memory-backend-memfd", "memory-backend-memfd"),
    ("max-x86_64-cpu", "x86-max-cpu"),
    ("max-arm-cpu", "arm-max-cpu"),
];

/// The lines of the table, without comments.
fn lines() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#'))
}

/// The table as text, which costs a process nothing unless it evaluates flags: a static array of strings costs one
/// relocation for each.
const TABLE: &str = include_str!("flags.table");

/// The number of flags.
pub(crate) const COUNT: usize = count();

const fn count() -> usize {
    let text = TABLE.as_bytes();
    let (mut at, mut count, mut is_start) = (0, 0, true);
    while at < text.len() {
        count += (is_start && text[at] != b'#') as usize;
        is_start = text[at] == b'\n';
        at += 1;
    }
    count
}

/// Every flag, in libvirt's order.
pub static FLAGS: LazyLock<Vec<Flag>> =
    LazyLock::new(|| lines().map(|line| flag(line).expect("a test reads every line")).collect());

fn flag(line: &'static str) -> Option<Flag> {
    let mut words = line.split(' ');
    let (since, name) = (Release::parse(words.next()?).ok()?, words.next()?);
    let sources = words.map(|word| sourced(word, since)).collect::<Option<Vec<_>>>()?;
    Some(Flag { since, name, sources: sources.leak() })
}

/// Reads a source and the range of releases before it, which may be open at either end.
fn sourced(word: &'static str, since: Release) -> Option<Sourced> {
    let (range, word) = word.split_once('@').unwrap_or(("..", word));
    let (first, last) = range.split_once("..")?;
    let end = |text: &str, open| if text.is_empty() { Some(open) } else { text.parse().ok() };
    Some(Sourced {
        first: end(first, since)?,
        last: end(last, Release::default())?,
        source: joined(word)?,
    })
}

fn joined(word: &'static str) -> Option<Source> {
    if !word.contains('&') {
        return source(word);
    }
    let all = word.split('&').map(source).collect::<Option<Vec<_>>>()?;
    Some(Source::All(all.leak()))
}

fn source(word: &'static str) -> Option<Source> {
    let (kind, arguments) = word.split_once(':').unwrap_or((word, ""));
    let (first, second) = arguments.split_once(',').unwrap_or((arguments, ""));
    let all = || -> &'static [&'static str] { arguments.split(',').collect::<Vec<_>>().leak() };
    Some(match kind {
        "kvm" => Source::Kvm,
        "hvf" => Source::Hvf,
        "mshv" => Source::Mshv,
        "type" => Source::Type(arguments),
        "command" => Source::Command(arguments),
        "schema" => Source::Schema(all()),
        "device" => Source::Device(first, second),
        "disabled-by-default" => Source::DisabledByDefault(first, second),
        "object" => Source::Object(first, second),
        "machine" => Source::Machine(first, second),
        "option" => Source::Option(arguments),
        "parameter" => Source::Parameter(first, second),
        "migration" => Source::Migration(arguments),
        "tpm-model" => Source::TpmModel(arguments),
        "tpm-type" => Source::TpmType(arguments),
        "cpu-model" => Source::CpuModel(arguments),
        "flag" => Source::Flag(arguments),
        "without" => Source::Without(arguments),
        "before" => {
            let (major, minor) = arguments.split_once('.')?;
            let number = |text: &str| text.parse::<u32>().ok();
            Source::Before(1_000_000 * number(major)? + 1000 * number(minor)?)
        }
        "architecture" => Source::Architecture(all()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_flag() {
        for line in lines() {
            let flag = flag(line).unwrap_or_else(|| panic!("{line}"));
            assert!(!flag.name.is_empty());
            assert!(
                !format!("{:?}", flag.sources).contains("\"\""),
                "an argument is missing: {line}"
            );
            for one in flag.sources {
                assert!(flag.since <= one.first && one.first <= one.last, "{line}");
            }
        }
        assert_eq!((FLAGS.len(), lines().count()), (COUNT, COUNT));
        assert!(FLAGS.is_sorted_by_key(|flag| flag.since), "new flags come at the end");
    }
}
