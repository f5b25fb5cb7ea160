//! Checks that everything that names the version of this release takes it from `Cargo.toml`, or agrees with it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{has, run};

/// The workspace's: this package inherits it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns what follows a prefix on the first line that has it.
fn after<'t>(text: &'t str, prefix: &str) -> &'t str {
    let found = text.lines().find_map(|line| line.strip_prefix(prefix));
    found.unwrap_or_else(|| panic!("no line begins with {prefix:?}")).trim()
}

#[test]
fn every_package_of_the_workspace_has_its_version() {
    let workspace = text("Cargo.toml");
    let (_, section) = workspace.split_once("[workspace.package]\n").expect("the section");
    assert_eq!(after(section, "version = "), format!("\"{VERSION}\""));
    let dependencies = workspace.lines().filter(|line| line.contains("{ path = "));
    let versions: Vec<_> =
        dependencies.filter_map(|line| line.split_once(", version = \"")).collect();
    assert!(versions.len() >= 10, "{versions:?}");
    for (dependency, version) in versions {
        assert_eq!(version.split_once('"').expect("a quote").0, VERSION, "{dependency}");
    }
    let members = after(&workspace, "members = ");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 10, "{members:?}");
    for member in members {
        let manifest = text(&format!("{member}/Cargo.toml"));
        assert!(manifest.contains("\nversion.workspace = true\n"), "{member}");
    }
}

#[test]
fn the_packages_of_distributions_have_the_version_of_the_workspace() {
    let newest = text("debian/changelog");
    let (_, version) = newest.lines().next().expect("a line").split_once(" (").expect("a version");
    let (version, _) = version.split_once(')').expect("its end");
    // The Debian revision, if the package is not a native one.
    assert_eq!(version.split('-').next(), Some(VERSION));

    let spec = text("dist/rpm/capscache.spec");
    assert_eq!(after(&spec, "Version:"), VERSION);
    let (_, log) = spec.split_once("%changelog\n").expect("the log");
    let entry = after(log, "* ").rsplit(' ').next().expect("a version");
    assert_eq!(entry.split('-').next(), Some(VERSION));
}

#[test]
fn every_symbol_of_the_c_library_is_declared_with_a_release_up_to_this_one() {
    let number = |version: &str| -> Vec<u32> {
        let parts = version.split('.').map(str::parse);
        parts.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{version}: {error}"))
    };
    let declared = text("debian/libcapscache0.symbols");
    let mut names = BTreeSet::new();
    for line in declared.lines().filter_map(|line| line.strip_prefix(' ')) {
        let (symbol, release) = line.split_once(' ').expect("a release");
        assert!(number(release) <= number(VERSION), "{line}");
        names.insert(symbol.replacen('@', "@@", 1));
    }
    // The version of the symbols is a symbol itself, of which the library's own list has no line.
    assert!(names.remove("libcapscache.so.0@@libcapscache.so.0"));
    let exported = text("bindings/c/libcapscache.symbols");
    let exported: BTreeSet<String> = exported.lines().map(str::to_owned).collect();
    let differing: Vec<_> = names.symmetric_difference(&exported).collect();
    assert!(differing.is_empty(), "in one of the lists: {differing:?}");
    assert!(names.len() > 90, "{} symbols", names.len());
}

/// The wheel's version is that of the crate, which maturin reads.
#[test]
fn the_python_package_has_the_version_of_its_crate() {
    let project = text("bindings/python/pyproject.toml");
    assert!(project.contains("\ndynamic = [\"version\"]\n"));
    assert!(!project.contains("\nversion = "));
}

#[test]
fn what_is_installed_for_packages_names_the_version_of_the_workspace() {
    let directory = tempfile::tempdir().expect("a directory");
    let build = directory.path().join("build");
    fs::create_dir(&build).expect("a directory");
    // In place of the command, which the script runs for manual and completions.
    symlink("/bin/true", build.join("capscache")).expect("a link");
    for library in ["libcapscache_c.so", "libcapscache_python.so"] {
        fs::write(build.join(library), "").expect("a file");
    }
    let tree = directory.path().join("tree");
    let python = tree.join("python");
    let mut install = Command::new(path("scripts/install-tree.sh"));
    install.arg(&tree).env("BUILD", &build).env("PYTHONDIR", "/python");
    install.env_remove("PREFIX").env_remove("LIBDIR");
    let installed = run(&mut install);
    assert_eq!((installed.code, &*installed.stderr), (Some(0), ""));

    let file = |name: &str| fs::read_to_string(tree.join(name)).expect(name);
    assert_eq!(after(&file("usr/lib/pkgconfig/capscache.pc"), "Version:"), VERSION);
    assert!(tree.join(format!("usr/lib/libcapscache.so.{VERSION}")).exists());
    let metadata = file(&format!("python/capscache-{VERSION}.dist-info/METADATA"));
    assert_eq!(after(&metadata, "Version:"), VERSION);
    assert_eq!(after(&metadata, "Name:"), "capscache");
    let project = text("bindings/python/pyproject.toml");
    assert_eq!(format!("\"{}\"", after(&metadata, "Summary:")), after(&project, "description = "));
    assert_eq!(
        format!("\"{}\"", after(&metadata, "Requires-Python:")),
        after(&project, "requires-python = ")
    );
    assert_eq!(
        format!("\"{}\"", after(&metadata, "License-Expression:")),
        after(&project, "license = ")
    );

    // The files of the package are those of the repository, and the module.
    let names = |directory: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    };
    let mut expected = names(&path("bindings/python/python/capscache"));
    expected.remove("__pycache__");
    expected.insert("_native.abi3.so".to_owned());
    assert_eq!(names(&python.join("capscache")), expected);

    if has("python3") {
        let mut read = Command::new("python3");
        read.args(["-I", "-c"]).arg(
            "import sys; sys.path.insert(0, sys.argv[1]); import importlib.metadata as metadata; \
             print(metadata.version('capscache'))",
        );
        let read = run(read.arg(&python));
        assert_eq!(
            (&*read.stdout, read.code),
            (&*format!("{VERSION}\n"), Some(0)),
            "{}",
            read.stderr
        );
    }
}
