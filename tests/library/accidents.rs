//! Emulators that fail in part, and the answers that an entry had before.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use capscache::format::InputKind;
use capscache::probe::{Options, probe, replay};
use capscache::{
    Accelerator, Cache, Capabilities, Dependency, Entry, Groups, Lookup, Tri, Validation,
};
use tempfile::TempDir;
use test_support::write_program;

/// A wrapper around the native emulator that fails under an accelerator while a file requests it.
struct FailingWrapper {
    root: TempDir,
    cache: Cache,
}

impl FailingWrapper {
    fn new(name: &str) -> FailingWrapper {
        let root = tempfile::tempdir().expect("a root");
        let wrapper = FailingWrapper {
            cache: crate::open(root.path().join("cache")).expect("a cache"),
            root,
        };
        let script = format!(
            "#!/bin/sh\nfor word in $(cat {flag} 2>/dev/null); do\n\
             case \"$*\" in *accel=$word*) echo \"no $word today\" >&2; exit 1;; esac\ndone\n\
             exec {native} \"$@\"\n",
            // A file that a script reads through a pattern is found only when the script runs.
            flag = wrapper.root.path().join("fla?").display(),
            native = test_support::native(),
        );
        let path = wrapper.root.path().join(name);
        write_program(&path, script);
        test_support::age(&path);
        wrapper
    }

    fn emulator(&self) -> PathBuf {
        let found = fs::read_dir(self.root.path()).expect("a directory");
        let mut paths = found.map(|entry| entry.expect("an entry").path());
        paths.find(|path| path.to_string_lossy().contains("/qemu")).expect("the wrapper")
    }

    fn fails_under(&self, accelerators: &str) {
        fs::write(self.root.path().join("flag"), accelerators).expect("a flag");
    }

    fn get(&self, groups: Groups) -> Capabilities {
        self.cache.get_with(self.emulator(), groups).expect("answers")
    }
}

fn answer(caps: &Capabilities, query: &str) -> Tri {
    caps.answer(&query.parse().expect("a query"))
}

#[test]
fn a_group_that_kvm_fails_to_fill_is_unknown_there_and_the_rest_stays() {
    if !test_support::kvm_opens() {
        return;
    }
    let wrapper = FailingWrapper::new("qemu-system-wrapper");
    let before = wrapper.get(Groups::CORE);
    let machines =
        |caps: &Capabilities| caps.accelerator(Accelerator::Kvm).map(|kvm| kvm.machines().count());
    assert!(machines(&before).is_ok_and(|count| count > 1));
    wrapper.fails_under("kvm");
    let after = wrapper.get(Groups::CPU_MODELS);
    assert_eq!(machines(&after), machines(&before));
    assert_eq!(answer(&after, "cpu:max@kvm"), answer(&before, "cpu:max@kvm"));
    let kvm = after.accelerator(Accelerator::Kvm).expect("KVM");
    let expansion = kvm.cpu_expansion("max", capscache::format::Expansion::Full);
    assert!(
        matches!(expansion, Err(capscache::format::Unanswered::Refused { .. })),
        "{expansion:?}"
    );
    let tcg = after.accelerator(Accelerator::Tcg).expect("TCG");
    assert!(tcg.cpu_expansion("max", capscache::format::Expansion::Full).is_ok());
}

#[test]
fn a_group_that_tcg_fails_to_fill_does_not_block() {
    if !test_support::kvm_opens() {
        return;
    }
    let wrapper = FailingWrapper::new("qemu-system-x86_64");
    wrapper.get(Groups::CORE);
    wrapper.fails_under("tcg");
    let after = wrapper.get(Groups::CPU_MODELS);
    assert_eq!(after.groups(), Groups::CPU_MODELS);
    let of = |accelerator| {
        let answers = after.accelerator(accelerator).expect("core answers");
        answers.cpu_expansion("max", capscache::format::Expansion::Full).map(drop)
    };
    assert_eq!(of(Accelerator::Kvm), Ok(()));
    assert!(matches!(of(Accelerator::Tcg), Err(capscache::format::Unanswered::Refused { .. })));
}

#[test]
fn an_accelerator_that_is_present_and_fails_is_unknown_and_not_no() {
    if !test_support::kvm_opens() {
        return;
    }
    for (failing, query) in [("kvm", "cpu:max@kvm"), ("tcg", "cpu:max@tcg")] {
        let wrapper = FailingWrapper::new("qemu-system-x86_64");
        wrapper.fails_under(failing);
        let caps = wrapper.get(Groups::CORE);
        assert_eq!(answer(&caps, query), Tri::Unknown, "{failing}");
        let report = caps.report().expect("a report");
        let failure =
            report.passes.iter().find_map(|pass| pass.failure.clone()).expect("a failure");
        assert!(failure.contains(&format!("no {failing} today")), "{failure}");
    }
}

#[test]
fn a_failed_accelerator_is_replayed_as_it_was() {
    if !test_support::kvm_opens() {
        return;
    }
    let wrapper = FailingWrapper::new("qemu-system-x86_64");
    wrapper.fails_under("kvm");
    let options = Options::new().record(true);
    let probed = probe(&wrapper.emulator(), &options).expect("a probe");
    let replayed = replay(&probed.transcript.expect("a transcript")).expect("a model");
    let entry = Entry::open(replayed.encode().expect("a file")).expect("an entry");
    assert_eq!(entry.answer(&"cpu:max@kvm".parse().expect("a query")), Tri::Unknown);
}

#[test]
fn kvm_is_used_whatever_the_emulator_is_called() {
    if !test_support::kvm_opens() {
        return;
    }
    for name in ["qemu-system-x86_64.real", "qemu", "qemu-system-aarch64"] {
        let wrapper = FailingWrapper::new(name);
        assert!(wrapper.get(Groups::CORE).accelerator(Accelerator::Kvm).is_ok(), "{name}");
    }
}

#[test]
fn abstract_types_are_reported_with_the_properties_of_the_one_that_drivers_query() {
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: only PCs have a generic-pc-machine");
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let caps =
        crate::open(root.path()).expect("a cache").get(test_support::native()).expect("answers");
    assert_eq!(answer(&caps, "type:pci-device"), Tri::Yes);
    assert_eq!(answer(&caps, "type:no-such-type"), Tri::No);
    assert!(caps.qom_type("pci-device").expect("a type").is_abstract());
    assert_eq!(answer(&caps, "device:pci-device"), Tri::No);
    assert_eq!(answer(&caps, "property:generic-pc-machine.i8042"), Tri::Yes);
}

#[test]
fn a_link_to_a_program_that_depends_on_its_name_is_probed_under_the_name_of_the_link() {
    let root = tempfile::tempdir().expect("a root");
    let source = root.path().join("dispatcher.rs");
    fs::write(
        &source,
        "use std::os::unix::process::CommandExt;\n\
         fn main() {\n\
             let mut arguments = std::env::args();\n\
             let name = arguments.next().unwrap_or_default();\n\
             if !name.contains(\"avr\") { std::process::exit(3); }\n\
             let _ = std::process::Command::new(\"/usr/bin/qemu-system-avr\").args(arguments).exec();\n\
         }\n",
    )
    .expect("a source");
    let dispatcher = root.path().join("dispatcher");
    let compiled =
        std::process::Command::new("rustc").arg("-o").arg(&dispatcher).arg(&source).status();
    assert!(
        compiled.is_ok_and(|status| status.success()),
        "rustc is installed: it compiles this test"
    );
    let link = root.path().join("qemu-system-avr");
    symlink(&dispatcher, &link).expect("a link");
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    assert!(cache.get(&dispatcher).is_err());
    assert_eq!(cache.get(&link).expect("answers").arch(), "avr");
}

#[test]
fn an_emulator_in_another_mount_namespace_is_probed_each_time() {
    let root = tempfile::tempdir().expect("a root");
    let private = root.path().join("private");
    fs::write(&private, "").expect("a file");
    let emulator = root.path().join("qemu");
    let script = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount --bind /usr/bin/qemu-system-avr {0} && exec {0} \"$@\"' sh \"$@\"\n",
        private.display()
    );
    write_program(&emulator, script);
    test_support::age(&emulator);
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    match cache.get(&emulator) {
        Ok(caps) => assert_eq!(caps.arch(), "avr"),
        Err(error) => {
            println!("SKIPPED: no mount namespace can be made here: {error}");
            return;
        }
    }
    let found = cache.lookup(&emulator);
    assert!(matches!(found, Ok(Lookup::Stale { .. })), "{found:?}");
    assert_eq!(cache.get(&emulator).expect("answers").arch(), "avr");
}

/// Copies a program and the libraries that it is linked to below another root.
fn install_below(root: &Path, program: &str) {
    let linked = std::process::Command::new("ldd").arg(program).output().expect("ldd is installed");
    let linked = String::from_utf8(linked.stdout).expect("text");
    let objects = linked.split_whitespace().filter(|word| word.starts_with('/'));
    let mut last = PathBuf::new();
    for path in std::iter::once(program).chain(objects) {
        let copy = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
        fs::copy(path, &copy).expect("a copy");
        last = copy;
    }
    test_support::age(&last);
}

#[test]
fn an_executable_in_a_chroot_is_recorded_by_its_path_outside() {
    const AVR: &str = "/usr/bin/qemu-system-avr";
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can change the root of a process");
        return;
    }
    let root = tempfile::tempdir().expect("a root");
    let jail = root.path().join("jail");
    install_below(&jail, AVR);
    let emulator = root.path().join("qemu-system-avr");
    let script = format!("#!/bin/sh\nexec /usr/sbin/chroot {} {AVR} \"$@\"\n", jail.display());
    crate::cache::program(&emulator, &script);
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    let caps = cache.get(&emulator).expect("answers");
    let inside = jail.join("usr/bin/qemu-system-avr");
    assert_eq!((caps.arch(), caps.executable()), ("avr", inside.clone()));
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Hit(_))));

    // Not the file that has this path outside.
    let stale = |found: Result<Lookup, capscache::Error>| match found.expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => (stale.input, stale.path),
        other => panic!("not stale but {other:?}"),
    };
    let before = fs::read(&inside).expect("the emulator");
    let put = |content: &[u8]| {
        fs::write(jail.join("new"), content).expect("a file");
        fs::set_permissions(jail.join("new"), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::rename(jail.join("new"), &inside).expect("a rename");
        test_support::age(&inside);
    };
    put(&[&before[..], b"another build"].concat());
    assert_eq!(stale(cache.lookup(&emulator)), (InputKind::Executable, inside.clone()));
    put(&before);
    assert!(matches!(cache.lookup(&emulator), Ok(Lookup::Hit(_))));
    let is_libz = |dependency: &Dependency| {
        let path = dependency.path();
        path.starts_with(&jail) && path.to_string_lossy().contains("/libz.so")
    };
    let libz = caps.depends_on().into_iter().find(is_libz).expect("it is linked to libz");
    let mut file = fs::File::options().append(true).open(libz.path()).expect("a file");
    std::io::Write::write_all(&mut file, b"overwritten in place").expect("a write");
    let (input, _) = stale(cache.lookup_with(&emulator, Validation::Thorough));
    assert_eq!(input, InputKind::Libraries);
}

#[test]
fn without_a_root_to_write_to_groups_add_up_in_the_process() {
    let root = tempfile::tempdir().expect("a root");
    let cache = crate::open(root.path().join("cache")).expect("a cache");
    // A file replaces the directory of the entries: not even root can write there.
    fs::create_dir(cache.root()).expect("a directory");
    fs::write(cache.directory(), "").expect("a file");
    let emulator = Path::new("/usr/bin/qemu-system-avr");
    let devices = cache.get_with(emulator, Groups::DEVICES).expect("answers");
    assert!(devices.persist_error().is_some());
    let both = cache.get_with(emulator, Groups::OBJECTS).expect("answers");
    assert_eq!(both.groups(), Groups::DEVICES | Groups::OBJECTS);
    assert!(matches!(cache.lookup(emulator), Ok(Lookup::Hit(_))));
}
