//! Firmware descriptors, read from directories that the tests make.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use capscache::Entry;
use capscache::firmware::{FirmwareError, FirmwareFile, FirmwareList, FirmwareMapping};
use capscache::format::Unanswered;

/// Directories of descriptors, the most specific first.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host { root: tempfile::tempdir().expect("a directory") };
        host.directories().iter().for_each(|path| fs::create_dir(path).expect("a directory"));
        host
    }

    fn directories(&self) -> [PathBuf; 3] {
        ["user", "etc", "share"].map(|name| self.root.path().join(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn read(&self) -> FirmwareList {
        FirmwareList::read(&self.directories())
    }

    /// The files that are found, in order.
    fn found(&self) -> Vec<String> {
        let list = self.read();
        assert!(list.broken.is_empty(), "{:?}", list.broken);
        list.found.iter().map(|firmware| self.name(&firmware.path)).collect()
    }

    fn name(&self, path: &Path) -> String {
        let within = path.strip_prefix(self.root.path()).expect("a path of these directories");
        within.to_str().expect("text").to_owned()
    }
}

/// A descriptor for machines of an architecture.
fn descriptor(arch: &str, machines: &[&str]) -> String {
    let targets = serde_json::json!([{"architecture": arch, "machines": machines}]);
    format!(
        r#"{{"description": "for {arch}", "interface-types": ["uefi"], "features": ["acpi-s3"], "tags": [],
             "mapping": {{"device": "memory", "filename": "/fw/{arch}"}}, "targets": {targets}}}"#
    )
}

#[test]
fn descriptors_of_all_directories_are_merged_and_sorted_by_file_name() {
    let host = Host::new();
    let text = descriptor("x86_64", &["*"]);
    for name in ["share/60-b.json", "share/10-z.json", "etc/50-a.json", "user/55-c.json"] {
        host.write(name, &text);
    }
    for name in ["share/README", "etc/50-a.json.dpkg-old", "user/.40-d.json", "etc/json"] {
        host.write(name, "not a descriptor");
    }
    let sorted = ["share/10-z.json", "etc/50-a.json", "user/55-c.json", "share/60-b.json"];
    assert_eq!(host.found(), sorted);
    // As bytes: an upper-case letter before a lower-case one, two digits before three.
    host.write("user/10-Z.json", &text);
    host.write("user/100-a.json", &text);
    assert_eq!(host.found()[..3], ["user/10-Z.json", "share/10-z.json", "user/100-a.json"]);
}

#[test]
fn of_descriptors_with_one_name_the_most_specific_is_in_effect_and_an_empty_one_hides_the_others() {
    let host = Host::new();
    let text = descriptor("x86_64", &["*"]);
    host.write("share/50-a.json", &text);
    host.write("share/60-b.json", &text);
    host.write("etc/50-a.json", &text);
    assert_eq!(host.found(), ["etc/50-a.json", "share/60-b.json"]);
    host.write("etc/50-a.json", "");
    assert_eq!(host.found(), ["share/60-b.json"]);
    host.write("user/50-a.json", &text);
    assert_eq!(
        host.found(),
        ["user/50-a.json", "share/60-b.json"],
        "the more specific one is in effect"
    );
    host.write("user/60-b.json", "");
    host.write("user/70-none.json", "");
    assert_eq!(host.found(), ["user/50-a.json"]);
    host.write("share/50-a.json", "{");
    assert_eq!(host.found(), ["user/50-a.json"], "hidden ones are not read");
}

#[test]
fn absent_directories_have_no_descriptors() {
    let host = Host::new();
    host.write("share/50-a.json", &descriptor("x86_64", &["*"]));
    fs::remove_dir(host.path("user")).expect("a removal");
    fs::remove_dir(host.path("etc")).expect("a removal");
    host.write("etc", "a file in place of a directory");
    assert_eq!(host.found(), ["share/50-a.json"]);
    assert!(FirmwareList::read(&[]).found.is_empty());
}

#[test]
fn links_to_descriptors_and_to_their_directory_are_followed() {
    let host = Host::new();
    host.write("elsewhere", &descriptor("x86_64", &["*"]));
    symlink("../elsewhere", host.path("etc/50-a.json")).expect("a link");
    fs::remove_dir(host.path("share")).expect("a removal");
    symlink("etc", host.path("share")).expect("a link");
    assert_eq!(host.found(), ["etc/50-a.json"]);
}

#[test]
fn a_descriptor_is_read_with_values_and_keys_of_a_later_qemu() {
    let host = Host::new();
    let write = |name: &str, mapping: &str| {
        let text = format!(
            r#"{{"description": "OVMF ü", "interface-types": ["uefi", "later"], "mapping": {mapping},
                 "targets": [{{"architecture": "x86_64", "machines": ["pc-q35-*", "microvm"], "x": 1}},
                             {{"architecture": "i386", "machines": []}}],
                 "features": ["secure-boot", "later-feature"], "tags": ["-D A=B"], "later": {{"a": [1.50, null]}}}}"#
        );
        host.write(name, &text);
        text
    };
    let text = write(
        "share/1.json",
        r#"{"device": "flash", "executable": {"filename": "/c.fd", "format": "raw", "x": 0},
            "nvram-template": {"filename": "/v.fd", "format": "qcow2"}, "x": 0}"#,
    );
    write(
        "share/2.json",
        r#"{"device": "flash", "mode": "stateless", "executable": {"filename": "/c.fd", "format": "raw"}}"#,
    );
    write("share/3.json", r#"{"device": "memory", "filename": "/b.bin"}"#);
    write(
        "share/4.json",
        r#"{"device": "memory", "mode": "split", "executable": {"filename": "/c.fd", "format": "raw"},
            "nvram-template": {"filename": "/v.json", "format": "json"}}"#,
    );
    write("share/5.json", r#"{"device": "kernel", "filename": "/k"}"#);
    write("share/6.json", r#"{"device": "igvm", "filename": "/i"}"#);
    write("share/7.json", r#"{"device": "later", "mode": "other"}"#);
    let list = host.read();
    assert!(list.broken.is_empty(), "{:?}", list.broken);
    let descriptor = &list.found[0].descriptor;
    assert_eq!(descriptor.description, "OVMF ü");
    assert_eq!(descriptor.interface_types, ["uefi", "later"]);
    assert_eq!(descriptor.features, ["secure-boot", "later-feature"]);
    assert_eq!(descriptor.tags, ["-D A=B"]);
    assert_eq!(descriptor.machines("x86_64").collect::<Vec<_>>(), ["pc-q35-*", "microvm"]);
    assert_eq!(descriptor.machines("i386").count() + descriptor.machines("arm").count(), 0);
    let file = |file: &Option<FirmwareFile>| {
        let file =
            file.as_ref().map(|file| (&*file.filename, file.format.as_deref().unwrap_or("-")));
        file.map_or_else(|| "none".to_owned(), |(name, format)| format!("{name} {format}"))
    };
    let mappings = list.found.iter().map(|firmware| {
        let FirmwareMapping { device, mode, executable, nvram_template, .. } =
            &firmware.descriptor.mapping;
        let mode = mode.as_deref().unwrap_or("-");
        format!("{device} {mode}, {}, {}", file(executable), file(nvram_template))
    });
    let expected = [
        "flash split, /c.fd raw, /v.fd qcow2",
        "flash stateless, /c.fd raw, none",
        "memory stateless, /b.bin -, none",
        "memory split, /c.fd raw, /v.json json",
        "kernel -, /k -, none",
        "igvm -, /i -, none",
        "later other, none, none",
    ];
    assert_eq!(mappings.collect::<Vec<_>>(), expected);
    // The JSON keeps every key.
    let exact: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let json = serde_json::to_string(&list.found[0]).expect("JSON");
    assert_eq!(json, exact.to_string());
}

#[test]
fn a_broken_descriptor_is_reported_by_its_path_and_hides_no_other() {
    const WHOLE: &str = r#""interface-types": [], "targets": [], "features": []"#;
    let host = Host::new();
    let good = descriptor("x86_64", &["*"]);
    host.write("share/50-good.json", &good);
    let mut broken = vec![
        ("10-cut.json", "{".to_owned(), "EOF while parsing"),
        ("11-list.json", "[1]".to_owned(), "invalid type"),
        ("12-blank.json", "\n".to_owned(), "EOF while parsing"),
        ("13-bytes.json", "\u{feff}{}".to_owned(), "expected value"),
        ("14-deep.json", "[".repeat(100_000), "recursion limit"),
        (
            "15-without.json",
            good.replace("interface-types", "x"),
            "missing field `interface-types`",
        ),
        ("16-without.json", good.replace("mapping", "x"), "missing field `mapping`"),
        ("17-without.json", good.replace("targets", "x"), "missing field `targets`"),
        ("18-without.json", good.replace("features", "x"), "missing field `features`"),
        ("19-without.json", good.replace("machines", "x"), "missing field `machines`"),
        ("20-type.json", good.replace(r#"["uefi"]"#, r#""uefi""#), "invalid type"),
        ("21-behind.json", format!("{good}{good}"), "trailing characters"),
        ("22-long.json", format!("{good}{}", " ".repeat(1 << 20)), "larger than 1048576 bytes"),
    ];
    for (name, device, lacks) in [
        ("30.json", "flash", "the mapping into flash has no executable"),
        ("31.json", "igvm", "the mapping into igvm has no filename"),
        ("32.json", "kernel", "the mapping into kernel has no filename"),
        ("33.json", "memory", "the mapping into memory has no filename"),
    ] {
        let text = format!(r#"{{"mapping": {{"device": "{device}"}}, {WHOLE}}}"#);
        broken.push((name, text, lacks));
    }
    for (name, text, _) in &broken {
        host.write(&format!("etc/{name}"), text);
    }
    let list = host.read();
    assert_eq!(list.found.len(), 1);
    assert_eq!(list.broken.len(), broken.len());
    for (error, (name, _, why)) in list.broken.iter().zip(&broken) {
        assert_eq!(host.name(error.path()), format!("etc/{name}"));
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        let reported = format!("{error}: {source}");
        assert!(reported.contains(name) && reported.contains(why), "{reported}");
    }
    // A broken one that is in effect still hides the ones of less specific directories.
    host.write("etc/50-good.json", "{");
    assert!(host.read().found.is_empty());
    host.write("user/50-good.json", &good);
    assert_eq!(host.read().found.len(), 1);
}

#[test]
fn a_descriptor_that_is_not_a_regular_file_is_reported_and_does_not_block() {
    let host = Host::new();
    host.write("share/50-good.json", &descriptor("x86_64", &["*"]));
    fs::create_dir(host.path("etc/10-directory.json")).expect("a directory");
    let pipe = Command::new("mkfifo").arg(host.path("etc/11-pipe.json")).status();
    assert!(pipe.expect("mkfifo is everywhere").success());
    for (name, target) in [
        ("12-device", "/dev/zero"),
        ("13-null", "/dev/null"),
        ("14-circle", "14-circle.json"),
        ("15-nowhere", "no-such-file"),
    ] {
        symlink(target, host.path(&format!("etc/{name}.json"))).expect("a link");
    }
    symlink("circle", host.path("circle")).expect("a link");
    let [user, etc, share] = host.directories();
    let list = FirmwareList::read(&[user, host.path("circle"), etc, share]);
    assert_eq!(list.found.len(), 1);
    let reported: Vec<_> = list
        .broken
        .iter()
        .map(|error| match error {
            FirmwareError::NoFile { path } => format!("{} not a file", host.name(path)),
            FirmwareError::Read { path, source } => {
                format!("{} {}", host.name(path), source.kind())
            }
            other => panic!("{other}"),
        })
        .collect();
    let expected = [
        "circle filesystem loop or indirection limit (e.g. symlink loop)",
        "etc/10-directory.json not a file",
        "etc/11-pipe.json not a file",
        "etc/12-device.json not a file",
        "etc/13-null.json not a file",
        "etc/14-circle.json filesystem loop or indirection limit (e.g. symlink loop)",
        "etc/15-nowhere.json entity not found",
    ];
    assert_eq!(reported, expected);
}

#[test]
fn firmware_fits_the_machines_of_an_emulator_by_architecture_and_pattern_and_by_alias() {
    const X86: &str = "qemu-7.2-x86_64";
    const ARM: &str = "qemu-7.2-aarch64";
    let host = Host::new();
    host.write("share/10-q35.json", &descriptor("x86_64", &["pc-q35-*"]));
    host.write("share/20-all.json", &descriptor("x86_64", &["*"]));
    host.write("share/30-alias.json", &descriptor("x86_64", &["q35"]));
    host.write("share/40-arm.json", &descriptor("aarch64", &["virt-*", "sbsa-ref"]));
    host.write("share/50-one.json", &descriptor("x86_64", &["microvm", "pc-q35-7.2"]));
    let list = host.read();
    let matching = |fixture: &str, machine: &str| {
        let (_, transcript) = crate::replay::fixtures()
            .into_iter()
            .find(|(name, _)| name == fixture)
            .expect("a fixture");
        let model = capscache::probe::replay(&transcript).expect("a model");
        let entry = Entry::open(model.encode().expect("a file")).expect("an entry");
        let found = list.matching(&entry, machine)?;
        let names = found.iter().map(|firmware| host.name(&firmware.path));
        let names = names.map(|name| name["share/10-".len()..].replace(".json", ""));
        Ok::<_, Unanswered>(names.collect::<Vec<_>>())
    };
    for (fixture, machine, expected) in [
        (X86, "q35", &["q35", "all", "one"][..]),
        (X86, "pc-q35-7.1", &["q35", "all"]),
        (X86, "pc", &["all"]),
        (X86, "microvm", &["all", "one"]),
        (ARM, "virt", &["arm"]),
        (ARM, "raspi3b", &[]),
    ] {
        assert_eq!(matching(fixture, machine).expect("a machine"), expected, "{fixture} {machine}");
    }
    assert!(matches!(matching(X86, "none-such"), Err(Unanswered::Absent { .. })));
}
