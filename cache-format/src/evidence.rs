//! The recorded state of what answers depend on, typed by kind of input.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::escaped::Escaped;
use crate::fields::{self, Field, fields};
use crate::kind::InputKind;

/// A variable of an environment: name and value.
pub type Variable = (OsString, OsString);

/// The recorded state of an input, as far as its signature and digest do not hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The path of the emulator: signature and digest of the file.
    Emulator,
    /// The file that runs: signature and digest of the file.
    Executable {
        /// `LD_LIBRARY_PATH`, `LD_PRELOAD` and `QEMU_MODULE_DIR` in its environment, sorted.
        environment: Vec<Variable>,
    },
    /// A directory of modules: its signature, and a digest of what `stat` returned for each file in it.
    Modules {
        /// SHA-256 of the names and contents of the files; `None` where one could not be read.
        contents: Option<[u8; 32]>,
    },
    /// Shared objects, by what shows that one of them was replaced: the signature of the loader's cache, of
    /// the list of preloaded objects or of a searched directory, and a digest of what `stat` returned for
    /// each object.
    Libraries {
        /// The objects, sorted.
        objects: Vec<PathBuf>,
        /// SHA-256 of their paths, sizes and build IDs, of the content of one without; `None` where one
        /// could not be read.
        builds: Option<[u8; 32]>,
    },
    /// The result of `memfd_create`.
    Memfd(Memfd),
    /// `/dev/kvm`: signature of the node.
    Kvm(KvmState),
    /// The running kernel.
    Kernel(Kernel),
    /// The CPU of the host.
    Cpu(Cpu),
    /// A file on the way to the executable, present or not: signature, and digest of a file that was read.
    Route,
    /// A directory on `PATH` in which commands were not found: signature of the directory.
    Search {
        /// The names of the commands, sorted; at least one.
        commands: Vec<OsString>,
    },
    /// The environment of the emulator.
    Environment {
        /// The variables that answers depend on, sorted.
        variables: Vec<Variable>,
    },
    /// The reason why answers are missing that another prober may get.
    Incomplete(Incomplete),
    /// Bytes that are not evidence of their kind: they never hold.
    Undecodable {
        /// The kind of the input.
        kind: InputKind,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// The result of `memfd_create(2)`: QEMU has `memory-backend-memfd` only where it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memfd {
    /// Without `MFD_HUGETLB`.
    pub plain: bool,
    /// With `MFD_HUGETLB`.
    pub hugetlb: bool,
}

/// The running kernel, as `uname(2)` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `release`, such as `6.1.0-21-amd64`.
    pub release: String,
    /// `version`, with the time of the build.
    pub version: String,
}

/// The CPU of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its `model name` in `/proc/cpuinfo`; empty on architectures without one.
    pub model: String,
    /// A digest, in hexadecimal digits, of what `/proc/cpuinfo` holds of the first processor.
    pub features: String,
    /// The version of its microcode, as in sysfs; empty where there is none.
    pub microcode: String,
}

/// The node of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions: the lower twelve bits of its mode.
    pub mode: u32,
    /// The number of the device, as in `st_rdev`.
    pub device: u64,
}

/// KVM as the prober found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmState {
    /// `/dev/kvm`; `None` if it was absent.
    pub node: Option<DeviceNode>,
    /// The effective user of the emulator.
    pub uid: u32,
    /// That user could open the node.
    pub opens: bool,
    /// Module parameters that decide what KVM offers, `MODULE.PARAMETER=VALUE`, sorted.
    pub parameters: Vec<String>,
    /// Further nodes that were present (`/dev/sev`, …), and whether that user could open each; sorted.
    pub further: Vec<(PathBuf, bool)>,
    /// If the node does not show that modules were loaded again: the directory of the parameters of the
    /// module that drives this CPU, and its inode, which is another one after that.
    pub driver: Option<(PathBuf, u64)>,
    /// The second since boot at which an emulator failed under KVM although the node opened.
    pub failed_at: Option<i64>,
}

/// The part of an entry's answers that the prober could not get for lack of memory, processes, descriptors,
/// processor time or permissions, and the conditions under which it probed.
///
/// Such answers are true as far as they go. They serve callers with the prober's rights and limits, for a
/// short time; every other caller probes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The second since boot at which the answers were given.
    pub at: i64,
    /// A digest of the prober's rights and limits.
    pub context: String,
    /// The reason why answers are missing, in one line.
    pub reason: String,
    /// Modules and directories of modules that exist and could not be opened. An answer that depends on
    /// them is unknown, and not *no*.
    pub unopened: Vec<PathBuf>,
}

fields!(Memfd { plain, hugetlb });
fields!(Kernel { release, version });
fields!(Cpu { model, features, microcode });
fields!(DeviceNode { uid, gid, mode, device });
fields!(KvmState { node, uid, opens, parameters, further, driver, failed_at });
fields!(Incomplete { at, context, reason, unopened });

impl Evidence {
    /// The kind of the input.
    pub fn kind(&self) -> InputKind {
        match self {
            Evidence::Emulator => InputKind::Emulator,
            Evidence::Executable { .. } => InputKind::Executable,
            Evidence::Modules { .. } => InputKind::Modules,
            Evidence::Libraries { .. } => InputKind::Libraries,
            Evidence::Memfd(_) => InputKind::Memfd,
            Evidence::Kvm(_) => InputKind::Kvm,
            Evidence::Kernel(_) => InputKind::Kernel,
            Evidence::Cpu(_) => InputKind::Cpu,
            Evidence::Route | Evidence::Search { .. } => InputKind::Route,
            Evidence::Environment { .. } => InputKind::Environment,
            Evidence::Incomplete(_) => InputKind::Incomplete,
            Evidence::Undecodable { kind, .. } => *kind,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Evidence::Emulator | Evidence::Route => Vec::new(),
            Evidence::Executable { environment: variables }
            | Evidence::Environment { variables } => fields::encode(variables),
            Evidence::Modules { contents } => fields::encode(contents),
            Evidence::Libraries { objects, builds } => {
                let mut bytes = fields::encode(objects);
                builds.write(&mut bytes);
                bytes
            }
            Evidence::Memfd(memfd) => fields::encode(memfd),
            Evidence::Kvm(kvm) => fields::encode(kvm),
            Evidence::Kernel(kernel) => fields::encode(kernel),
            Evidence::Cpu(cpu) => fields::encode(cpu),
            Evidence::Search { commands } => fields::encode(commands),
            Evidence::Incomplete(incomplete) => fields::encode(incomplete),
            Evidence::Undecodable { bytes, .. } => bytes.clone(),
        }
    }

    pub(crate) fn decode(kind: InputKind, bytes: &[u8]) -> Evidence {
        let decoded = match kind {
            InputKind::Emulator => bytes.is_empty().then_some(Evidence::Emulator),
            InputKind::Executable => {
                fields::decode(bytes).map(|environment| Evidence::Executable { environment })
            }
            InputKind::Modules => {
                fields::decode(bytes).map(|contents| Evidence::Modules { contents })
            }
            InputKind::Libraries => fields::decode(bytes)
                .map(|(objects, builds)| Evidence::Libraries { objects, builds }),
            InputKind::Memfd => fields::decode(bytes).map(Evidence::Memfd),
            InputKind::Kvm => fields::decode(bytes).map(Evidence::Kvm),
            InputKind::Kernel => fields::decode(bytes).map(Evidence::Kernel),
            InputKind::Cpu => fields::decode(bytes).map(Evidence::Cpu),
            InputKind::Route if bytes.is_empty() => Some(Evidence::Route),
            InputKind::Route => fields::decode(bytes)
                .filter(|commands: &Vec<OsString>| !commands.is_empty())
                .map(|commands| Evidence::Search { commands }),
            InputKind::Environment => {
                fields::decode(bytes).map(|variables| Evidence::Environment { variables })
            }
            InputKind::Incomplete => fields::decode(bytes).map(Evidence::Incomplete),
        };
        decoded.unwrap_or_else(|| Evidence::Undecodable { kind, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for Memfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |works| if works { "yes" } else { "no" };
        write!(f, "plain {} hugetlb {}", word(self.plain), word(self.hugetlb))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.release, self.version)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cpu { model, features, microcode } = self;
        write!(f, "{}", format!("{model} {features} microcode {microcode}").trim())
    }
}

impl fmt::Display for KvmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opened = |opens: bool| if opens { "open" } else { "closed" };
        match &self.node {
            Some(DeviceNode { uid, gid, mode, device }) => {
                write!(f, "{uid}:{gid} {mode:o} {device:x}")?;
            }
            None => f.write_str("absent")?,
        }
        write!(f, " uid {} {}", self.uid, opened(self.opens))?;
        for parameter in &self.parameters {
            write!(f, " {parameter}")?;
        }
        for (path, opens) in &self.further {
            write!(f, " {} {}", Escaped::new(path), opened(*opens))?;
        }
        if let Some((path, inode)) = &self.driver {
            write!(f, " {} {inode}", Escaped::new(path))?;
        }
        if let Some(second) = self.failed_at {
            write!(f, " {second}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn odd() -> OsString {
        OsString::from_vec(b"/a\n\xff".to_vec())
    }

    fn samples() -> Vec<Evidence> {
        let kvm = KvmState {
            node: Some(DeviceNode { uid: 0, gid: 107, mode: 0o660, device: 0xae8 }),
            uid: 1000,
            opens: true,
            parameters: vec!["kvm_amd.sev=Y".into()],
            further: vec![("/dev/sev".into(), false)],
            driver: Some(("/sys/module/kvm_amd/parameters".into(), 7)),
            failed_at: Some(-1),
        };
        let absent = KvmState { node: None, driver: None, failed_at: None, ..kvm.clone() };
        let text = || "text".to_owned();
        vec![
            Evidence::Emulator,
            Evidence::Executable { environment: vec![("LD_PRELOAD".into(), odd())] },
            Evidence::Modules { contents: Some([7; 32]) },
            Evidence::Modules { contents: None },
            Evidence::Libraries { objects: vec![odd().into(), "/b".into()], builds: Some([1; 32]) },
            Evidence::Memfd(Memfd { plain: true, hugetlb: false }),
            Evidence::Kvm(kvm),
            Evidence::Kvm(absent),
            Evidence::Kernel(Kernel { release: text(), version: text() }),
            Evidence::Cpu(Cpu { model: text(), features: text(), microcode: String::new() }),
            Evidence::Route,
            Evidence::Search { commands: vec![odd()] },
            Evidence::Environment { variables: vec![] },
            Evidence::Incomplete(Incomplete {
                at: 42,
                context: text(),
                reason: text(),
                unopened: vec![odd().into()],
            }),
        ]
    }

    #[test]
    fn evidence_of_every_kind_decodes_as_it_was_encoded() {
        let mut kinds: Vec<InputKind> = samples().iter().map(Evidence::kind).collect();
        kinds.dedup();
        assert_eq!(kinds, InputKind::ALL, "a kind has no sample, or in another order");
        for sample in samples() {
            assert_eq!(Evidence::decode(sample.kind(), &sample.encode()), sample);
        }
    }

    #[test]
    fn bytes_that_are_not_evidence_of_their_kind_are_kept_and_never_equal_to_any() {
        for sample in samples() {
            let kind = sample.kind();
            let damaged = [&sample.encode()[..], &[0xff; 3]].concat();
            let decoded = Evidence::decode(kind, &damaged);
            assert_eq!(decoded, Evidence::Undecodable { kind, bytes: damaged.clone() });
            assert_eq!((decoded.kind(), decoded.encode()), (kind, damaged));
        }
    }
}
