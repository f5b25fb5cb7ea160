//! KVM: its node, the users that can open it, and the parameters that its modules were loaded with.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_format::{DeviceNode, Evidence, Input, KvmState, Signature};
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};

use super::host::boot_seconds;
use super::{Check, Compare, FastCheck, HostFacts, Present, differs, stat_check};
use crate::file::{open_nonblocking, stat};
use crate::status::Dependency;

/// The node that opens KVM.
pub(crate) const KVM: &str = "/dev/kvm";

/// Further nodes that QEMU opens to find out what KVM offers (QEMU 7.2, `target/i386/sev.c`, `sgx-epc.c`).
const FURTHER_NODES: [&str; 3] = ["/dev/sev", "/dev/sgx_vepc", "/dev/sgx/virt_epc"];

/// The directory in which the kernel lists modules, `NAME/parameters/PARAMETER`.
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

/// The time for which a failure of KVM that opens holds, in seconds: it may only be busy.
const FAILURE_SECONDS: i64 = 60;

/// KVM from the view of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kvm {
    /// The signature of the node before everything else was read: later changes show in it.
    pub(crate) signature: Option<Signature>,
    pub(crate) state: KvmState,
}

impl Kvm {
    /// Examines KVM with the rights of this process.
    pub(crate) fn now() -> Kvm {
        let signature = stat(Path::new(KVM)).ok();
        let opens = |path: &str| {
            open_nonblocking(Path::new(path), File::options().read(true).write(true)).is_ok()
        };
        Kvm::examine(signature, rustix::process::geteuid().as_raw(), opens)
    }

    /// Examines KVM with the rights of another user, as which an emulator runs.
    #[cfg(feature = "probe")]
    pub(crate) fn of(user: Option<&capscache_probe::User>) -> Kvm {
        let Some(user) = user else { return Kvm::now() };
        let signature = stat(Path::new(KVM)).ok();
        let opens = |path: &str| {
            // Checking which further nodes another user may open takes too long: they count as open.
            path != KVM || capscache_probe::kvm_opens(Some(user)).unwrap_or(false)
        };
        Kvm::examine(signature, user.uid, opens)
    }

    fn examine(signature: Option<Signature>, uid: u32, opens: impl Fn(&str) -> bool) -> Kvm {
        let node = |status: Metadata| DeviceNode {
            uid: status.uid(),
            gid: status.gid(),
            mode: status.mode() & 0o7777,
            device: status.rdev(),
        };
        let mut present: Vec<&str> = FURTHER_NODES.to_vec();
        present.retain(|node| Path::new(node).exists());
        present.sort_unstable();
        let state = KvmState {
            node: fs::metadata(KVM).ok().map(node),
            uid,
            opens: opens(KVM),
            parameters: parameters(Path::new(MODULES)),
            further: present.into_iter().map(|node| (node.into(), opens(node))).collect(),
            driver: if is_on_devtmpfs(KVM) { None } else { driver(Path::new(MODULES)) },
            failed_at: None,
        };
        Kvm { signature, state }
    }

    /// Returns whether the user can open it.
    pub(crate) fn opens(&self) -> bool {
        self.state.opens
    }

    /// Returns whether the node exists, whichever users may open it.
    pub(crate) fn is_present(&self) -> bool {
        self.state.node.is_some()
    }

    /// Records KVM as it was for an emulator; `has_failed`: it opened, and the emulator failed under it.
    pub(crate) fn record(&self, has_failed: bool) -> Input {
        let failed_at = has_failed.then(boot_seconds);
        let state = KvmState { failed_at, ..self.state.clone() };
        // Rights and parameters are compared by every full check: no signature of the node is too young.
        Input {
            scope: capscache_format::Scope::Host,
            racy: false,
            ..super::record(
                Path::new(KVM),
                self.signature,
                None,
                Evidence::Kvm(state),
                SystemTime::now(),
            )
        }
    }

    /// Records the node before a probe that may fail.
    pub(crate) fn record_before_probe(since: SystemTime) -> Input {
        let Kvm { signature, state } = Kvm::now();
        super::record(Path::new(KVM), signature, None, Evidence::Kvm(state), since)
    }
}

/// Compares the node.
pub(super) struct KvmNode;

impl Compare for KvmNode {
    fn fast_checks(&self, input: &Input, host: &HostFacts) -> Option<Vec<FastCheck>> {
        let Evidence::Kvm(state) = &input.evidence else { return None };
        let mut checks: Vec<_> = rights(state, host).into_iter().map(FastCheck::Right).collect();
        if state.failed_at.is_some() || state.driver.is_some() {
            checks.push(FastCheck::Kvm(Box::new(state.clone())));
        }
        checks.extend(stat_check(input)?);
        Some(checks)
    }

    fn full_check(&self, input: &Input, present: &Present<'_>) -> Check {
        let Evidence::Kvm(recorded) = &input.evidence else { return super::differs_in_kind(input) };
        let found = (present.kvm)();
        let is_expired = is_expired(recorded);
        if agrees(&found.state, recorded) && !is_expired {
            // The rights stay those that the prober had.
            let state = KvmState { driver: found.state.driver, ..recorded.clone() };
            let (signature, evidence) = (found.signature, Evidence::Kvm(state));
            return Check::Moved(Input { signature, evidence, ..input.clone() });
        }
        let failure = if is_expired { " (and the emulator failed under it)" } else { "" };
        differs(input, self.describe(input) + failure, found.state.to_string())
    }

    /// Only a process with the rights of the prober can check whether the node still opens for it, and other
    /// readers would not check again.
    fn may_be_written(&self, input: &Input, kvm: &dyn Fn() -> Kvm) -> bool {
        matches!(&input.evidence, Evidence::Kvm(recorded) if kvm().state.uid == recorded.uid)
    }

    fn watched_paths(&self, _: &Input) -> Vec<Dependency> {
        vec![Dependency::File(KVM.into())]
    }

    fn describe(&self, input: &Input) -> String {
        match &input.evidence {
            Evidence::Kvm(state) => state.to_string(),
            _ => String::new(),
        }
    }
}

/// Returns whether a failure is recorded that is too old to hold, or from before a reboot.
pub(super) fn is_expired(state: &KvmState) -> bool {
    let age = state.failed_at.map(|at| boot_seconds().saturating_sub(at));
    age.is_some_and(|age| !(0..FAILURE_SECONDS).contains(&age))
}

/// Returns whether the recorded state still holds for the user of the one that was found. A node that could
/// not be opened must not be open to any user of the answers now; one that opened has to open for the same
/// user only, since other users share what that one found out.
fn agrees(found: &KvmState, recorded: &KvmState) -> bool {
    let agree = |recorded_opens: bool, opens: bool| {
        recorded_opens == opens || (recorded_opens && found.uid != recorded.uid)
    };
    let further_agree = recorded.further.len() == found.further.len()
        && recorded
            .further
            .iter()
            .zip(&found.further)
            .all(|(recorded, found)| recorded.0 == found.0 && agree(recorded.1, found.1));
    found.node == recorded.node
        && found.parameters == recorded.parameters
        && agree(recorded.opens, found.opens)
        && further_agree
}

/// Returns whether the module that drives this CPU was loaded again, where the node does not show it.
pub(super) fn driver_has_changed(state: &KvmState) -> bool {
    let inode_of = |path: &PathBuf| fs::metadata(path).map(|status| status.ino()).ok();
    state.driver.as_ref().is_some_and(|(path, inode)| inode_of(path) != Some(*inode))
}

/// The rights that a lookup by this process compares, at a system call each: to open the node, and the
/// further ones where they are present or, where KVM offers SEV, may appear.
fn rights(state: &KvmState, host: &HostFacts) -> Vec<Right> {
    let is_own = state.uid == rustix::process::geteuid().as_raw();
    let right = |path: &Path, opens: bool| {
        // The right of another user to open a node cannot be compared.
        (!opens || is_own).then(|| Right { path: path.into(), opens })
    };
    let mut rights = Vec::new();
    rights.extend(right(Path::new(KVM), state.opens));
    rights.extend(state.further.iter().filter_map(|(path, opens)| right(path, *opens)));
    let sev = Path::new(FURTHER_NODES[0]);
    if !state.further.iter().any(|(path, _)| path == sev) && may_offer_sev(state, host) {
        rights.extend(right(sev, false));
    }
    rights
}

/// Returns whether SEV lacks nothing but its node: without a security processor `kvm_amd` sets its parameter
/// `sev` to `N` (Linux, arch/x86/kvm/svm/sev.c). Where no parameters can be read, the CPU decides.
fn may_offer_sev(state: &KvmState, host: &HostFacts) -> bool {
    let is_set = |parameter: &String| matches!(&**parameter, "kvm_amd.sev=Y" | "kvm_amd.sev=1");
    host.is_amd() && (state.parameters.is_empty() || state.parameters.iter().any(is_set))
}

/// A right to open a node, as this process had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    path: PathBuf,
    opens: bool,
}

impl Right {
    /// Returns whether it changed: one system call. A node that could not be opened is opened, since some
    /// security modules (AppArmor) report nothing before; of another one only the permission is queried.
    pub(crate) fn has_changed(&self) -> bool {
        if self.opens {
            accessat(CWD, &self.path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_err()
        } else {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty()).is_ok()
        }
    }
}

/// Returns whether the mount that a path lies in is of the type devtmpfs, where the kernel makes the node
/// anew whenever modules are loaded; also if that cannot be found out.
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

/// The names of KVM's modules, sorted.
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

/// The parameters that every user may read and that may change what KVM offers, sorted.
fn parameters(within: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for module in modules(within) {
        let entries = fs::read_dir(within.join(&module).join("parameters")).into_iter().flatten();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_tuning = TUNING.iter().any(|tuning| name.contains(tuning));
            let is_public = entry.metadata().is_ok_and(|status| status.mode() & 0o004 != 0);
            let Ok(value) = fs::read_to_string(entry.path()) else { continue };
            if is_public && !is_tuning {
                let value = value.split_whitespace().collect::<Vec<_>>().join(",");
                found.push(format!("{module}.{name}={value}"));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(uid: u32, opens: bool) -> KvmState {
        KvmState {
            node: Some(DeviceNode { uid: 0, gid: 107, mode: 0o660, device: 0xae8 }),
            uid,
            opens,
            parameters: vec!["kvm_intel.nested=Y".into()],
            further: Vec::new(),
            driver: None,
            failed_at: None,
        }
    }

    #[test]
    fn the_same_user_compares_everything() {
        let recorded = state(0, true);
        assert!(agrees(&recorded, &recorded));
        let sev = |opens| KvmState { further: vec![("/dev/sev".into(), opens)], ..state(0, true) };
        for other in [
            KvmState { node: None, opens: false, ..state(0, true) },
            KvmState { parameters: vec!["kvm_intel.nested=N".into()], ..state(0, true) },
            KvmState { parameters: Vec::new(), ..state(0, true) },
            state(0, false),
            sev(true),
        ] {
            assert!(!agrees(&other, &recorded), "{other:?}");
            assert!(!agrees(&recorded, &other), "{other:?}");
        }
        assert!(!agrees(&sev(true), &sev(false)) && !agrees(&sev(false), &sev(true)));
    }

    #[test]
    fn another_user_compares_everything_but_a_right_to_open_kvm_that_the_prober_had() {
        let recorded = state(0, true);
        let reader = state(1000, false);
        assert!(agrees(&reader, &recorded));
        // A node that did not open for one user may open for another.
        assert!(!agrees(&recorded, &reader));
        assert!(agrees(&state(1001, false), &reader));
        for other in [
            KvmState {
                node: Some(DeviceNode { uid: 0, gid: 107, mode: 0o666, device: 0xae8 }),
                ..state(1000, true)
            },
            KvmState { parameters: vec!["kvm_intel.nested=N".into()], ..state(1000, true) },
            KvmState { further: vec![("/dev/sev".into(), true)], ..state(1000, true) },
        ] {
            assert!(!agrees(&other, &recorded), "{other:?}");
        }
    }

    #[test]
    fn the_node_of_sev_is_opened_on_each_hit_only_where_it_may_appear() {
        let opened = |parameters: &str, cpu: &str| {
            let uid = rustix::process::geteuid().as_raw();
            let parameters = parameters.split_whitespace().map(str::to_owned).collect();
            let mut host = HostFacts::of_this_host();
            host.cpu.model = cpu.to_owned();
            rights(&KvmState { parameters, ..state(uid, true) }, &host).len() == 2
        };
        for (parameters, cpu, may_appear) in [
            ("kvm.x=1 kvm_amd.sev=Y", "AuthenticAMD", true),
            ("kvm_amd.sev=1", "AuthenticAMD", true),
            ("", "AuthenticAMD", true),
            ("kvm_amd.sev=N kvm_amd.sev_es=Y", "AuthenticAMD", false),
            ("kvm_pvm.x=1", "AuthenticAMD", false),
            ("", "GenuineIntel", false),
        ] {
            assert_eq!(opened(parameters, cpu), may_appear, "{parameters} {cpu}");
        }
    }

    #[test]
    fn a_failure_of_kvm_holds_for_a_minute_and_not_after_a_reboot() {
        let failed = |at| KvmState { failed_at: at, ..state(0, true) };
        assert!(!is_expired(&failed(None)));
        assert!(!is_expired(&failed(Some(boot_seconds()))));
        assert!(is_expired(&failed(Some(boot_seconds() - FAILURE_SECONDS))));
        assert!(is_expired(&failed(Some(boot_seconds() + 1000))));
    }

    #[test]
    fn every_public_parameter_that_is_not_about_speed_counts() {
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
        let expected =
            ["kvm.enable_pmu=Y", "kvm_amd.debug_swap=N", "kvm_amd.npt=1", "kvm_amd.vgif=1"];
        assert_eq!(parameters(root.path()), expected);
        let found = driver(root.path()).map(|(path, _)| path);
        assert_eq!(found, Some(root.path().join("kvm_amd/parameters")));
        assert_eq!(driver(Path::new("/nowhere")), None);
    }
}
