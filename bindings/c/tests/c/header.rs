//! The committed header.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_header_is_the_one_that_cbindgen_writes() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config =
        cbindgen::Config::from_file(package.join("cbindgen.toml")).expect("a configuration");
    let bindings = cbindgen::Builder::new().with_crate(package).with_config(config).generate();
    let mut header = Vec::new();
    bindings.expect("the sources").write(&mut header);
    let header = String::from_utf8(header).expect("UTF-8");
    let path = package.join("include/capscache.h");
    if std::env::var("SNAPSHOTS").as_deref() == Ok("overwrite") {
        std::fs::write(&path, &header).expect("a file that can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == header, "{} differs: SNAPSHOTS=overwrite writes it", path.display());
}

#[test]
fn the_header_has_the_version_of_the_package() {
    let header = include_str!("../../include/capscache.h");
    let [major, minor, patch] = ["MAJOR", "MINOR", "PATCH"].map(|part| {
        let (_, rest) =
            header.split_once(&format!("#define CAPSCACHE_VERSION_{part} ")).expect("the number");
        rest.lines().next().expect("a line")
    });
    assert_eq!(format!("{major}.{minor}.{patch}"), env!("CARGO_PKG_VERSION"));
    assert!(
        header.contains(&format!("#define CAPSCACHE_VERSION \"{}\"\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn doxygen_finds_every_part_of_the_header_documented_and_every_reference_resolved() {
    let output = tempfile::tempdir().expect("a directory");
    let doxygen = Command::new("doxygen").arg("-").stdin(Stdio::piped()).spawn();
    let mut doxygen = match doxygen {
        Ok(child) => child,
        Err(error) => return println!("SKIPPED: doxygen: {error}"),
    };
    let configuration = format!(
        "INPUT = \"{}/include/capscache.h\"\nOUTPUT_DIRECTORY = \"{}\"\nOPTIMIZE_OUTPUT_FOR_C = YES\nQUIET = YES\n\
         GENERATE_LATEX = NO\nHAVE_DOT = NO\nWARN_IF_UNDOCUMENTED = YES\nWARN_AS_ERROR = FAIL_ON_WARNINGS\n",
        env!("CARGO_MANIFEST_DIR"),
        output.path().display(),
    );
    let mut stdin = doxygen.stdin.take().expect("a pipe");
    stdin.write_all(configuration.as_bytes()).expect("doxygen reads");
    drop(stdin);
    assert!(doxygen.wait().expect("an end").success());
    assert!(output.path().join("html/capscache_8h.html").exists());
}
