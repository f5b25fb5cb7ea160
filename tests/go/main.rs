//! Tests of the module in Go, `bindings/go`, and of the examples that use it: Go's own tools run on them, with the C
//! library and the command of this build.

#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use test_support::{Run, has, run, wait_until, x86_64};

/// A directory with the C library as `make install-c` would install it, the same one for all tests, and a directory of
/// this test.
struct Installed {
    library: PathBuf,
    directory: TempDir,
}

impl Installed {
    /// Returns `None` and reports a skip where there is no Go.
    fn new() -> Option<Installed> {
        if !has("go") || !has("cc") || !has("pkg-config") {
            return None;
        }
        let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-library");
        std::fs::create_dir_all(&installed).expect("a directory");
        let staged = tempfile::tempdir_in(&installed).expect("a directory");
        // Other tests use it at the same time.
        let replace = |name: &str| {
            std::fs::rename(staged.path().join(name), installed.join(name)).expect("a file");
        };
        let program = std::env::current_exe().expect("this program");
        // cargo builds the library beside this program.
        let library = program.with_file_name("libcapscache_c.so");
        assert!(library.exists(), "{} is missing", library.display());
        for name in ["libcapscache.so", "libcapscache.so.0"] {
            symlink(&library, staged.path().join(name)).expect("a link");
            replace(name);
        }
        let found = format!(
            "Name: capscache\nDescription: The library of this build\nVersion: {}\nLibs: -lcapscache\n",
            env!("CARGO_PKG_VERSION"),
        );
        std::fs::write(staged.path().join("capscache.pc"), found).expect("a file");
        replace("capscache.pc");
        let directory = tempfile::tempdir().expect("a directory");
        Some(Installed { library: installed, directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A command of Go's in a folder of the repository. It uses no network, and writes below the build's directory.
    fn go(&self, folder: &str, cgo: bool) -> Command {
        // Go's cache of builds knows neither what pkg-config printed nor what a header contains: the flags name both.
        let header = repository().join("bindings/c/include/capscache.h");
        let mut content = DefaultHasher::new();
        std::fs::read(&header).expect("the header").hash(&mut content);
        let include = header.parent().expect("a directory").display();
        let mut command = Command::new("go");
        command
            .env("CGO_CPPFLAGS", format!("-I{include} -DHEADER={}", content.finish()))
            .env("CGO_LDFLAGS", format!("-L{}", self.library.display()))
            .current_dir(repository().join(folder))
            .env("CAPSCACHE_COMMAND", env!("CARGO_BIN_EXE_capscache"))
            .env("CGO_ENABLED", if cgo { "1" } else { "0" })
            .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build"))
            .env("GOPATH", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
            .env("GOENV", "off")
            .env("GOFLAGS", "")
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("LD_LIBRARY_PATH", &self.library)
            .env("PKG_CONFIG_PATH", &self.library);
        command
    }

    /// Runs the tests of a folder, and reports those that were skipped.
    fn test(&self, folder: &str, cgo: bool) {
        let mut command = self.go(folder, cgo);
        command.args(["test", "-count=1", "-v"]);
        if cgo {
            command.arg("-race");
        }
        let tested = run(command.arg("./..."));
        assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
        assert!(tested.stdout.contains("--- PASS: Test"), "{}", tested.stdout);
        for line in tested.stdout.lines().filter(|line| line.contains("SKIPPED: ")) {
            println!("{}", line.trim_start());
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

/// The folders that are modules.
const MODULES: [&str; 2] = ["bindings/go", "examples/drivers"];

#[test]
fn go_vet_finds_nothing_with_cgo_or_without() {
    let Some(installed) = Installed::new() else { return };
    for module in MODULES {
        for cgo in [true, false] {
            let vetted = run(installed.go(module, cgo).args(["vet", "./..."]));
            assert_eq!((vetted.code, &*vetted.stderr), (Some(0), ""), "{module}");
        }
    }
}

#[test]
fn every_file_in_go_is_formatted() {
    if !has("gofmt") {
        return;
    }
    let unformatted = run(Command::new("gofmt").current_dir(repository()).arg("-l").args(MODULES));
    assert_eq!((&*unformatted.stdout, &*unformatted.stderr), ("", ""));
}

#[test]
fn the_modules_need_no_other_module() {
    let Some(installed) = Installed::new() else { return };
    let listed = run(installed.go("bindings/go", true).args(["list", "-m", "all"]));
    assert_eq!((&*listed.stdout, &*listed.stderr), ("capscache.io/go\n", ""));
}

#[test]
fn the_client_of_the_service_needs_neither_cgo_nor_the_library() {
    let Some(installed) = Installed::new() else { return };
    let arguments = ["list", "-deps", "-f", "{{.ImportPath}}{{range .CgoFiles}} {{.}}{{end}}"];
    let listed = run(installed.go("bindings/go", true).args(arguments).arg("./service"));
    assert_eq!((listed.code, &*listed.stderr), (Some(0), ""));
    let ours = listed.stdout.lines().filter(|line| line.starts_with("capscache.io/"));
    let expected = ["capscache.io/go", "capscache.io/go/internal/paths", "capscache.io/go/service"];
    assert_eq!(ours.collect::<Vec<_>>(), expected);
}

#[test]
fn the_module_passes_its_tests_under_the_race_detector() {
    let Some(installed) = Installed::new() else { return };
    installed.test("bindings/go", true);
}

#[test]
fn without_cgo_the_module_passes_its_tests_of_the_service() {
    let Some(installed) = Installed::new() else { return };
    installed.test("bindings/go", false);
}

#[test]
fn the_examples_answer_as_the_emulator_does() {
    let Some(installed) = Installed::new() else { return };
    installed.test("examples/drivers", true);
}

/// A service, killed at the end of its test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_example_prints_the_same_from_a_cache_and_from_a_service() {
    let Some(installed) = Installed::new() else { return };
    let (root, socket) = (installed.path().join("cache"), installed.path().join("socket"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_capscache"));
    command.arg("serve").arg("--root").arg(&root).arg("--socket").arg(&socket);
    let _service = Service(command.stderr(Stdio::null()).spawn().expect("the service starts"));
    wait_until("it listens", || socket.exists());
    for example in ["incus", "kubevirt", "kata"] {
        let program: PathBuf = installed.path().join(example);
        let mut build = installed.go("examples/drivers", true);
        let built = run(build.arg("build").arg("-o").arg(&program).arg(format!("./{example}")));
        assert_eq!((built.code, &*built.stderr), (Some(0), ""), "{example}");
        let prints = |cache: &Path| -> Run {
            let mut command = Command::new(&program);
            command.env("LD_LIBRARY_PATH", &installed.library).arg(cache).arg(x86_64());
            run(&mut command)
        };
        let (read, served) = (prints(&root), prints(&socket));
        assert_eq!((read.code, &*read.stderr), (Some(0), ""), "{example}");
        assert!(read.stdout.len() > 100, "{example}: {}", read.stdout);
        assert_eq!((served.stdout, served.stderr), (read.stdout, read.stderr), "{example}");
        let failed = run(Command::new(&program).env("LD_LIBRARY_PATH", &installed.library));
        assert_eq!(failed.code, Some(2), "{example}");
        assert_eq!(failed.stderr, format!("usage: {example} ROOT|SOCKET EMULATOR\n"));
    }
}
