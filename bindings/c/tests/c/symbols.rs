//! The symbols of the shared library.

use std::path::Path;
use std::process::Command;

use test_support::{has, run};

use crate::programs::library;

/// The file has the symbols of each version, a line each, as `nm -D --with-symbol-versions` prints them. A line may be
/// added, and never changed or removed before the number in the library's name changes.
#[test]
fn the_library_exports_the_symbols_in_the_file_and_no_other() {
    if !has("nm") {
        return;
    }
    let mut nm = Command::new("nm");
    nm.args(["-D", "--defined-only", "--with-symbol-versions", "-j"]).arg(library());
    let listed = run(&mut nm);
    assert_eq!((listed.code, &*listed.stderr), (Some(0), ""));
    // Beside the symbols there is the version itself.
    let symbols = listed.stdout.lines().filter(|line| line.contains("@@"));
    let symbols: String = symbols.map(|line| format!("{line}\n")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("libcapscache.symbols");
    if std::env::var("SNAPSHOTS").as_deref() == Ok("overwrite") {
        std::fs::write(&path, &symbols).expect("a file that can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(symbols, committed);
    for line in symbols.lines() {
        let (name, version) = line.split_once("@@").expect("a version");
        assert!(name.starts_with("capscache_"), "{name}");
        assert_eq!(version, "libcapscache.so.0", "{name}");
    }
}

#[test]
fn the_library_has_the_name_of_its_abi() {
    if !has("readelf") {
        return;
    }
    let read = run(Command::new("readelf").arg("-d").arg(library()));
    assert!(read.stdout.contains("Library soname: [libcapscache.so.0]"), "{}", read.stdout);
}
