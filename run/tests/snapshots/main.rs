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

/// Returns the error of the guest `q35` with another text in place of one.
fn refused(emulators: &mut Emulators, arch: &str, from: &str, to: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let text = fs::read_to_string(folder.join("q35.xml")).unwrap();
    assert!(text.contains(from), "{from}");
    let guest = Guest::from_xml(&text.replacen(from, to, 1)).unwrap();
    let result = command(&guest, emulators.entry(arch), &Policy::default(), &host("q35"), &Same);
    result.unwrap_err().to_string()
}

#[test]
fn what_the_emulator_lacks_is_named_before_addresses_are_assigned() {
    let mut emulators = Emulators::default();
    for (arch, from, to, expected) in [
        (
            "x86_64",
            "machine='q35'",
            "machine='q53'",
            "/domain/os/type@machine: this QEMU does not have the machine q53; it has pc, q35",
        ),
        (
            "x86_64",
            "machine='q35'",
            "machine='pc-q35-99.0'",
            "@machine: this QEMU does not have the machine pc-q35-99.0; it has pc-q35-2.10, ",
        ),
        (
            "aarch64",
            "machine='q35'",
            "machine='q35'",
            "@arch: this QEMU does not have the architecture x86_64; it emulates aarch64",
        ),
        (
            "x86_64",
            "type='qemu'",
            "type='xen'",
            "/domain@type: xen is not supported; use kvm or qemu",
        ),
        (
            "x86_64",
            "type='qemu'",
            "type='hvf'",
            "/domain@type: this QEMU does not have the accelerator hvf here; it runs under ",
        ),
    ] {
        let error = refused(&mut emulators, arch, from, to);
        assert!(error.starts_with("cannot run the guest: line "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn addresses_of_pci_devices_on_the_host_have_one_range() {
    let mut emulators = Emulators::default();
    let nvme = "<disk type='nvme' device='disk'><driver name='qemu' type='raw'/>\
                <source type='pci' namespace='1'><address ADDRESS/></source>\
                <target dev='vdy' bus='virtio'/></disk></devices>";
    let hostdev = "<hostdev mode='subsystem' type='pci'><source><address ADDRESS/></source></hostdev>\
                   </devices>";
    for device in [nvme, hostdev] {
        for (address, expected) in [
            ("bus='0x100'", "source/address@bus: it must be at most 0xff"),
            ("bus='1' slot='0x20'", "source/address@slot: it must be at most 0x1f"),
            ("bus='1' function='8'", "source/address@function: it must be at most 0x7"),
        ] {
            let device = device.replace("ADDRESS", address);
            let error = refused(&mut emulators, "x86_64", "</devices>", &device);
            assert!(error.ends_with(expected), "{error}");
        }
    }
}

#[test]
fn vhost_net_serves_an_interface_where_it_opens_or_is_required() {
    let mut emulators = Emulators::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let text = fs::read_to_string(folder.join("pc.xml")).unwrap();
    for (driver, opens, expected) in [
        ("", true, true),
        ("", false, false),
        ("<driver name='vhost'/>", false, true),
        ("<driver name='qemu'/>", true, false),
    ] {
        let interface = format!(
            "<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/><model type='virtio'/>{driver}</interface></devices>"
        );
        let guest = Guest::from_xml(&text.replacen("</devices>", &interface, 1)).unwrap();
        let mut host = host("pc");
        host.vhost_without_kvm = true;
        host.opens = if opens { |_| true } else { |_| false };
        let entry = emulators.entry("x86_64");
        let command = command(&guest, entry, &Policy::default(), &host, &Same).unwrap().to_shell();
        assert_eq!(command.contains("\"vhost\":true"), expected, "{driver} {opens}: {command}");
    }
}
