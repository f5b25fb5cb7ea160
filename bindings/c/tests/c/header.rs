//! The committed header.

use std::path::Path;

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
