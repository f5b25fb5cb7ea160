//! Output in libvirt's form: flags and XML.

use std::fs;
use std::path::Path;

use crate::{Dir, avr, emulator, x86_64};

#[test]
fn flags_of_libvirt_are_answered_beside_other_queries() {
    let dir = Dir::new();
    let run = dir.run(&["query", &x86_64(), "flag:VGA", "machine:q35", "flag:s390-sclp"]);
    assert_eq!(run.stdout, "flag:VGA\tyes\nmachine:q35\tyes\nflag:s390-sclp\tno\n");
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_flag_that_libvirt_never_had_is_reported_before_any_probe() {
    let dir = Dir::new();
    let never = dir.run(&["query", &x86_64(), "flag:qxxl"]);
    assert_eq!((never.code, never.stdout.as_str()), (Some(2), ""));
    let complaint = never.complaint();
    assert!(
        complaint.starts_with("cannot query the flag \"qxxl\": libvirt ")
            && complaint.contains(" does not have it; the nearest are qxl"),
        "{complaint}"
    );
    let retired = dir.run(&["query", &x86_64(), "flag:vnc-colon"]);
    assert_eq!(retired.code, Some(2));
    assert!(
        retired.complaint().contains("cannot query the flag \"vnc-colon\": libvirt retired it"),
        "{retired:?}"
    );
    let kind = dir.run(&["query", &x86_64(), "colour:red"]);
    assert!(kind.complaint().ends_with("option, schema, flag"), "{kind:?}");
    assert!(!dir.root().exists());
}

#[test]
fn flags_and_xml_are_those_of_the_requested_release() {
    let dir = Dir::new();
    let path = x86_64();
    let answer = |release| {
        let run = dir.run(&["query", &path, "flag:iothread", "--libvirt", release]);
        (run.code, run.stdout)
    };
    assert_eq!(answer("9.0"), (Some(0), "flag:iothread\tyes\n".to_owned()));
    assert_eq!(answer("9.0.0"), answer("9.0"));
    assert_eq!(answer("11.3"), (Some(2), String::new()), "retired");
    let later = dir.run(&["query", &path, "flag:nvme", "--libvirt", "11.3"]);
    assert!(later.complaint().contains("does not have it, and 12.8 does"), "{later:?}");
    let flags = |release| dir.answer(&["inspect", &path, "flags", "--json", "--libvirt", release]);
    assert!(flags("9.0").contains("\"iothread\"") && !flags("9.0").contains("\"nvme\""));
    assert!(flags("12.8").contains("\"nvme\"") && !flags("12.8").contains("\"iothread\""));
    let export = ["export", &path, "--format", "libvirt-xml", "--libvirt"];
    let xml = |release| dir.answer(&[&export[..], &[release]].concat());
    assert!(xml("9.0").contains("  <kvmVersion>0</kvmVersion>\n"));
    assert!(!xml("10.0").contains("<kvmVersion>"));
}

#[test]
fn an_unknown_release_is_reported_with_the_known_ones_before_any_probe() {
    let dir = Dir::new();
    let path = x86_64();
    for command in [
        &["export", &path, "--format", "libvirt-xml"][..],
        &["query", &path, "flag:VGA"],
        &["inspect", &path, "flags"],
        &["replay", "/none/recording", "--format", "libvirt-xml"],
    ] {
        let run = dir.run(&[command, &["--libvirt", "11.2"]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        assert!(
            run.stderr.contains(
                "cannot use the release \"11.2\" of libvirt: known are 9.0, 10.0, 11.3, 12.8"
            ),
            "{run:?}"
        );
    }
    assert!(!dir.root().exists());
}

#[test]
fn an_emulator_is_exported_as_libvirt_would_cache_it() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let path = emulator("s390x");
    let arguments = ["--self-ctime", "17", "--self-version", "11003000"];
    let xml = dir.answer(&[&["export", &path, "--format", "libvirt-xml"], &arguments[..]].concat());
    let element = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name}"));
        rest.split('<').next().unwrap().to_owned()
    };
    let status = fs::metadata(&path).unwrap();
    assert_eq!(element("emulator"), path);
    assert_eq!(element("qemuctime"), status.ctime().to_string());
    assert_eq!((element("selfctime").as_str(), element("selfvers").as_str()), ("17", "11003000"));
    assert_eq!(element("arch"), "s390x");
    let flags = dir.answer(&["inspect", &path, "flags"]);
    assert!(xml.contains("<flag name='s390-sclp'/>") && flags.contains("\ns390-sclp\n"));
    assert!(xml.starts_with("<qemuCaps>\n  <emulator>") && xml.ends_with("\n</qemuCaps>\n"));
}

#[test]
fn an_architecture_that_libvirt_has_no_name_for_is_a_clear_error() {
    let dir = Dir::new();
    let run = dir.run(&["export", &avr(), "--format", "libvirt-xml"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    let complaint = run.complaint();
    assert!(
        complaint
            .contains("cannot export for libvirt: it has no name for the architecture \"avr\""),
        "{complaint}"
    );
    assert!(complaint.contains("--format json"), "{complaint}");
    assert_eq!(dir.run(&["query", &avr(), "flag:kvm"]).stdout, "flag:kvm\tno\n");
}

#[test]
fn a_recording_is_replayed_as_libvirt_would_cache_it() {
    let dir = Dir::new();
    let recording = dir.path("recording");
    dir.answer(&["record", &emulator("riscv64"), "-o", recording.to_str().unwrap()]);
    let replay = |arguments: &[&str]| {
        let first = ["replay", recording.to_str().unwrap(), "--format", "libvirt-xml"];
        dir.answer(&[&first[..], arguments].concat())
    };
    let plain = replay(&[]);
    assert!(plain.contains("<emulator>/usr/bin/qemu-system-riscv64</emulator>"));
    for zero in ["qemuctime", "selfctime", "selfvers", "microcodeVersion"] {
        assert!(plain.contains(&format!("  <{zero}>0</{zero}>\n")), "{zero}");
    }
    let xml = replay(&["--emulator", "/opt/q", "--microcode-version", "7"]);
    assert!(xml.contains("<emulator>/opt/q</emulator>"));
    assert!(xml.contains("<microcodeVersion>7</microcodeVersion>"));
    // Only 9.0 has this element.
    for (release, has_it) in [("9.0", true), ("10.0", false), ("11.3", false), ("12.8", false)] {
        let xml = replay(&["--libvirt", release]);
        assert_eq!(xml.contains("<kvmVersion>"), has_it, "{release}");
    }
}

#[test]
fn domain_capabilities_are_those_of_the_machine_and_accelerator() {
    let dir = Dir::new();
    let path = emulator("aarch64");
    let export = |arguments: &[&str]| {
        dir.run(&[&["export", &path, "--format", "domcapabilities"], arguments].concat())
    };
    let xml = export(&["--machine", "virt", "--virttype", "qemu"]).stdout;
    let start = format!("<domainCapabilities>\n  <path>{path}</path>\n  <domain>qemu</domain>\n");
    assert!(xml.starts_with(&start) && xml.ends_with("</domainCapabilities>\n"), "{xml}");
    // The alias has become a name, and libvirt's preferred machine type is the same.
    assert!(xml.contains("  <machine>virt-") && xml.contains("<arch>aarch64</arch>"), "{xml}");
    assert!(xml.contains("<model usable='unknown' vendor='unknown'>cortex-a57</model>"), "{xml}");
    assert_eq!(export(&["--virttype", "qemu"]).stdout, xml);
    let vax = export(&["--machine", "vax", "--virttype", "qemu"]);
    assert_eq!((vax.code, vax.stdout.as_str()), (Some(2), ""));
    let complaint = vax.complaint();
    assert!(
        complaint.contains("the machine type \"vax\": libvirt does not find it under qemu"),
        "{complaint}"
    );
    let hvf = export(&["--virttype", "hvf"]);
    let hvf = hvf.complaint();
    assert!(hvf.contains("domains of type hvf: the emulator does not run under it"), "{hvf}");
}

#[test]
fn cpu_models_of_x86_are_said_to_be_missing_exactly_without_libvirts_cpu_map() {
    let dir = Dir::new();
    let x86_64 = x86_64();
    let export = |more: &[&str]| {
        let arguments = ["export", &x86_64, "--format", "domcapabilities", "--virttype", "qemu"];
        dir.run(&[&arguments, more].concat())
    };
    let run = export(&[]);
    let has_map = Path::new(capscache_libvirt::CpuMap::FOLDER).exists();
    assert_eq!(
        run.stderr.contains("the CPU models are unknown: they depend on"),
        !has_map,
        "{run:?}"
    );
    assert_eq!(run.stdout.contains("<!-- the other modes are unknown"), !has_map, "{run:?}");
    assert_eq!(run.stdout.contains("canonical='qemu64-v1'>qemu64</model>"), has_map, "{run:?}");
    // A map that is named is read, and must be one.
    let empty = dir.path("map");
    std::fs::create_dir(&empty).unwrap();
    let run = export(&["--cpu-map", empty.to_str().unwrap()]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.stderr.contains("map/index.xml, a file of libvirt's CPU map"), "{run:?}");
}

#[test]
fn domain_capabilities_have_the_parts_of_the_release() {
    let dir = Dir::new();
    let path = emulator("aarch64");
    let export = |release: &str| {
        let arguments = ["export", &path, "--format", "domcapabilities", "--virttype", "qemu"];
        dir.answer(&[&arguments[..], &["--machine", "virt", "--libvirt", release]].concat())
    };
    let releases = ["9.0", "10.0", "11.3", "12.8"].map(export);
    for (part, expected) in [
        ("<disk supported='yes'>", [true; 4]),
        ("<crypto supported='yes'>", [false, true, true, true]),
        ("<panic supported='", [false, false, true, true]),
        ("<ps2 supported='no'/>", [false, false, true, true]),
        ("<value>handle</value>", [true, true, true, false]),
        ("<console supported='yes'>", [false, false, false, true]),
        ("<tdx supported='no'/>", [false, false, false, true]),
        ("<varstore supported='no'/>", [false, false, false, true]),
    ] {
        assert_eq!(releases.each_ref().map(|xml| xml.contains(part)), expected, "{part}");
    }
}

#[test]
fn domain_capabilities_of_a_recording_have_no_facts_of_this_host() {
    let dir = Dir::new();
    let recording = dir.path("recording");
    dir.answer(&["record", &emulator("riscv64"), "-o", recording.to_str().unwrap()]);
    let xml = dir.answer(&[
        "replay",
        recording.to_str().unwrap(),
        "--format",
        "domcapabilities",
        "--machine",
        "virt",
    ]);
    for part in [
        "<path>/usr/bin/qemu-system-riscv64</path>\n  <domain>qemu</domain>\n  <machine>virt</machine>\n",
        "<enum name='firmware'/>\n    <loader supported='yes'>\n      <enum name='type'>",
        "<enum name='pciBackend'/>",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
}

#[test]
fn a_recording_of_a_hundred_megabytes_is_refused() {
    let dir = Dir::new();
    let recording = dir.path("recording");
    let file = std::fs::File::create(&recording).unwrap();
    file.set_len(100_000_000).unwrap();
    let run = dir.run(&["replay", recording.to_str().unwrap(), "--format", "libvirt-xml"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.stderr.contains("longer than the limit of 67108864 bytes"), "{run:?}");
}
