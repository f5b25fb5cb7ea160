//! KVM as answers depend on it: its node, who may open that, and what its modules were loaded with.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use capscache_format::Signature;
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};

use crate::host::boot_seconds;

/// The node that opens KVM.
pub(crate) const KVM: &str = "/dev/kvm";

/// Further nodes that QEMU opens to find out what KVM offers (QEMU 7.2, `target/i386/sev.c`, `sgx-epc.c`).
const FURTHER_NODES: [&str; 3] = ["/dev/sev", "/dev/sgx_vepc", "/dev/sgx/virt_epc"];

/// Where the kernel lists modules, `NAME/parameters/PARAMETER`.
const MODULES: &str = "/sys/module";

/// Parts of the names of parameters that change how fast KVM is, or what it logs, and not what it offers
/// (Linux 6.18, `Documentation/admin-guide/kernel-parameters.txt`).
const TUNING: [&str; 9] = [
    "halt_poll",
    "recovery",
    "stats",
    "verbose",
    "mmu_lock",
    "recycle",
    "report_",
    "eager",
    "timer_advance",
];

/// How long a failure of KVM that opens counts, in seconds: it may only be busy.
const FAILURE_SECONDS: i64 = 60;

/// KVM as one user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kvm {
    /// What `stat` said of the node before everything else was read: what changes after that shows.
    pub(crate) signature: Option<Signature>,
    pub(crate) state: State,
}

/// What is compared when the trigger moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Owner, mode and device of the node; `None` if there is none.
    node: Option<String>,
    uid: u32,
    /// Whether that user could open the node.
    opens: bool,
    /// Module parameters, `MODULE.PARAMETER=VALUE`, separated by spaces.
    parameters: String,
    /// The further nodes that are there, and whether that user could open each.
    further: BTreeMap<String, bool>,
    /// Where the node stays as it is when modules are loaded again: the directory of the parameters of the
    /// module that drives this CPU, and its inode, which is another one after that.
    driver: Option<(PathBuf, u64)>,
    /// The second since boot at which an emulator failed under KVM although it opened.
    failed_at: Option<i64>,
}

impl Kvm {
    /// Looks at KVM as this process sees it.
    pub(crate) fn now() -> Kvm {
        let signature = crate::input::stat(Path::new(KVM)).ok();
        let mut options = File::options();
        // A node that is something else, such as a pipe, must not keep anybody waiting.
        options.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let opens = |path: &str| options.open(path).is_ok();
        Kvm::seen_by(signature, rustix::process::geteuid().as_raw(), opens)
    }

    /// Looks at KVM as an emulator sees it that runs as somebody else.
    #[cfg(feature = "probe")]
    pub(crate) fn of(user: Option<&capscache_probe::User>) -> Kvm {
        let Some(user) = user else { return Kvm::now() };
        let signature = crate::input::stat(Path::new(KVM)).ok();
        let opens = |path: &str| {
            // Which further nodes another user may open takes too long to find out: they count as there.
            path != KVM || capscache_probe::kvm_opens(Some(user)).unwrap_or(false)
        };
        Kvm::seen_by(signature, user.uid, opens)
    }

    fn seen_by(signature: Option<Signature>, uid: u32, opens: impl Fn(&str) -> bool) -> Kvm {
        let describe = |node: Metadata| {
            format!("{}:{} {:o} {:x}", node.uid(), node.gid(), node.mode() & 0o7777, node.rdev())
        };
        let there = FURTHER_NODES.iter().filter(|node| Path::new(node).exists());
        let state = State {
            node: fs::metadata(KVM).ok().map(describe),
            uid,
            opens: opens(KVM),
            parameters: parameters(Path::new(MODULES)),
            further: there.map(|node| ((*node).to_owned(), opens(node))).collect(),
            driver: if is_on_devtmpfs(KVM) { None } else { driver(Path::new(MODULES)) },
            failed_at: None,
        };
        Kvm { signature, state }
    }

    /// Whether this user can use it.
    #[cfg(feature = "probe")]
    pub(crate) fn opens(&self) -> bool {
        self.state.opens
    }

    /// Whether there is a node, whoever may open it.
    #[cfg(feature = "probe")]
    pub(crate) fn is_there(&self) -> bool {
        self.state.node.is_some()
    }
}

impl State {
    /// As an input's value, in six lines: node, user, parameters, further nodes, driver, failure.
    pub(crate) fn to_value(&self) -> Vec<u8> {
        let State { node, uid, opens, parameters, further, driver, failed_at } = self;
        let text = |number: Option<String>| number.unwrap_or_default();
        let node = node.as_deref().unwrap_or("absent");
        let opened = |opens: bool| if opens { "open" } else { "closed" };
        let further: Vec<String> =
            further.iter().map(|(path, opens)| format!("{path} {}", opened(*opens))).collect();
        let driver =
            driver.as_ref().map(|(path, inode)| format!("{} {inode}", path.to_string_lossy()));
        let driver = text(driver);
        let failed_at = text(failed_at.map(|at| at.to_string()));
        let (opens, further) = (opened(*opens), further.join(" "));
        format!("{node}\nuid {uid} {opens}\n{parameters}\n{further}\n{driver}\n{failed_at}")
            .into_bytes()
    }

    /// Reads an input's value; `None` for one that this release did not write.
    pub(crate) fn from_value(value: &[u8]) -> Option<State> {
        let text = std::str::from_utf8(value).ok()?;
        let mut lines = text.split('\n');
        let mut line = || lines.next();
        let opens = |word: &str| match word {
            "open" => Some(true),
            "closed" => Some(false),
            _ => None,
        };
        let node = Some(line()?).filter(|node| *node != "absent").map(str::to_owned);
        let (uid, user_opens) = line()?.strip_prefix("uid ")?.split_once(' ')?;
        let parameters = line()?.to_owned();
        let words: Vec<&str> = line()?.split_whitespace().collect();
        let further = words.chunks(2).map(|pair| match pair {
            [path, word] => Some(((*path).to_owned(), opens(word)?)),
            _ => None,
        });
        let driver = match line()? {
            "" => None,
            driver => {
                let (path, inode) = driver.split_once(' ')?;
                Some((path.into(), inode.parse().ok()?))
            }
        };
        let failed_at = match line()? {
            "" => None,
            second => Some(second.parse().ok()?),
        };
        Some(State {
            node,
            uid: uid.parse().ok()?,
            opens: opens(user_opens)?,
            parameters,
            further: further.collect::<Option<_>>()?,
            driver,
            failed_at,
        })
    }

    /// The same, with the failure of an emulator under KVM noted now.
    #[cfg(feature = "probe")]
    pub(crate) fn failed_now(self) -> State {
        State { failed_at: Some(boot_seconds()), ..self }
    }

    /// Whether it may stop to hold although the node does not move.
    pub(crate) fn is_watched(&self) -> bool {
        self.failed_at.is_some() || self.driver.is_some()
    }

    /// Whether a failure is noted that is too old to count, or from before a reboot.
    pub(crate) fn is_expired(&self) -> bool {
        let age = self.failed_at.map(|at| boot_seconds().saturating_sub(at));
        age.is_some_and(|age| !(0..FAILURE_SECONDS).contains(&age))
    }

    /// Whether what was recorded still holds for this user. A node that could not be opened then may not
    /// be open to anybody now who uses the answers; one that opened needs to open for the same user only,
    /// since others share what that user found out.
    pub(crate) fn agrees_with(&self, recorded: &State) -> bool {
        let agree = |recorded_opens: bool, opens: bool| {
            recorded_opens == opens || (recorded_opens && self.uid != recorded.uid)
        };
        let further_agree = recorded.further.len() == self.further.len()
            && recorded.further.iter().all(|(path, recorded_opens)| {
                self.further.get(path).is_some_and(|opens| agree(*recorded_opens, *opens))
            });
        self.node == recorded.node
            && self.parameters == recorded.parameters
            && agree(recorded.opens, self.opens)
            && further_agree
    }

    /// The same as it is recorded under a new signature, the view still that of whoever recorded it.
    pub(crate) fn driven_as(self, found: &State) -> State {
        State { driver: found.driver.clone(), ..self }
    }

    /// Whether the module that drives this CPU was loaded again, where the node does not say so.
    pub(crate) fn driver_has_changed(&self) -> bool {
        let inode_of = |path: &PathBuf| fs::metadata(path).map(|status| status.ino()).ok();
        self.driver.as_ref().is_some_and(|(path, inode)| inode_of(path) != Some(*inode))
    }

    /// Whether the same user recorded the other.
    pub(crate) fn is_by_same_user(&self, other: &State) -> bool {
        self.uid == other.uid
    }

    /// What a lookup by this process compares beside the trigger, at a system call each: who may open the
    /// node, and the further ones where they are there or, where KVM offers SEV, may come.
    pub(crate) fn rights(&self, cpu: &str) -> Vec<Right> {
        let is_own = self.uid == rustix::process::geteuid().as_raw();
        let right = |path: &str, opens: bool| {
            // Of what another user could open nothing is to be compared.
            (!opens || is_own).then(|| Right { path: path.into(), opens })
        };
        let mut rights = Vec::new();
        rights.extend(right(KVM, self.opens));
        rights.extend(self.further.iter().filter_map(|(path, opens)| right(path, *opens)));
        if !self.further.contains_key(FURTHER_NODES[0]) && self.may_offer_sev(cpu) {
            rights.extend(right(FURTHER_NODES[0], false));
        }
        rights
    }

    /// Whether SEV lacks nothing but its node: without a security processor `kvm_amd` sets its parameter
    /// `sev` to `N` (Linux, arch/x86/kvm/svm/sev.c). Where no parameters can be read, the CPU decides.
    fn may_offer_sev(&self, cpu: &str) -> bool {
        let is_set = |parameter| matches!(parameter, "kvm_amd.sev=Y" | "kvm_amd.sev=1");
        let mut parameters = self.parameters.split(' ');
        cpu.contains("AMD") && (self.parameters.is_empty() || parameters.any(is_set))
    }
}

/// Whether this process could open a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    path: PathBuf,
    opens: bool,
}

impl Right {
    /// Whether it changed: one system call. What could not be opened is opened, since some security
    /// modules (AppArmor) say nothing before; what could be is only asked about.
    pub(crate) fn has_changed(&self) -> bool {
        if self.opens {
            accessat(CWD, &self.path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_err()
        } else {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty()).is_ok()
        }
    }
}

/// Whether the mount that a path lies in is of the type devtmpfs, where the kernel makes the node anew
/// whenever modules are loaded; also if that cannot be found out.
fn is_on_devtmpfs(path: &str) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return true };
    // Of several mounts at one place the last one counts.
    let mut found = (0, true);
    for line in mounts.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let Some(place) = mount.split(' ').nth(4) else { continue };
        if Path::new(path).starts_with(place) && place.len() >= found.0 {
            found = (place.len(), kind.starts_with("devtmpfs "));
        }
    }
    found.1
}

/// Names of KVM's modules, sorted.
fn modules(within: &Path) -> Vec<String> {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("kvm")).collect();
    names.sort();
    names
}

/// The directory of the parameters of the module that drives this host's CPU (`kvm_intel`, `kvm_amd` and so
/// on, else `kvm`), and its inode.
fn driver(within: &Path) -> Option<(PathBuf, u64)> {
    let parameters = |name: &String| within.join(name).join("parameters");
    modules(within).iter().rev().map(parameters).find_map(|path| {
        let inode = fs::metadata(&path).ok().filter(Metadata::is_dir)?.ino();
        Some((path, inode))
    })
}

/// All parameters that everybody may read and that may change what KVM offers.
fn parameters(within: &Path) -> String {
    let mut found = Vec::new();
    for module in modules(within) {
        let entries = fs::read_dir(within.join(&module).join("parameters")).into_iter().flatten();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_tuning = TUNING.iter().any(|tuning| name.contains(tuning));
            let is_public = entry.metadata().is_ok_and(|status| status.mode() & 0o004 != 0);
            if let Ok(value) = fs::read_to_string(entry.path())
                && is_public
                && !is_tuning
            {
                let value = value.split_whitespace().collect::<Vec<_>>().join(",");
                found.push(format!("{module}.{name}={value}"));
            }
        }
    }
    found.sort();
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(uid: u32, opens: bool) -> State {
        State {
            node: Some("0:107 660 ae8".into()),
            uid,
            opens,
            parameters: "kvm_intel.nested=Y".into(),
            further: BTreeMap::new(),
            driver: None,
            failed_at: None,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mut whole = state(1000, true);
        whole.further.insert("/dev/sev".into(), false);
        whole.driver = Some(("/sys/module/kvm_intel/parameters".into(), 4711));
        whole.failed_at = Some(7);
        let none = State { node: None, parameters: String::new(), ..state(0, false) };
        for state in [whole, none] {
            assert_eq!(State::from_value(&state.to_value()), Some(state));
        }
        for other in
            ["", "absent", "absent\nuid 0 maybe\n\n\n\n", "absent\nuid 0 open\n\n/dev/sev\n\n"]
        {
            assert_eq!(State::from_value(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_same_user_compares_everything() {
        let recorded = state(0, true);
        assert!(recorded.agrees_with(&recorded));
        let sev = |opens| State { further: [("/dev/sev".into(), opens)].into(), ..state(0, true) };
        for other in [
            State { node: None, opens: false, ..state(0, true) },
            State { parameters: "kvm_intel.nested=N".into(), ..state(0, true) },
            State { parameters: String::new(), ..state(0, true) },
            state(0, false),
            sev(true),
        ] {
            assert!(!other.agrees_with(&recorded), "{other:?}");
            assert!(!recorded.agrees_with(&other), "{other:?}");
        }
        assert!(!sev(true).agrees_with(&sev(false)) && !sev(false).agrees_with(&sev(true)));
    }

    #[test]
    fn another_user_compares_everything_but_whether_it_opens_if_it_did() {
        let recorded = state(0, true);
        let reader = state(1000, false);
        assert!(reader.agrees_with(&recorded) && !reader.is_by_same_user(&recorded));
        // What the one could not open says nothing to somebody who can.
        assert!(!recorded.agrees_with(&reader));
        assert!(state(1001, false).agrees_with(&reader));
        for other in [
            State { node: Some("0:107 666 ae8".into()), ..state(1000, true) },
            State { parameters: "kvm_intel.nested=N".into(), ..state(1000, true) },
            State { further: [("/dev/sev".into(), true)].into(), ..state(1000, true) },
        ] {
            assert!(!other.agrees_with(&recorded), "{other:?}");
        }
    }

    #[test]
    fn the_node_of_sev_is_opened_on_each_hit_only_where_sev_may_come() {
        let opened = |parameters: &str, cpu: &str| {
            let uid = rustix::process::geteuid().as_raw();
            State { parameters: parameters.into(), ..state(uid, true) }.rights(cpu).len() == 2
        };
        for (parameters, cpu, may_come) in [
            ("kvm.x=1 kvm_amd.sev=Y", "AuthenticAMD", true),
            ("kvm_amd.sev=1", "AuthenticAMD", true),
            ("", "AuthenticAMD", true),
            ("kvm_amd.sev=N kvm_amd.sev_es=Y", "AuthenticAMD", false),
            ("kvm_pvm.x=1", "AuthenticAMD", false),
            ("", "GenuineIntel", false),
        ] {
            assert_eq!(opened(parameters, cpu), may_come, "{parameters} {cpu}");
        }
    }

    #[test]
    fn a_failure_of_kvm_is_believed_for_a_minute_and_not_after_a_reboot() {
        let failed = |at| State { failed_at: at, ..state(0, true) };
        assert!(!failed(None).is_expired());
        assert!(!failed(Some(boot_seconds())).is_expired());
        assert!(failed(Some(boot_seconds() - FAILURE_SECONDS)).is_expired());
        assert!(failed(Some(boot_seconds() + 1000)).is_expired());
    }

    #[test]
    fn every_parameter_counts_that_is_public_and_not_about_speed() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        for (path, value, mode) in [
            ("kvm/parameters/enable_pmu", "Y\n", 0o444),
            ("kvm/parameters/halt_poll_ns", "200000\n", 0o644),
            ("kvm_amd/parameters/vgif", "1\n", 0o444),
            ("kvm_amd/parameters/debug_swap", "N\n", 0o444),
            ("kvm_amd/parameters/npt", "1\n", 0o444),
            ("kvm_amd/parameters/secret", "1\n", 0o400),
            ("loop/parameters/max_loop", "0\n", 0o444),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, value).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let expected = "kvm.enable_pmu=Y kvm_amd.debug_swap=N kvm_amd.npt=1 kvm_amd.vgif=1";
        assert_eq!(parameters(root.path()), expected);
        let found = driver(root.path()).map(|(path, _)| path);
        assert_eq!(found, Some(root.path().join("kvm_amd/parameters")));
        assert_eq!(driver(Path::new("/nowhere")), None);
    }
}
