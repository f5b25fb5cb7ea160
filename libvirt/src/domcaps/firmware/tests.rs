use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::descriptor::Malformed;
use super::*;

const MACHINE: &str = "pc-q35-7.2";

/// Two directories of descriptors, the second with precedence, and files of firmware.
struct Host(TempDir);

impl Host {
    fn new() -> Host {
        let host = Host(tempfile::tempdir().unwrap());
        host.directories().iter().for_each(|directory| fs::create_dir(directory).unwrap());
        ["a.fd", "b.fd", "default.fd"]
            .iter()
            .for_each(|name| fs::write(host.path(name), "").unwrap());
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn directories(&self) -> Vec<PathBuf> {
        ["usr", "etc"].map(|name| self.path(name)).to_vec()
    }

    /// Returns a descriptor of UEFI for the machine type, with a file of this host.
    fn descriptor(&self, file: &str) -> Value {
        json!({
            "interface-types": ["uefi"],
            "mapping": {
                "device": "flash",
                "executable": {"filename": self.path(file), "format": "raw"},
                "nvram-template": {"filename": "/none", "format": "raw"},
            },
            "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
            "features": [],
        })
    }

    fn write(&self, name: &str, descriptor: &Value) {
        fs::write(self.path(name), descriptor.to_string()).unwrap();
    }

    fn read(&self, release: Release) -> Result<LoaderFirmware, DescriptorError> {
        let defaults = ["default.fd", "gone.fd"].map(|name| self.path(name));
        let defaults = defaults.each_ref().map(|path| path.to_str().unwrap());
        LoaderFirmware::read_with(&defaults, &self.directories(), release, "x86_64", MACHINE)
    }

    /// Returns the names of the files for the machine type.
    fn loaders(&self, release: Release) -> Vec<String> {
        let path =
            |path: String| Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
        self.read(release).unwrap().loaders.into_iter().map(path).collect()
    }
}

/// Returns what each release makes of a descriptor: its answer, or the part that makes it malformed.
fn parsed(descriptor: &Value) -> [Result<Descriptor, &'static str>; 4] {
    let text = descriptor.to_string();
    Release::ALL
        .map(|release| Descriptor::parse(text.as_bytes(), release).map_err(|malformed| malformed.0))
}

/// Returns the descriptor with another value at a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut descriptor = Host::new().descriptor("a.fd");
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = descriptor.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value == json!("(absent)") {
        true => parent.shift_remove(key),
        false => parent.insert(key.to_owned(), value),
    };
    descriptor
}

#[test]
fn the_firmware_is_that_for_the_machine_type_and_each_file_is_listed_once_if_it_exists() {
    let host = Host::new();
    let mut secure = host.descriptor("b.fd");
    secure["features"] = json!(["requires-smm", "secure-boot"]);
    host.write("usr/10", &secure);
    let mut bios = host.descriptor("a.fd");
    bios["interface-types"] = json!(["bios"]);
    bios["features"] = json!(["enrolled-keys"]);
    host.write("etc/20", &bios);
    host.write("etc/30", &host.descriptor("b.fd"));
    host.write("usr/40", &host.descriptor("none.fd"));
    let mut elsewhere = host.descriptor("c.fd");
    elsewhere["targets"][0]["architecture"] = json!("aarch64");
    host.write("usr/50", &elsewhere);
    let both = Presence { some_have: true, some_lack: true };
    let expected = LoaderFirmware {
        bios: true,
        efi: true,
        secure: true,
        loaders: ["b.fd", "a.fd"].map(|name| host.path(name).to_str().unwrap().to_owned()).to_vec(),
        secure_boot: both,
        enrolled_keys: both,
        has_varstore: false,
    };
    for release in Release::ALL {
        assert_eq!(host.read(release).unwrap(), expected, "{release}");
    }
}

#[test]
fn the_default_files_are_those_where_no_descriptor_for_the_machine_type_names_a_file() {
    let host = Host::new();
    let loaders = vec![host.path("default.fd").to_str().unwrap().to_owned()];
    let defaults = LoaderFirmware { loaders: loaders.clone(), ..LoaderFirmware::default() };
    assert_eq!(host.read(Release::V11_3).unwrap(), defaults);
    let mut other = host.descriptor("a.fd");
    other["targets"][0]["machines"] = json!(["pc-i440fx-*"]);
    host.write("usr/10", &other);
    assert_eq!(host.read(Release::V11_3).unwrap(), defaults);
    let mut kernel = host.descriptor("a.fd");
    kernel["mapping"] = json!({"device": "kernel", "filename": host.path("a.fd")});
    host.write("usr/20", &kernel);
    let found = host.read(Release::V11_3).unwrap();
    assert_eq!((found.efi, found.loaders), (true, loaders));
    // A file that is named and missing is not replaced.
    host.write("usr/30", &host.descriptor("none.fd"));
    assert_eq!(host.loaders(Release::V11_3), [""; 0]);
}

#[test]
fn every_name_is_read_that_does_not_begin_with_a_dot_in_the_order_of_bytes() {
    let host = Host::new();
    for (name, file) in [("usr/b.conf", "b.fd"), ("etc/a.JSON", "a.fd"), ("usr/.c.json", "c.fd")] {
        fs::write(host.path(file), "").unwrap();
        host.write(name, &host.descriptor(file));
    }
    assert_eq!(host.loaders(Release::V11_3), ["a.fd", "b.fd"]);
    host.write("usr/B~", &host.descriptor("c.fd"));
    assert_eq!(host.loaders(Release::V11_3), ["c.fd", "a.fd", "b.fd"]);
}

#[test]
fn a_regular_file_hides_another_of_its_name_and_nothing_else_does() {
    let host = Host::new();
    host.write("usr/10", &host.descriptor("a.fd"));
    let hiding = host.path("etc/10");
    let is_hidden = || host.loaders(Release::V11_3) != ["a.fd"];
    symlink("/dev/null", &hiding).unwrap();
    assert!(!is_hidden(), "by a device");
    fs::remove_file(&hiding).unwrap();
    fs::create_dir(&hiding).unwrap();
    assert!(!is_hidden(), "by a directory");
    fs::remove_dir(&hiding).unwrap();
    // It is not opened.
    assert!(Command::new("mkfifo").arg(&hiding).status().unwrap().success());
    assert!(!is_hidden(), "by a FIFO");
    fs::remove_file(&hiding).unwrap();
    fs::write(host.path("empty"), "").unwrap();
    symlink("../empty", &hiding).unwrap();
    assert!(is_hidden(), "by an empty file");
    fs::remove_file(&hiding).unwrap();
    fs::write(&hiding, "malformed").unwrap();
    assert!(is_hidden(), "by a malformed descriptor");
    host.write("etc/10", &host.descriptor("b.fd"));
    assert_eq!(host.loaders(Release::V9_0), ["b.fd"]);
}

#[test]
fn a_link_that_leads_nowhere_is_an_error_in_every_release_unless_its_name_begins_with_a_dot() {
    let host = Host::new();
    host.write("etc/10", &host.descriptor("a.fd"));
    symlink("/none", host.path("usr/.10")).unwrap();
    assert_eq!(host.loaders(Release::V12_8), ["a.fd"]);
    symlink("/none", host.path("usr/10")).unwrap();
    for release in Release::ALL {
        let error = host.read(release).unwrap_err();
        let DescriptorError::Read { path, source } = &error else { panic!("{error:?}") };
        assert_eq!((path, source.kind()), (&host.path("usr/10"), io::ErrorKind::NotFound));
    }
}

#[test]
fn a_directory_may_be_missing_and_must_be_one() {
    let host = Host::new();
    host.write("usr/10", &host.descriptor("a.fd"));
    fs::remove_dir(host.path("etc")).unwrap();
    assert_eq!(host.loaders(Release::V11_3), ["a.fd"]);
    fs::write(host.path("etc"), "").unwrap();
    let error = host.read(Release::V11_3).unwrap_err();
    let expected =
        "cannot read /tmp/etc, where libvirt reads firmware descriptors and fails as well";
    let root = host.0.path().to_str().unwrap();
    assert_eq!(error.to_string().replace(root, "/tmp"), expected);
}

#[test]
fn a_malformed_descriptor_is_skipped_by_later_releases_and_an_error_of_earlier_ones() {
    let host = Host::new();
    host.write("usr/10", &host.descriptor("a.fd"));
    let too_long = host.descriptor("b.fd").to_string() + &" ".repeat(1 << 20);
    for (content, cause) in [
        ("{}", Some("malformed (interface-types)")),
        ("null", Some("malformed (interface-types)")),
        ("{", Some("malformed (JSON)")),
        (" ", Some("malformed (JSON)")),
        (too_long.as_str(), None),
    ] {
        fs::write(host.path("usr/20"), content).unwrap();
        for release in [Release::V11_3, Release::V12_8] {
            assert_eq!(host.loaders(release), ["a.fd"], "{release}");
        }
        for release in [Release::V9_0, Release::V10_0] {
            let error = host.read(release).unwrap_err();
            assert_eq!(matches!(error, DescriptorError::Read { .. }), cause.is_none(), "{error}");
            let text = error.to_string();
            assert!(text.contains(cause.unwrap_or("cannot read")), "{text}");
        }
    }
    let longest = too_long.get(..1 << 20).unwrap();
    fs::write(host.path("usr/20"), longest).unwrap();
    assert_eq!(host.loaders(Release::V9_0), ["a.fd", "b.fd"]);
}

#[test]
fn each_part_of_a_descriptor_has_to_be_one_that_libvirt_knows() {
    let absent = || json!("(absent)");
    for (pointer, values, part) in [
        (
            "/interface-types",
            vec![absent(), json!("uefi"), json!(["uefi", "x"])],
            "interface-types",
        ),
        ("/interface-types", vec![json!([""]), json!([1]), json!([null])], "interface-types"),
        ("/mapping", vec![absent(), json!(null), json!("flash")], "mapping"),
        ("/mapping/device", vec![absent(), json!(1), json!(""), json!("igvm")], "mapping"),
        ("/mapping/mode", vec![json!(null), json!(1), json!(""), json!("x")], "mapping"),
        ("/mapping/executable", vec![absent(), json!("/a.fd")], "mapping"),
        ("/mapping/executable/filename", vec![absent(), json!(1)], "mapping"),
        ("/mapping/executable/format", vec![absent(), json!(null)], "mapping"),
        ("/mapping/nvram-template", vec![absent(), json!(null), json!("/a.fd")], "mapping"),
        ("/mapping/nvram-template/filename", vec![absent()], "mapping"),
        ("/mapping/nvram-template/format", vec![absent()], "mapping"),
        ("/targets", vec![absent(), json!("x"), json!(["x"]), json!([{}])], "targets"),
        (
            "/targets",
            vec![json!([{"architecture": "x86_64"}]), json!([{"machines": []}])],
            "targets",
        ),
        ("/targets", vec![json!([{"architecture": "x86_64", "machines": "*"}])], "targets"),
        ("/features", vec![absent(), json!(null), json!("requires-smm")], "features"),
    ] {
        for value in values {
            let descriptor = with(pointer, value);
            for answer in parsed(&descriptor) {
                assert_eq!(answer.unwrap_err(), part, "{descriptor}");
            }
        }
    }
}

#[test]
fn what_libvirt_does_not_know_or_read_elsewhere_does_not_matter() {
    for (pointer, value) in [
        ("/description", json!(1)),
        ("/tags", json!({})),
        ("/interface-types", json!(["openfirmware", "uboot", "bios", "uefi", "uefi"])),
        ("/features", json!(["future", 1, "", "requires-smm"])),
        ("/mapping/executable/format", json!("vmdk")),
        ("/mapping/mode", json!("split")),
    ] {
        let descriptor = with(pointer, value);
        for answer in parsed(&descriptor) {
            let answer = answer.unwrap();
            assert!(answer.runs_on("x86_64", MACHINE) && answer.has_interface("uefi"), "{pointer}");
            assert_eq!(answer.has_feature("requires-smm"), pointer == "/features");
        }
    }
}

#[test]
fn flash_needs_a_template_of_variables_in_the_mode_split_alone() {
    for (mode, is_needed) in [("split", true), ("combined", false), ("stateless", false)] {
        let mut descriptor = with("/mapping/mode", json!(mode));
        for template in [json!(null), json!({"filename": "/none"})] {
            descriptor["mapping"]["nvram-template"] = template;
            for answer in parsed(&descriptor) {
                assert_eq!(answer.is_err(), is_needed, "{mode}");
            }
        }
    }
}

#[test]
fn firmware_without_a_file_is_malformed_and_that_of_a_kernel_unknown_in_later_releases() {
    let is_known = |device: &str, file: Option<&str>| {
        let mapping = json!({"device": device, "filename": file});
        parsed(&with("/mapping", mapping)).map(|answer| answer.is_ok())
    };
    assert_eq!(is_known("memory", Some("/a.fd")), [true; 4]);
    assert_eq!(is_known("memory", None), [true, true, false, false]);
    assert_eq!(is_known("kernel", Some("/a.fd")), [true, true, true, false]);
    assert_eq!(is_known("kernel", None), [true, true, false, false]);
}

#[test]
fn a_variable_store_is_that_of_firmware_for_memory_and_needs_a_template() {
    let has_varstore = |device: &str, store: Value| {
        let mut mapping = with("/mapping/device", json!(device))["mapping"].take();
        mapping["filename"] = json!("/a.fd");
        mapping["uefi-vars"] = store;
        let answers = parsed(&with("/mapping", mapping));
        answers.map(|answer| answer.ok().map(|answer| answer.into_mapping().has_varstore))
    };
    let no = Some(false);
    assert_eq!(has_varstore("memory", json!({"template": "/none"})), [no, no, no, Some(true)]);
    for store in [json!({}), json!(null), json!({"template": 1})] {
        assert_eq!(has_varstore("memory", store.clone()), [no, no, no, None]);
        assert_eq!(has_varstore("flash", store), [no; 4]);
    }
}

#[test]
fn an_architecture_has_to_be_one_that_the_release_has_a_name_of() {
    let is_known = |name: &str| {
        let targets = json!([
            {"architecture": "x86_64", "machines": ["*"]},
            {"architecture": name, "machines": ["*"]},
        ]);
        parsed(&with("/targets", targets)).map(|answer| answer.is_ok())
    };
    for name in ["i386", "i686", "arm", "armv6l", "or32", "openrisc", "ia64", "parisc64", "ppcemb"]
    {
        assert_eq!(is_known(name), [true; 4], "{name}");
    }
    for name in ["", "none", "X86_64", "amd64", "or1k", "hppa", "avr", "rx", "tricore"] {
        assert_eq!(is_known(name), [false; 4], "{name}");
    }
    assert_eq!(is_known("loongarch64"), [false, false, true, true]);
}

#[test]
fn machine_types_are_those_of_the_architecture_that_a_pattern_matches() {
    let runs = |arch: &str, machines: Value| {
        let targets = json!([
            {"architecture": "aarch64", "machines": ["*"]},
            {"architecture": arch, "machines": machines},
        ]);
        parsed(&with("/targets", targets)).map(|answer| answer.unwrap().runs_on("i686", MACHINE))
    };
    assert_eq!(runs("i386", json!(["virt", "pc-q35-?.?"])), [true; 4]);
    assert_eq!(runs("i686", json!([1, null, "*"])), [true; 4]);
    assert_eq!(runs("i386", json!([1, null])), [false; 4]);
    assert_eq!(runs("i386", json!(["pc-q35-[67].2", "q35"])), [false; 4]);
    assert_eq!(runs("x86_64", json!(["*"])), [false; 4]);
}

#[test]
fn of_a_repeated_key_later_releases_read_the_last_value_and_earlier_ones_nothing() {
    let text = with("/features", json!(["requires-smm"])).to_string();
    let first = text.strip_prefix('{').unwrap();
    for (text, has_feature) in [
        (format!(r#"{{"features": [], {first}"#), true),
        (format!(r#"{{"features": 1, "x": {{"y": [{{"z": 1, "z": 2}}]}}, {first}"#), true),
        (text.replace(r#""requires-smm"]"#, r#""requires-smm"], "features": []"#), false),
    ] {
        let read = |release| Descriptor::parse(text.as_bytes(), release);
        for release in [Release::V9_0, Release::V10_0] {
            assert_eq!(read(release).unwrap_err(), Malformed("JSON: a key is repeated"), "{text}");
        }
        for release in [Release::V11_3, Release::V12_8] {
            assert_eq!(read(release).unwrap().has_feature("requires-smm"), has_feature, "{text}");
        }
    }
}

#[test]
fn documents_and_strings_end_at_a_nul() {
    let text = Host::new().descriptor("a.fd").to_string();
    let text = text.replace("pc-q35-*", r"pc-q35-*\u0000x").replace("features", r"features\u0000x");
    let answer = Descriptor::parse((text + "\0x").as_bytes(), Release::V11_3).unwrap();
    assert!(answer.runs_on("x86_64", MACHINE));
}

#[test]
fn no_part_of_a_descriptor_makes_the_reader_panic() {
    let text = Host::new().descriptor("a.fd").to_string();
    let deep = "[".repeat(100_000);
    for release in Release::ALL {
        assert!(Descriptor::parse(deep.as_bytes(), release).is_err());
        for length in 0..text.len() {
            let cut = text.as_bytes().get(..length).unwrap();
            assert_eq!(Descriptor::parse(cut, release).unwrap_err(), Malformed("JSON"));
            for replaced in [b"null", b"\"\\u0", b"[[[[", b"\xff{}0"] {
                let mut bytes = text.clone().into_bytes();
                bytes.splice(length..length + 1, *replaced);
                // Either is right: it is text that may still be a descriptor.
                drop(Descriptor::parse(&bytes, release));
            }
        }
    }
}
