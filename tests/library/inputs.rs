//! Inputs of an answer beside the emulator itself: each change is detected by the next lookup, and costs no more
//! queries than necessary.

use std::fs;
use std::path::{Path, PathBuf};

use capscache::format::Evidence;
use capscache::format::{InputKind, Scope};
use capscache::{Accelerator, Cache, Capabilities, Groups, HostFacts, Lookup, Stale, Validation};
use tempfile::TempDir;
use test_support::age;

use crate::cache::program;

/// QEMU 7.2 finds its modules beside itself: a separate installation, as in /opt.
pub(crate) struct Installation {
    root: TempDir,
    pub(crate) cache: Cache,
}

impl Installation {
    /// Returns `None` and reports a skip where the modules are not installed.
    pub(crate) fn new() -> Option<Installation> {
        if !cfg!(target_arch = "x86_64") {
            println!("SKIPPED: the modules of QEMU for x86_64 are needed");
            return None;
        }
        let root = tempfile::tempdir().expect("a root");
        let installation =
            Installation { cache: crate::open(root.path().join("cache")).expect("a cache"), root };
        fs::create_dir_all(installation.path("bin")).expect("a directory");
        fs::create_dir_all(installation.modules()).expect("a directory");
        fs::copy("/usr/bin/qemu-system-x86_64", installation.emulator())
            .expect("QEMU is installed");
        for module in fs::read_dir("/usr/lib/x86_64-linux-gnu/qemu").expect("modules are installed")
        {
            let module = module.expect("a module").path();
            let name = module.file_name().expect("a name");
            fs::copy(&module, installation.modules().join(name)).expect("a copy");
        }
        age(&installation.emulator());
        age(&installation.modules());
        Some(installation)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn emulator(&self) -> PathBuf {
        self.path("bin/qemu-system-x86_64")
    }

    pub(crate) fn modules(&self) -> PathBuf {
        self.path("lib/x86_64-linux-gnu/qemu")
    }

    pub(crate) fn module(&self, name: &str) -> PathBuf {
        self.modules().join(format!("{name}.so"))
    }

    fn get(&self) -> Capabilities {
        self.cache.get(self.emulator()).expect("answers")
    }

    fn stale(&self) -> Stale {
        match self.cache.lookup(self.emulator()).expect("a lookup") {
            Lookup::Stale { reason: stale, .. } => stale,
            other => panic!("not stale but {other:?}"),
        }
    }

    fn is_hit(&self) -> bool {
        matches!(self.cache.lookup(self.emulator()), Ok(Lookup::Hit(_)))
    }
}

#[test]
fn a_module_that_appears_or_disappears_is_detected_and_changes_the_answers() {
    let Some(installed) = Installation::new() else { return };
    let before = installed.get();
    assert_eq!(before.executable(), installed.emulator());
    assert!(before.qom_type("usb-redir").is_ok());
    assert!(before.inputs().any(|input| {
        input.kind == InputKind::Modules
            && input.name == installed.modules().as_os_str().as_encoded_bytes()
    }));
    assert!(installed.is_hit());

    fs::rename(installed.module("hw-usb-redirect"), installed.path("aside")).expect("a removal");
    assert_eq!(installed.stale().input, InputKind::Modules);
    assert_eq!(installed.stale().scope, Scope::Binary);
    assert!(installed.get().qom_type("usb-redir").is_err());
    age(&installed.modules());

    fs::rename(installed.path("aside"), installed.module("hw-usb-redirect")).expect("a return");
    assert_eq!(installed.stale().input, InputKind::Modules);
    assert!(installed.get().qom_type("usb-redir").is_ok());
}

/// A wrapper that runs a script before it starts the emulator, and the number of its starts.
fn wrapper_that_does(installed: &Installation, script: &str) -> (PathBuf, impl Fn() -> usize) {
    let (wrapper, log) = (installed.path("qemu-system-x86_64"), installed.path("log"));
    let emulator = installed.emulator();
    let (emulator, log_at) = (emulator.display(), log.display());
    program(&wrapper, &format!("#!/bin/sh\necho >> {log_at}\n{script}\nexec {emulator} \"$@\"\n"));
    (wrapper, move || fs::read(&log).map_or(0, |log| log.len()))
}

#[test]
fn a_probe_during_which_modules_changed_is_made_again() {
    let Some(installed) = Installation::new() else { return };
    // Its answers may be about the module that it still found, and the directory be recorded without that:
    // they must not be used.
    let (module, aside) = (installed.module("hw-usb-redirect"), installed.path("aside"));
    let script = format!("mv {} {} 2>/dev/null", module.display(), aside.display());
    let (wrapper, starts) = wrapper_that_does(&installed, &script);
    let cache = &installed.cache;
    let passes = if test_support::kvm_opens() { 2 } else { 1 };
    assert!(cache.get(&wrapper).expect("answers").qom_type("usb-redir").is_err());
    assert_eq!(starts(), 2 * passes);
    assert!(matches!(cache.lookup(&wrapper), Ok(Lookup::Hit(_))));
}

#[test]
fn a_failure_for_lack_of_a_module_is_forgotten_when_the_module_returns() {
    let Some(installed) = Installation::new() else { return };
    let (module, aside) = (installed.module("hw-usb-redirect"), installed.path("aside"));
    let script = format!("[ -e {} ] || exit 1", module.display());
    let (wrapper, _) = wrapper_that_does(&installed, &script);
    let cache = &installed.cache;
    cache.get(&wrapper).expect("answers");
    fs::rename(&module, &aside).expect("a removal");
    cache.get(&wrapper).expect_err("it fails");
    assert!(matches!(cache.lookup(&wrapper), Ok(Lookup::Failed(_))));
    fs::rename(&aside, &module).expect("a return");
    assert!(!matches!(cache.lookup(&wrapper), Ok(Lookup::Failed(_))));
    assert!(cache.get(&wrapper).expect("answers").qom_type("usb-redir").is_ok());
}

#[test]
fn answers_about_inputs_that_change_during_every_probe_are_not_used() {
    let Some(installed) = Installation::new() else { return };
    let script = format!("echo > {}/hw-$$.so", installed.modules().display());
    let (wrapper, starts) = wrapper_that_does(&installed, &script);
    let cache = &installed.cache;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut first = Box::pin(cache.get_async(&wrapper));
    assert!(first.as_mut().poll(&mut context).is_pending());
    // A later caller does not accept them either.
    cache.get(&wrapper).expect("answers");
    let passes = if test_support::kvm_opens() { 2 } else { 1 };
    assert_eq!(starts(), 2 * 3 * passes);
    match cache.lookup(&wrapper).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => {
            assert_eq!(stale.input, InputKind::Modules, "{stale}");
        }
        other => panic!("not stale but {other:?}"),
    }
}

#[test]
fn no_caller_gets_answers_of_a_pass_from_before_a_change() {
    let Some(installed) = Installation::new() else { return };
    if !test_support::kvm_opens() {
        println!("SKIPPED: two passes side by side are needed");
        return;
    }
    // One pass reports modules and is over when the other one begins.
    let wrapper = installed.path("qemu-system-x86_64");
    let (emulator, root) = (installed.emulator(), installed.path(""));
    let script = format!(
        "#!/bin/sh\ncd {root}\ncase \"$*\" in\n\
         *accel=kvm*) until [ -e g? ]; do sleep 0.01; done ;;\n\
         *) echo $$ > pid ;;\n\
         esac\nexec {emulator} \"$@\"\n",
        emulator = emulator.display(),
        root = root.display()
    );
    program(&wrapper, &script);
    let cache = &installed.cache;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut first = Box::pin(cache.get_async(&wrapper));
    assert!(first.as_mut().poll(&mut context).is_pending());
    let is_over = || {
        let pid = fs::read_to_string(root.join("pid")).ok()?;
        Some(!Path::new("/proc").join(pid.trim()).exists())
    };
    while is_over() != Some(true) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::remove_file(installed.module("hw-usb-redirect")).expect("a removal");
    let mut second = Box::pin(cache.get_async(&wrapper));
    assert!(second.as_mut().poll(&mut context).is_pending(), "it waits for the same probe");
    fs::write(root.join("go"), "").expect("a file");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for request in [first, second] {
        let answers = runtime.block_on(request).expect("answers");
        assert!(answers.qom_type("usb-redir").is_err());
    }
    assert!(matches!(cache.lookup(&wrapper), Ok(Lookup::Hit(_))));
}

#[test]
fn a_module_overwritten_in_place_is_detected_by_a_thorough_lookup() {
    let Some(installed) = Installation::new() else { return };
    installed.get();
    let module = installed.module("audio-oss");
    overwrite(&module);
    assert!(installed.is_hit(), "the directory did not move");
    match installed.cache.lookup_with(installed.emulator(), Validation::Thorough).expect("a lookup")
    {
        Lookup::Stale { reason: stale, .. } => assert_eq!(stale.input, InputKind::Modules),
        other => panic!("not stale but {other:?}"),
    }
}

#[test]
fn a_library_overwritten_in_place_is_detected_by_a_thorough_lookup() {
    let root = tempfile::tempdir().expect("a root");
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    let (emulator, library) = emulator_with_own_library(root.path());
    let caps = cache.get(&emulator).expect("answers");
    let mapped = caps.input(InputKind::Libraries).expect("an input").evidence();
    assert!(
        matches!(&mapped, Evidence::Libraries { objects, .. } if objects.contains(&library)),
        "{mapped:?}"
    );
    overwrite(&library);
    let is_hit = |found| matches!(found, Ok(Lookup::Hit(_)));
    assert!(is_hit(cache.lookup(&emulator)), "the loader's cache did not move");
    match cache.lookup_with(&emulator, Validation::Thorough).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => {
            assert_eq!((stale.input, stale.scope), (InputKind::Libraries, Scope::Binary));
        }
        other => panic!("not stale but {other:?}"),
    }
}

/// A wrapper of an emulator that is loaded with a library of its own, and that library.
pub(crate) fn emulator_with_own_library(root: &Path) -> (PathBuf, PathBuf) {
    const AVR: &str = "/usr/bin/qemu-system-avr";
    let ldd = std::process::Command::new("ldd").arg(AVR).output().expect("ldd is installed");
    let listed = String::from_utf8(ldd.stdout).expect("text");
    let installed = listed.split_whitespace().find(|word| word.contains("/libz.so"));
    let library = root.join("lib/libz.so.1");
    fs::create_dir(root.join("lib")).expect("a directory");
    fs::copy(installed.expect("QEMU needs zlib"), &library).expect("a copy");
    let emulator = root.join("qemu-system-avr");
    let script = format!("LD_LIBRARY_PATH={}/lib exec {AVR} \"$@\"", root.display());
    program(&emulator, &format!("#!/bin/sh\n{script}\n"));
    (emulator, library)
}

/// Appends a byte to a file, which loaders accept; it stays the same file.
pub(crate) fn overwrite(file: &Path) {
    let content = fs::read(file).expect("a file");
    fs::write(file, [&content[..], b"\0"].concat()).expect("an overwritten file");
}

#[test]
fn modules_that_are_installed_again_cost_no_probe_and_a_replaced_one_costs_a_full_probe() {
    let Some(installed) = Installation::new() else { return };
    let before = installed.get();
    let replace = |name: &str, content: &str| {
        fs::copy(installed.module(content), installed.path("new")).expect("a copy");
        fs::rename(installed.path("new"), installed.module(name)).expect("a rename");
        age(&installed.modules());
    };
    replace("hw-usb-redirect", "hw-usb-redirect");
    replace("audio-oss", "audio-oss");
    for thorough in [false, true] {
        let other = crate::open(installed.cache.root()).expect("a cache");
        let lookup = if thorough {
            other.lookup_with(installed.emulator(), Validation::Thorough)
        } else {
            other.lookup(installed.emulator())
        };
        match lookup.expect("a lookup") {
            Lookup::Hit(hit) => assert_eq!(hit.report(), before.report(), "something ran"),
            other => panic!("not a hit but {other:?}"),
        }
    }
    replace("hw-usb-redirect", "audio-oss");
    assert_eq!(installed.stale().input, InputKind::Modules);
    assert!(installed.get().qom_type("usb-redir").is_err());
}

/// A cache whose host facts are those of another host.
pub(crate) fn cache_on(root: &Path, change: impl FnOnce(&mut HostFacts)) -> Cache {
    let mut host = HostFacts::of_this_host();
    change(&mut host);
    crate::builder(root).host(host).open().expect("a cache")
}

fn stale_input(cache: &Cache, emulator: &str) -> (InputKind, Scope) {
    match cache.lookup(emulator).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => (stale.input, stale.scope),
        other => panic!("not stale but {other:?}"),
    }
}

/// The time that an accelerator's core answers took: a pass that ran again took another time.
fn micros(caps: &Capabilities, accelerator: Accelerator) -> u64 {
    let report = caps.report().expect("a report");
    let passes = report.passes.iter();
    let mut of_accelerator = passes
        .filter(|pass| pass.source.accelerator() == Some(accelerator))
        .map(|pass| pass.micros);
    of_accelerator.next().expect("a pass")
}

#[test]
fn another_kernel_or_cpu_costs_a_probe_of_kvm_and_nothing_else() {
    if !test_support::kvm_opens() {
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let emulator = test_support::native();
    let here = cache_on(root.path(), |_| {});
    let mut before = here.get_with(&emulator, Groups::CPU_MODELS).expect("answers");
    for (kind, change) in [
        (InputKind::Kernel, (|host| host.kernel.version.push_str("-next")) as fn(&mut HostFacts)),
        (InputKind::Cpu, |host| host.cpu.microcode.push_str("0x2")),
    ] {
        let there = cache_on(root.path(), change);
        assert_eq!(stale_input(&there, &emulator), (kind, Scope::Host));
        let after = there.get_with(&emulator, Groups::CPU_MODELS).expect("answers");
        assert_eq!(micros(&after, Accelerator::Tcg), micros(&before, Accelerator::Tcg));
        assert_ne!(micros(&after, Accelerator::Kvm), micros(&before, Accelerator::Kvm));
        assert!(there.lookup(&emulator).is_ok_and(|found| matches!(found, Lookup::Hit(_))));
        let json = |caps: &Capabilities| serde_json::to_value(&**caps).expect("JSON");
        assert_eq!(json(&after)["accelerators"], json(&before)["accelerators"]);
        assert_eq!(json(&after)["devices"], json(&before)["devices"]);
        // Back on the first host, so that one input changes at a time.
        before = here.get_with(&emulator, Groups::CPU_MODELS).expect("answers");
    }
}

#[test]
fn a_kernel_without_memfd_makes_everything_stale() {
    let root = tempfile::tempdir().expect("a root");
    let emulator = "/usr/bin/qemu-system-avr";
    cache_on(root.path(), |_| {}).get(emulator).expect("answers");
    let there = cache_on(root.path(), |host| host.memfd.plain = !host.memfd.plain);
    assert_eq!(stale_input(&there, emulator), (InputKind::Memfd, Scope::Binary));
}

#[test]
fn an_emulator_for_another_target_does_not_depend_on_kernel_cpu_or_kvm() {
    let root = tempfile::tempdir().expect("a root");
    let emulator = "/usr/bin/qemu-system-avr";
    let here = cache_on(root.path(), |_| {});
    let caps = here.get(emulator).expect("answers");
    let host = [InputKind::Kvm, InputKind::Kernel, InputKind::Cpu];
    assert!(caps.inputs().all(|input| !host.contains(&input.kind)));
    let there = cache_on(root.path(), |host| {
        host.kernel.release.clear();
        host.cpu.model.clear();
    });
    assert!(matches!(there.lookup(emulator), Ok(Lookup::Hit(_))));
}

#[test]
fn mapped_files_are_recorded_as_libraries_and_modules() {
    let root = tempfile::tempdir().expect("a root");
    let cache = crate::open(root.path()).expect("a cache");
    let caps = cache.get("/usr/bin/qemu-system-x86_64").expect("answers");
    let libraries = caps.input(InputKind::Libraries).expect("an input").evidence();
    let Evidence::Libraries { objects, .. } = libraries else { panic!("{libraries:?}") };
    assert!(objects.len() > 20, "{objects:?}");
    let has = |part| objects.iter().any(|path| path.to_str().is_some_and(|p| p.contains(part)));
    assert!(has("/libc.so.6") && has("/qemu/accel-tcg-"), "{objects:?}");
}

#[test]
#[ignore = "runs in a mount namespace of its own"]
fn child_whose_emulators_run_as_another_user() {
    let root = PathBuf::from(std::env::var_os("ROOT").expect("a root"));
    let emulator = test_support::native();
    let as_member_of = |groups: &[u32]| {
        let run_as = capscache::probe::User { uid: 65534, gid: 65534, groups: groups.to_vec() };
        crate::builder(&root).run_as(run_as).open().expect("a cache")
    };
    let opens = |caps: &Capabilities| caps.accelerators().any(|a| a == Accelerator::Kvm);
    assert!(opens(&as_member_of(&[12345]).get(&emulator).expect("answers")));
    // The node moves, and root may open it as before.
    let touch = || {
        let now = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        };
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, "/dev/kvm", &now, flags).expect("a time");
    };
    touch();
    assert!(matches!(as_member_of(&[12345]).lookup(&emulator), Ok(Lookup::Hit(_))));
    touch();
    let expected = (InputKind::Kvm, Scope::Host);
    assert_eq!(stale_input(&as_member_of(&[]), &emulator), expected);
}

#[test]
fn where_emulators_run_as_another_user_kvm_is_compared_with_the_rights_of_that_user() {
    if !test_support::kvm_opens() {
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.path(), all).expect("a mode");
    let script = "cp -a /dev/kvm /dev/null /dev/urandom .; mount -t tmpfs -o mode=755 dev /dev; \
        cp -a kvm null urandom /dev; chmod 660 /dev/kvm; chgrp 12345 /dev/kvm";
    let test = "inputs::child_whose_emulators_run_as_another_user";
    let variables = [("ROOT", &*root.path().join("cache"))];
    let Some(mut child) = crate::child_after(script, test, &variables) else { return };
    crate::succeeds(child.current_dir(root.path()));
}

#[test]
#[ignore = "runs in a mount namespace of its own"]
fn child_under_which_microcode_is_loaded() {
    let cache = crate::open(std::env::var_os("ROOT").expect("a root")).expect("a cache");
    let emulator = test_support::native();
    let before = cache.get(&emulator).expect("answers");
    let cpu = before.input(InputKind::Cpu).expect("an input").evidence();
    assert!(matches!(cpu, Evidence::Cpu(cpu) if cpu.microcode == "0x1"));
    fs::write("/sys/devices/system/cpu/cpu0/microcode/version", "0x2\n").expect("a version");
    let is_hit = |found| matches!(found, Ok(Lookup::Hit(_)));
    assert!(is_hit(cache.lookup(&emulator)), "a hit does not check it");
    match cache.lookup_with(&emulator, Validation::Thorough).expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => {
            assert_eq!((stale.input, stale.scope), (InputKind::Cpu, Scope::Host));
            assert!(stale.found.ends_with(" microcode 0x2"), "{stale}");
        }
        other => panic!("not stale but {other:?}"),
    }
    // From then on every lookup compares it.
    assert_eq!(stale_input(&cache, &emulator), (InputKind::Cpu, Scope::Host));
    let after = cache.get(&emulator).expect("answers");
    assert_eq!(micros(&after, Accelerator::Tcg), micros(&before, Accelerator::Tcg));
    assert_ne!(micros(&after, Accelerator::Kvm), micros(&before, Accelerator::Kvm));
    assert!(is_hit(cache.lookup_with(&emulator, Validation::Thorough)));
}

#[test]
fn microcode_that_is_loaded_late_is_detected_by_a_thorough_lookup_of_a_running_process() {
    if !test_support::kvm_opens() {
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let script = "cpu=/sys/devices/system/cpu/cpu0; mount -t tmpfs none $cpu; \
        mkdir $cpu/microcode; echo 0x1 > $cpu/microcode/version";
    let test = "inputs::child_under_which_microcode_is_loaded";
    let variables = [("ROOT", &*root.path().join("cache"))];
    let Some(mut child) = crate::child_after(script, test, &variables) else { return };
    crate::succeeds(&mut child);
}
