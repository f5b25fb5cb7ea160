//! Programs in C, compiled by the system's compiler and run on real emulators.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use capscache_libvirt::Release;
use capscache_query::Query;
use test_support::{Run, avr, has, native, run, write_program};

/// A directory with the library under the names by which programs find it, and a cache.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["libcapscache.so", "libcapscache.so.0"] {
            symlink(library(), directory.path().join(name)).expect("a link");
        }
        Bench { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Compiles a source in this package and links it with the library.
    fn compile(&self, compiler: &str, source: &str, options: &[&str]) -> PathBuf {
        let source = package().join(source);
        let program = self.path("program");
        let mut command = Command::new(compiler);
        command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread"]).args(options);
        command.arg("-I").arg(package().join("include")).arg("-o").arg(&program).arg(source);
        command.arg("-L").arg(self.directory.path()).arg("-lcapscache");
        command.arg(format!("-Wl,-rpath,{}", self.directory.path().display()));
        let compiled = run(&mut command);
        assert_eq!((compiled.code, &*compiled.stderr), (Some(0), ""), "{command:?}");
        program
    }

    /// Runs a program on a cache and an emulator.
    fn run(&self, before: &[&str], program: &Path, emulator: &str) -> Run {
        let mut words = before.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg(self.path("cache")).arg(emulator);
        run(&mut command)
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library, which cargo builds beside this program.
pub(crate) fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let library = program.parent().expect("a directory").join("libcapscache_c.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// Writes a program that never answers.
fn endless(bench: &Bench) -> String {
    let program = bench.path("qemu-system-endless");
    write_program(&program, "#!/bin/sh\nexec sleep 1000\n");
    program.to_str().expect("UTF-8").to_owned()
}

fn assert_passes(run: &Run) {
    assert_eq!((run.code, &*run.stdout), (Some(0), "passed\n"), "{}", run.stderr);
}

#[test]
fn every_function_answers_a_c_program_as_the_header_says() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("cc", "tests/c/functions.c", &["-std=c11"]);
    assert_passes(&bench.run(&[], &program, &native()));
}

#[test]
fn null_and_wrong_arguments_are_errors_and_never_end_the_program() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("cc", "tests/c/arguments.c", &["-std=c11"]);
    assert_passes(&bench.run(&[], &program, &avr()));
}

#[test]
fn a_program_that_is_not_an_emulator_is_an_error_that_is_remembered() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("cc", "tests/c/failures.c", &["-std=c11"]);
    assert_passes(&bench.run(&[], &program, &endless(&bench)));
}

#[test]
fn an_emulator_that_changed_is_stale_until_it_is_probed_again() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let wrapper = bench.path("qemu-system-avr");
    write_program(&wrapper, format!("#!/bin/sh\nexec {} \"$@\"\n", avr()));
    let program = bench.compile("cc", "tests/c/stale.c", &["-std=c11"]);
    assert_passes(&bench.run(&[], &program, wrapper.to_str().expect("UTF-8")));
}

#[test]
fn threads_share_a_cache_an_entry_and_what_it_returns() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("cc", "tests/c/threads.c", &["-std=c11"]);
    assert_passes(&bench.run(&[], &program, &avr()));
}

#[test]
fn a_program_in_cpp_includes_the_header() {
    if !has("c++") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("c++", "tests/c/include.cc", &["-std=c++11"]);
    assert_passes(&bench.run(&[], &program, &avr()));
}

/// `capscache query` answers with the same package.
#[test]
fn a_query_of_each_kind_has_the_answer_and_the_reason_of_the_command() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("cc", "tests/c/queries.c", &["-std=c11"]);
    let emulator = test_support::x86_64();
    let printed = bench.run(&[], &program, &emulator);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let entry = capscache_of(&bench).get(&emulator).expect("an entry");
    let mut kinds = BTreeSet::new();
    for line in printed.stdout.lines() {
        let [release, text, answer, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let query = match release {
            "" => text.parse(),
            release => Query::parse(text, || Release::parse(release)),
        };
        let query = query.expect(text);
        assert_eq!(answer, query.answer(&entry).to_string(), "{line}");
        let expected = capscache::Escaped::new(&query.explain(&entry)).to_string();
        assert_eq!(reason, expected, "{line}");
        kinds.extend(text.split(':').next());
    }
    assert_eq!(kinds, capscache_query::KINDS.split(", ").collect());
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if !has("cc") || !has("valgrind") {
        return;
    }
    let bench = Bench::new();
    let checks = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full"];
    for source in ["functions.c", "arguments.c", "threads.c"] {
        let program = bench.compile("cc", &format!("tests/c/{source}"), &["-std=c11"]);
        // The first run probes: valgrind does not know the way in which emulators are started.
        assert_passes(&bench.run(&[], &program, &avr()));
        let checked = bench.run(&checks, &program, &avr());
        assert_passes(&checked);
        assert_eq!(checked.stderr, "", "{source}");
    }
}

#[test]
fn the_address_sanitizer_finds_no_error_and_no_leak() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let options = ["-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let empty = bench.path("empty.c");
    fs::write(&empty, "int main(void) { return 0; }\n").expect("a file");
    let mut command = Command::new("cc");
    command.args(options).arg("-o").arg(bench.path("empty")).arg(&empty);
    if run(&mut command).code != Some(0) {
        println!("SKIPPED: cc has no AddressSanitizer here");
        return;
    }
    for source in ["functions.c", "arguments.c", "failures.c", "threads.c"] {
        let program = bench.compile("cc", &format!("tests/c/{source}"), &options);
        let emulator = if source == "failures.c" { endless(&bench) } else { avr() };
        let checked = bench.run(&[], &program, &emulator);
        assert_passes(&checked);
        assert_eq!(checked.stderr, "", "{source}");
    }
}

#[test]
fn the_example_answers_the_questions_of_libguestfs() {
    if !has("cc") {
        return;
    }
    let bench = Bench::new();
    let program = bench.compile("cc", "examples/appliance.c", &["-std=c11"]);
    let answered = bench.run(&[], &program, &test_support::x86_64());
    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
    let cache = capscache_of(&bench);
    let caps = cache.get(test_support::x86_64()).expect("an entry");
    let best = caps.best().expect("an accelerator");
    let machine = best.default_machine().expect("a machine");
    let kvm = capscache::Tri::from(&caps.accelerator(capscache::Accelerator::Kvm));
    let expected = format!(
        "qemu: {}\nmachine: {}\nmax cpus: {}\nkvm: {kvm}\nvirtio-scsi-pci: yes\n",
        caps.version(),
        machine.name(),
        machine.max_cpus().expect("a number"),
    );
    assert!(answered.stdout.starts_with(&expected), "{expected}\nis not:\n{}", answered.stdout);
}

fn capscache_of(bench: &Bench) -> capscache::Cache {
    capscache::Cache::open(bench.path("cache")).expect("a cache")
}
