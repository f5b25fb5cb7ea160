//! Emulators that cannot be probed: the failure is remembered and reported at once, and another probe is made
//! when it may succeed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capscache::probe::Limits;
use capscache::{Cache, Error, FailureCause, Group, Groups, Lookup};
use tempfile::TempDir;
use test_support::age;

use crate::cache::program;
use crate::inputs::{Installation, cache_on, emulator_with_own_library, overwrite};

/// A wrapper that counts its starts, and fails until it is changed to run an emulator.
struct Broken {
    root: TempDir,
    emulator: PathBuf,
}

impl Broken {
    fn new() -> Broken {
        let root = tempfile::tempdir().expect("a root");
        let emulator = root.path().join("qemu-system-avr");
        let broken = Broken { root, emulator };
        broken.write("echo \"no luck today\" >&2; exit 1");
        broken
    }

    fn write(&self, line: &str) {
        let count = self.path("count");
        program(&self.emulator, &format!("#!/bin/sh\necho run >> {}\n{line}\n", count.display()));
    }

    fn repair(&self) {
        self.write("exec /usr/bin/qemu-system-avr \"$@\"");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn cache(&self) -> Cache {
        crate::open(self.path("cache")).expect("a cache")
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("count")).map_or(0, |text| text.lines().count())
    }
}

fn reason(cache: &Cache, emulator: &Path) -> String {
    match cache.lookup(emulator).expect("a lookup") {
        Lookup::Failed(failure) => failure.reason,
        other => panic!("not failed but {other:?}"),
    }
}

#[test]
fn a_failure_is_remembered_by_every_process_and_costs_one_probe() {
    let broken = Broken::new();
    let first = broken.cache().get(&broken.emulator).expect_err("it fails");
    assert!(matches!(first, Error::Probe { .. }), "{first}");
    let runs = broken.runs();
    assert!(runs > 0);
    // Another cache on the root has the state of another process.
    let other = broken.cache();
    assert!(reason(&other, &broken.emulator).contains("no luck today"));
    for groups in [Groups::CORE, Groups::ALL] {
        let error = other.get_with(&broken.emulator, groups).expect_err("it is remembered");
        assert!(matches!(error, Error::Failed { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("no luck today") && text.contains("retry in"), "{text}");
    }
    assert_eq!(broken.runs(), runs);
}

#[test]
fn a_file_that_is_not_an_emulator_has_another_cause_than_one_that_fails_also_when_remembered() {
    let broken = Broken::new();
    let kinds = |emulator: &Path| {
        let fresh = broken.cache().get(emulator).expect_err("it fails");
        let remembered = broken.cache().get(emulator).expect_err("it is remembered");
        assert!(matches!(remembered, Error::Failed { .. }), "{remembered}");
        (fresh.cause(), remembered.cause())
    };
    let not_an_emulator = Some(FailureCause::NotAnEmulator);
    assert_eq!(kinds(Path::new("/bin/true")), (not_an_emulator, not_an_emulator));
    assert_eq!(kinds(Path::new("/usr")), (not_an_emulator, not_an_emulator));
    // One that hangs may be an emulator.
    broken.write("exec sleep 60");
    let limits = Limits::default().start(Duration::from_millis(200));
    let cache = crate::builder(broken.path("cache")).limits(limits).open().expect("a cache");
    let error = cache.get(&broken.emulator).expect_err("it hangs");
    assert_eq!(error.cause(), Some(FailureCause::TimedOut));
    let gone = broken.cache().get(broken.path("gone")).expect_err("no file exists");
    assert_eq!(gone.cause(), None);
}

#[test]
fn limits_without_an_end_are_as_good_as_long_ones() {
    let broken = Broken::new();
    broken.repair();
    let limits = Limits::default().start(Duration::MAX).probe(Duration::MAX);
    let cache = crate::builder(broken.path("cache")).limits(limits).open().expect("a cache");
    assert_eq!(cache.get(&broken.emulator).expect("answers").arch(), "avr");
}

#[test]
fn a_failure_is_forgotten_when_the_emulator_changes() {
    let broken = Broken::new();
    let cache = broken.cache();
    cache.get(&broken.emulator).expect_err("it fails");
    broken.repair();
    assert!(matches!(cache.lookup(&broken.emulator), Ok(Lookup::Missing)));
    assert_eq!(cache.get(&broken.emulator).expect("answers").arch(), "avr");
    assert!(matches!(cache.lookup(&broken.emulator), Ok(Lookup::Hit(_))));
}

#[test]
fn a_failure_is_forgotten_when_the_target_of_a_wrapper_appears() {
    let broken = Broken::new();
    let target = broken.path("not-installed-yet");
    broken.write(&format!("exec \"{}\" \"$@\"", target.display()));
    let cache = broken.cache();
    cache.get(&broken.emulator).expect_err("it fails");
    assert!(matches!(cache.get(&broken.emulator), Err(Error::Failed { .. })));
    std::os::unix::fs::symlink("/usr/bin/qemu-system-avr", &target).expect("a link");
    assert_eq!(cache.get(&broken.emulator).expect("answers").arch(), "avr");
}

#[test]
fn a_failure_of_an_emulator_that_was_replaced_meanwhile_is_not_remembered() {
    let broken = Broken::new();
    let good = broken.path("good");
    program(&good, "#!/bin/sh\nexec /usr/bin/qemu-system-avr \"$@\"\n");
    let emulator = broken.emulator.display();
    broken.write(&format!("mv {} {emulator}; exit 1", good.display()));
    let cache = broken.cache();
    assert!(matches!(cache.get(&broken.emulator), Err(Error::Probe { .. })));
    assert!(matches!(cache.lookup(&broken.emulator), Ok(Lookup::Missing)));
    assert_eq!(cache.get(&broken.emulator).expect("answers").arch(), "avr");
}

#[test]
fn a_failure_is_forgotten_when_modules_change() {
    let Some(installed) = Installation::new() else { return };
    // Under a name without a target KVM is not tried before TCG, which is a module.
    let emulator = installed.path("bin/emulator");
    let (module, aside) = (installed.module("accel-tcg-x86_64"), installed.path("aside"));
    fs::rename(installed.emulator(), &emulator).expect("a rename");
    fs::rename(&module, &aside).expect("a removal");
    age(&installed.modules());
    let cache = &installed.cache;
    let fails_once = || {
        let first = cache.get(&emulator).expect_err("it has no accelerator");
        assert!(matches!(first, Error::Probe { .. }), "{first}");
        let again = cache.get(&emulator).expect_err("it is remembered");
        assert!(matches!(again, Error::Failed { .. }), "{again}");
    };
    fails_once();
    fs::write(&module, "no module").expect("a file");
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Missing)));
    age(&module);
    fails_once();
    // In place: the directory stays as it is.
    fs::write(&module, fs::read(&aside).expect("a module")).expect("an overwritten module");
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Missing)));
    assert_eq!(cache.get(&emulator).expect("answers").arch(), "x86_64");
}

#[test]
fn a_failure_depends_on_each_module_although_the_wrapper_names_their_directory() {
    let Some(installed) = Installation::new() else { return };
    let (module, wrapper) = (installed.module("accel-tcg-x86_64"), installed.path("wrapper"));
    let good = fs::read(&module).expect("a module");
    fs::write(&module, "no module").expect("an overwritten module");
    let (modules, emulator) = (installed.modules(), installed.emulator());
    let (modules, emulator) = (modules.display(), emulator.display());
    let script = format!("export QEMU_MODULE_DIR={modules}\nexec {emulator} \"$@\"");
    program(&wrapper, &format!("#!/bin/sh\n{script}\n"));
    let cache = &installed.cache;
    assert!(matches!(cache.get(&wrapper), Err(Error::Probe { .. })));
    assert!(matches!(cache.lookup(&wrapper), Ok(Lookup::Failed(_))));
    fs::write(&module, good).expect("an overwritten module");
    assert!(matches!(cache.lookup(&wrapper), Ok(Lookup::Missing)));
    assert_eq!(cache.get(&wrapper).expect("answers").arch(), "x86_64");
}

#[test]
fn a_failure_is_forgotten_when_a_shared_object_changes_that_was_mapped_before() {
    let root = tempfile::tempdir().expect("a root");
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    let (emulator, library) = emulator_with_own_library(root.path());
    cache.get(&emulator).expect("answers");
    program(&emulator, "#!/bin/sh\nexit 1\n");
    for _ in 0..2 {
        assert!(matches!(cache.get(&emulator), Err(Error::Probe { .. })));
        assert!(matches!(cache.get(&emulator), Err(Error::Failed { .. })));
        overwrite(&library);
    }
}

#[test]
fn a_failure_is_forgotten_on_another_kernel() {
    let broken = Broken::new();
    let (here, root) = (broken.cache(), broken.path("cache"));
    assert!(matches!(here.get(&broken.emulator), Err(Error::Probe { .. })));
    let there = cache_on(&root, |host| host.kernel.version.push_str("-next"));
    assert!(matches!(there.lookup(&broken.emulator), Ok(Lookup::Missing)));
    assert!(matches!(there.get(&broken.emulator), Err(Error::Probe { .. })));
    assert!(matches!(there.get(&broken.emulator), Err(Error::Failed { .. })));
    assert!(matches!(here.lookup(&broken.emulator), Ok(Lookup::Missing)));
}

#[test]
#[ignore = "runs in a mount namespace of its own"]
fn child_where_the_loaders_cache_and_kvm_move() {
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("a variable"));
    let (cache, emulator) = (crate::open(variable("ROOT")).expect("a cache"), variable("EMULATOR"));
    let fails_once = || {
        assert!(matches!(cache.get(&emulator), Err(Error::Probe { .. })));
        assert!(matches!(cache.get(&emulator), Err(Error::Failed { .. })));
    };
    fails_once();
    let renew = |path: &str| {
        fs::copy(path, "/etc/new").expect("a copy");
        fs::rename("/etc/new", path).expect("a rename");
    };
    renew("/etc/ld.so.cache");
    fails_once();
    // The node appears, moves and disappears; the emulator fails before it could open anything.
    fs::write("/dev/kvm", "").expect("a file");
    fails_once();
    fs::set_permissions("/dev/kvm", std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    fails_once();
    fs::remove_file("/dev/kvm").expect("a removal");
    fails_once();
}

#[test]
fn a_failure_is_forgotten_when_the_loaders_cache_or_kvm_moves() {
    let broken = Broken::new();
    let script = "cd $ROOT/..; mkdir etc; cp -rP /etc/ld.so.* /etc/alternatives etc; mount --bind etc /etc; cp -a /dev/null /dev/urandom .; \
        mount -t tmpfs -o mode=755 dev /dev; cp -a null urandom /dev";
    let test = "failures::child_where_the_loaders_cache_and_kvm_move";
    let root = broken.path("cache");
    fs::create_dir(&root).expect("a root");
    let variables = [("ROOT", &*root), ("EMULATOR", &*broken.emulator)];
    let Some(mut child) = crate::child_after(script, test, &variables) else { return };
    crate::succeeds(&mut child);
}

#[test]
fn a_failure_is_remembered_for_the_time_to_live_and_forgotten_on_request() {
    let broken = Broken::new();
    broken.cache().get(&broken.emulator).expect_err("it fails");
    let runs = broken.runs();
    let impatient = crate::builder(broken.path("cache")).failure_ttl(Duration::ZERO);
    let impatient = impatient.open().expect("a cache");
    assert!(matches!(impatient.lookup(&broken.emulator), Ok(Lookup::Missing)));
    assert!(matches!(impatient.get(&broken.emulator), Err(Error::Probe { .. })));
    assert_eq!(broken.runs(), 2 * runs);
    let cache = broken.cache();
    assert!(matches!(cache.get(&broken.emulator), Err(Error::Failed { .. })));
    assert!(cache.forget_failure(&broken.emulator).expect("it can"));
    assert!(!cache.forget_failure(&broken.emulator).expect("it can"));
    assert!(matches!(cache.get(&broken.emulator), Err(Error::Probe { .. })));
    assert_eq!(broken.runs(), 3 * runs);
}

#[test]
fn a_refresh_probes_again_after_a_failure_and_keeps_an_entry_that_holds() {
    let broken = Broken::new();
    let cache = broken.cache();
    cache.get(&broken.emulator).expect_err("it is broken");
    let runs = broken.runs();
    cache.get(&broken.emulator).expect_err("it is broken");
    assert_eq!(broken.runs(), runs, "the failure is remembered");
    cache.refresh(&broken.emulator, Groups::CORE).expect_err("it is broken");
    assert!(broken.runs() > runs);
    broken.repair();
    let probed = cache.refresh(&broken.emulator, Groups::CORE).expect("answers");
    let kept = cache.refresh(&broken.emulator, Groups::CORE).expect("answers");
    assert_eq!(kept.bytes(), probed.bytes());
    let more = cache.refresh(&broken.emulator, Groups::OBJECTS).expect("answers");
    assert!(more.groups().contains(Group::Objects), "{:?}", more.groups());
}

#[test]
fn answers_from_before_a_group_failed_stay_and_fewer_groups_can_be_requested() {
    let broken = Broken::new();
    broken.repair();
    let cache = broken.cache();
    cache.get(&broken.emulator).expect("answers");
    // A hit does not check it: which file the script reads is found only when it runs.
    let flag = broken.path("flag");
    let script = "exec /usr/bin/qemu-system-avr \"$@\"";
    broken.write(&format!("[ -e {}/fl?g ] && exit 7\n{script}", broken.path("").display()));
    cache.get(&broken.emulator).expect("answers");
    fs::write(&flag, "").expect("a flag");
    let error = cache.get_with(&broken.emulator, Groups::DEVICES).expect_err("it fails");
    assert!(matches!(error, Error::Probe { .. }), "{error}");
    let runs = broken.runs();
    let error = cache.get_with(&broken.emulator, Groups::ALL).expect_err("it is remembered");
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert_eq!(cache.get(&broken.emulator).expect("the earlier answers").arch(), "avr");
    assert_eq!(broken.runs(), runs);
    // A request that may be smaller than the failed one is tried.
    cache.get_with(&broken.emulator, Groups::OBJECTS).expect_err("it fails");
    assert!(broken.runs() > runs);
}

#[test]
fn without_a_root_to_write_to_a_failure_is_remembered_in_the_process() {
    let broken = Broken::new();
    let cache = crate::open("/proc/no-such-root").expect("a cache");
    assert!(matches!(cache.get(&broken.emulator), Err(Error::Probe { .. })));
    let runs = broken.runs();
    assert!(matches!(cache.get(&broken.emulator), Err(Error::Failed { .. })));
    assert!(matches!(cache.lookup(&broken.emulator), Ok(Lookup::Failed(_))));
    assert_eq!(broken.runs(), runs);
}

#[test]
#[ignore = "runs in a mount namespace of its own"]
fn child_with_an_old_failure_where_nothing_can_be_written() {
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("a variable"));
    let (cache, emulator) = (crate::open(variable("ROOT")).expect("a cache"), variable("EMULATOR"));
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Missing)), "the old one is not used");
    assert!(matches!(cache.get(&emulator), Err(Error::Probe { .. })));
    assert!(matches!(cache.get(&emulator), Err(Error::Failed { .. })));
    assert_eq!(reason(&cache, &emulator).matches("another reason").count(), 1);
}

#[test]
fn an_old_failure_that_cannot_be_replaced_does_not_hide_the_new_one() {
    let broken = Broken::new();
    broken.cache().get(&broken.emulator).expect_err("it fails");
    broken.write("echo \"another reason\" >&2; exit 1");
    let test = "failures::child_with_an_old_failure_where_nothing_can_be_written";
    let variables = [("ROOT", &*broken.path("cache")), ("EMULATOR", &*broken.emulator)];
    let runs = broken.runs();
    let Some(mut child) = crate::child_after(crate::READ_ONLY, test, &variables) else { return };
    crate::succeeds(&mut child);
    assert_eq!(broken.runs(), 2 * runs);
}

#[test]
fn an_absent_emulator_is_not_remembered_as_a_failure() {
    let root = tempfile::tempdir().expect("a root");
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    let emulator = root.path().join("qemu-system-avr");
    assert!(matches!(cache.get(&emulator), Err(Error::Emulator { .. })));
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Missing)));
    fs::copy("/usr/bin/qemu-system-avr", &emulator).expect("a copy");
    age(&emulator);
    assert_eq!(cache.get(&emulator).expect("answers").arch(), "avr");
}

#[test]
fn dropping_all_entries_forgets_every_failure() {
    for can_be_written in [true, false] {
        let broken = Broken::new();
        let cache = broken.cache();
        if !can_be_written {
            // A file replaces the directory: failures are kept in the process.
            let release = format!("v2-{}", env!("CARGO_PKG_VERSION"));
            fs::create_dir(broken.path("cache")).expect("a directory");
            fs::write(broken.path("cache").join(release), "").expect("a file");
        }
        cache.get(&broken.emulator).expect_err("it fails");
        assert!(reason(&cache, &broken.emulator).contains("no luck today"));
        let runs = broken.runs();
        assert_eq!(cache.invalidate_all().expect("it can"), 0);
        let found = cache.lookup(&broken.emulator).expect("a lookup");
        assert!(matches!(found, Lookup::Missing), "{found:?}");
        let error = cache.get(&broken.emulator).expect_err("it fails again");
        assert!(matches!(error, Error::Probe { .. }), "{error}");
        assert!(broken.runs() > runs, "it was not tried again");
    }
}
