//! Guests of our own, which use each element that is supported: the command line of each is in a file beside it.
//!
//! `SNAPSHOTS=overwrite` writes the files, and the table in `docs/run.md`. `make test-peers` holds the command lines against those of
//! libvirt.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod emulators;
mod host;
mod supported;

use std::fs;
use std::path::{Path, PathBuf};

use capscache_devaddr::Policy;
use capscache_domain::Guest;
use capscache_run::command;

use self::emulators::Emulators;
use self::host::{Same, host};

/// The files of the guests, by their names.
fn guests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_guest = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "xml");
    let mut files: Vec<PathBuf> = files.filter(is_guest).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Guest {
    Guest::from_xml(&fs::read_to_string(file).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn overwrites() -> bool {
    std::env::var_os("SNAPSHOTS").is_some_and(|action| action == "overwrite")
}

#[test]
fn the_command_line_of_each_guest_is_the_committed_one() {
    let mut emulators = Emulators::default();
    let mut different = Vec::new();
    for file in guests() {
        let guest = read(&file);
        let entry = emulators.entry(guest.os.arch.as_deref().unwrap());
        let host = host(guest.name.as_deref().unwrap());
        let command = command(&guest, entry, &Policy::default(), &host, &Same);
        let command = command.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = command.to_shell();
        let expected = file.with_extension("args");
        if overwrites() {
            fs::write(&expected, &text).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != text {
            different.push(format!("{}:\n{text}", file.display()));
        }
    }
    assert!(
        different.is_empty(),
        "write the files with SNAPSHOTS=overwrite: {}",
        different.join("\n")
    );
}

#[test]
fn devices_and_addresses_that_nothing_uses_are_refused() {
    let mut emulators = Emulators::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let text = fs::read_to_string(folder.join("pc.xml")).unwrap();
    for (device, named) in [
        ("<frobnicate/>", "frobnicate"),
        ("<audio id='7' type='none'><address type='pci' slot='9'/></audio>", "address"),
    ] {
        let text = text.replace("</devices>", &format!("{device}</devices>"));
        let guest = Guest::from_xml_with(&text, capscache_domain::Unknown::Keep).unwrap();
        let entry = emulators.entry("x86_64");
        let result = command(&guest, entry, &Policy::default(), &host("pc"), &Same);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
