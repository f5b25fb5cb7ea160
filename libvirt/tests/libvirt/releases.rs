//! Differences between the files of releases, beside their flags.

use capscache_libvirt::{CapsError, EnlightenmentValues, Host, QemuCaps, Release, UnknownRelease};
use serde_json::{Value, json};

use crate::replies::Replies;

const EXPAND: &str = "query-cpu-model-expansion";

#[test]
fn releases_are_parsed_with_and_without_the_number_of_a_correction() {
    for (text, release, version) in [
        ("9.0", Release::V9_0, 9_000_000),
        ("9.0.0", Release::V9_0, 9_000_000),
        ("10.0", Release::V10_0, 10_000_000),
        ("11.3.1", Release::V11_3, 11_003_000),
        ("12.8", Release::V12_8, 12_008_000),
    ] {
        assert_eq!(Release::parse(text), Ok(release), "{text}");
        assert_eq!(release.version(), version);
        assert_eq!(Release::of_version(version + 999), Ok(release));
        assert_eq!(Release::parse(&release.to_string()), Ok(release));
    }
    let unknown =
        ["", "9", "9.", "9.1", "9.0.0.0", "9.0-rc1", "+9.0", " 9.0", "11.03.1x", "99999999999.0"];
    for text in unknown {
        assert_eq!(Release::parse(text), Err(UnknownRelease { requested: text.into() }), "{text}");
    }
    let error = Release::of_version(11_002_001).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot use the release \"11.2.1\" of libvirt: known are 9.0, 10.0, 11.3, 12.8; choose one \
         of them (--libvirt)"
    );
    assert!(Release::ALL.is_sorted());
    assert_eq!(Release::ALL.last(), Some(&Release::default()));
}

fn xml(replies: &Replies, release: Release) -> String {
    let caps = replies.caps_of(release);
    let xml = caps.to_xml();
    assert_eq!(QemuCaps::from_xml(&xml, release).unwrap(), caps, "{release}");
    xml
}

#[test]
fn the_version_of_kvm_is_there_up_to_9_and_acpi_of_machines_since_10() {
    let mut replies = Replies::new("x86_64");
    replies.reply("query-machines", json!([{"name": "m", "acpi": false}]));
    for (release, version_of_kvm, acpi) in [
        (Release::V9_0, true, false),
        (Release::V10_0, false, true),
        (Release::V11_3, false, true),
        (Release::V12_8, false, true),
    ] {
        let xml = xml(&replies, release);
        let line = "  <version>8002001</version>\n  <kvmVersion>0</kvmVersion>\n";
        assert_eq!(xml.contains(line), version_of_kvm, "{release}");
        assert_eq!(xml.contains(" acpi='no'/>"), acpi, "{release}");
    }
}

#[test]
fn a_qemu_that_a_release_refuses_is_an_error_with_both_versions() {
    let at = |minor: u32, major: u32, release| {
        let mut replies = Replies::new("x86_64");
        let qemu = json!({"major": major, "minor": minor, "micro": 99});
        replies.reply("query-version", json!({"qemu": qemu, "package": ""}));
        QemuCaps::from_entry(&replies.entry(), Host::default(), release).map(|caps| caps.version)
    };
    for (release, major, minor) in [
        (Release::V9_0, 4, 2),
        (Release::V10_0, 4, 2),
        (Release::V11_3, 6, 2),
        (Release::V12_8, 7, 2),
    ] {
        assert_eq!(at(minor, major, release), Ok(1_000_000 * major + 1000 * minor + 99));
        let (version, oldest) = (format!("{major}.{}.99", minor - 1), format!("{major}.{minor}.0"));
        let error = CapsError::TooOld { release, version, oldest };
        assert_eq!(at(minor - 1, major, release), Err(error));
    }
}

#[test]
fn arm_and_risc_v_prefer_virt_since_10() {
    let machines = json!([
        {"name": "other", "is-default": true}, {"name": "integratorcp"}, {"name": "spike_v1.10"},
        {"name": "virt"},
    ]);
    for (arch, old, new) in [
        ("aarch64", "integratorcp", "virt"),
        ("arm", "integratorcp", "virt"),
        ("riscv32", "spike_v1.10", "virt"),
        ("riscv64", "spike_v1.10", "virt"),
        ("alpha", "other", "other"),
    ] {
        let mut replies = Replies::new(arch);
        replies.reply("query-machines", machines.clone());
        for (release, expected) in
            [(Release::V9_0, old), (Release::V10_0, new), (Release::V12_8, new)]
        {
            let caps = replies.caps_of(release);
            assert_eq!(caps.tcg.machines[0].name, expected, "{arch} {release}");
        }
    }
}

#[test]
fn loongarch_has_a_name_since_11() {
    let entry = Replies::new("loongarch64").entry();
    for (release, is_known) in
        [(Release::V9_0, false), (Release::V10_0, false), (Release::V11_3, true)]
    {
        let caps = QemuCaps::from_entry(&entry, Host::default(), release);
        assert_eq!(caps.is_ok(), is_known, "{release}");
    }
}

#[test]
fn blockers_with_new_spellings_are_kept_by_old_releases() {
    let mut replies = Replies::new("x86_64");
    replies.add_command("query-cpu-definitions");
    let reported = ["hv-vendor_id", "vmx-invvpid-single-context-noglobals", "lahf_lm"];
    let model = json!([{"name": "m", "unavailable-features": reported}]);
    replies.reply("query-cpu-definitions", model);
    let blockers = |release| replies.caps_of(release).tcg.cpus[0].blockers.clone();
    assert_eq!(blockers(Release::V9_0), [reported[0], reported[1], "lahf-lm"]);
    let new = ["hv-vendor-id", "vmx-invept-single-context-noglobals", "lahf-lm"];
    assert_eq!(blockers(Release::V11_3), new);
}

/// An s390x under KVM whose expansions report these deprecated features.
fn deprecating(of_static: &[&str], of_full: &[&str]) -> Replies {
    let mut replies = Replies::with_kvm("s390x");
    replies.add_command(EXPAND);
    let schema = json!({"name": EXPAND, "meta-type": "command", "ret-type": "r", "arg-type": "0"});
    let members = json!([{"name": "deprecated-props", "type": "str"}]);
    let types = json!({"name": "r", "meta-type": "object", "members": members});
    let text = json!({"name": "str", "meta-type": "builtin", "json-type": "string"});
    replies.reply("query-qmp-schema", json!([schema, types, text]));
    for (kind, names) in [("static", of_static), ("full", of_full)] {
        let answer = json!({"model": {"name": "z", "props": {}}, "deprecated-props": names});
        replies.reply_to(EXPAND, json!({"type": kind, "model": {"name": "host"}}), answer);
    }
    replies
}

#[test]
fn deprecated_features_are_none_then_one_list_and_then_two() {
    let lists = |replies: &Replies, release| {
        let xml = xml(replies, release);
        let host_cpu = replies.caps_of(release).kvm.host_cpu.unwrap();
        let both = (host_cpu.deprecated, host_cpu.host_deprecated);
        assert_eq!(xml.contains("<deprecatedFeatures>"), !both.0.is_empty());
        assert_eq!(xml.contains("<hostDeprecatedFeatures>"), !both.1.is_empty());
        both
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let both = deprecating(&["a"], &["a", "b"]);
    assert_eq!(lists(&both, Release::V9_0), (vec![], vec![]));
    assert_eq!(lists(&both, Release::V11_3), (names(&["a", "b"]), vec![]));
    assert_eq!(lists(&both, Release::V12_8), (names(&["a", "b"]), names(&["a"])));
    let of_static = deprecating(&["a"], &[]);
    assert_eq!(lists(&of_static, Release::V11_3), (names(&["a"]), vec![]));
    assert_eq!(lists(&of_static, Release::V12_8), (vec![], names(&["a"])));
}

/// An x86 whose CPU has these enlightenments.
fn enlightened(props: Value) -> Replies {
    let mut replies = Replies::with_kvm("x86_64");
    replies.add_command(EXPAND);
    let wanted = json!({"migratable": false, "hv-passthrough": true});
    let arguments = json!({"type": "full", "model": {"name": "host", "props": wanted}});
    replies.reply_to(EXPAND, arguments, json!({"model": {"name": "base", "props": props}}));
    replies
}

#[test]
fn enlightenments_have_values_since_12() {
    let replies = enlightened(json!({
        "hv-relaxed": true, "hv-spinlocks": 4095, "hv-stimer-direct": false,
        "hv-tlbflush-direct": true, "hv-tlbflush-ext": true, "hv-vendor-id": "Linux & KVM",
        "hv-emsr-bitmap": true,
    }));
    let names = |release| replies.caps_of(release).hyperv;
    assert_eq!(names(Release::V9_0), ["relaxed", "spinlocks", "vendor_id"]);
    assert_eq!(names(Release::V11_3), ["relaxed", "spinlocks", "vendor_id", "emsr_bitmap"]);
    let caps = replies.caps_of(Release::V12_8);
    let values = EnlightenmentValues {
        spinlocks: 4095,
        stimer_direct: Some(false),
        tlbflush_direct: Some(true),
        tlbflush_extended: Some(true),
        vendor_id: Some("Linux & KVM".into()),
    };
    assert_eq!((caps.hyperv, caps.hyperv_values), (names(Release::V11_3), values));
    let written = xml(&replies, Release::V12_8);
    let expected = "    <cap name='emsr_bitmap'/>\n    <spinlocks>4095</spinlocks>\n    \
        <stimer_direct>off</stimer_direct>\n    <tlbflush_direct>on</tlbflush_direct>\n    \
        <tlbflush_extended>on</tlbflush_extended>\n    <vendor_id>Linux &amp; KVM</vendor_id>\n  \
        </hypervCapabilities>\n";
    assert!(written.contains(expected), "{written}");
    assert!(!xml(&replies, Release::V11_3).contains("<spinlocks>"));
}

#[test]
fn an_enlightenment_of_another_type_has_no_value() {
    let props = json!({"hv-relaxed": true, "hv-spinlocks": u32::MAX, "hv-vendor-id": true,
        "hv-stimer-direct": 1});
    let caps = enlightened(props).caps_of(Release::V12_8);
    assert_eq!(caps.hyperv, ["relaxed", "spinlocks"]);
    assert_eq!(caps.hyperv_values, EnlightenmentValues::default());
    let alone = json!({"hv-stimer-direct": true, "hv-vendor-id": 5});
    let caps = enlightened(alone).caps_of(Release::V12_8);
    assert_eq!((caps.hyperv.len(), caps.hyperv_values), (0, EnlightenmentValues::default()));
}

#[test]
fn without_hardware_the_first_pass_expands_the_host_unless_qemu_reports_its_accelerator() {
    let mut replies = Replies::new("s390x");
    replies.add_command(EXPAND);
    for name in ["host", "max"] {
        let arguments = json!({"type": "static", "model": {"name": name}});
        replies.reply_to(EXPAND, arguments, json!({"model": {"name": name, "props": {}}}));
    }
    let model = |replies: &Replies, release| replies.caps_of(release).tcg.host_cpu.unwrap().model;
    assert_eq!(model(&replies, Release::V11_3), "host");
    assert_eq!(model(&replies, Release::V12_8), "host");
    replies.add_command("query-accelerators");
    assert_eq!(model(&replies, Release::V11_3), "host");
    assert_eq!(model(&replies, Release::V12_8), "max");
}

#[test]
fn tdx_is_a_flag_and_a_secure_guest_of_hosts_that_have_it() {
    let mut replies = Replies::with_kvm("x86_64");
    replies.add_type("tdx-guest");
    let on = |kvm_supports_tdx, release| {
        let host = Host { kvm_supports_tdx, ..Host::default() };
        let caps = QemuCaps::from_entry(&replies.entry(), host, release).unwrap();
        (caps.flags.get("tdx-guest"), caps.kvm_supports_secure_guest)
    };
    assert_eq!(on(true, Release::V12_8), (Some(true), true));
    assert_eq!(on(false, Release::V12_8), (Some(false), false));
    assert_eq!(on(true, Release::V11_3), (Some(false), false));
}

#[test]
fn a_file_is_read_as_its_release_does() {
    let mut replies = deprecating(&["a"], &["b"]);
    replies.reply("query-machines", json!([{"name": "m", "acpi": true}]));
    replies.add_type("nvme");
    let newest = xml(&replies, Release::V12_8);
    let error = QemuCaps::from_xml(&newest, Release::V11_3).unwrap_err().to_string();
    assert!(error.contains("flag@name cannot be \"nvme\""), "{error}");
    let flags =
        newest.lines().filter(|line| !line.contains("'nvme'")).collect::<Vec<_>>().join("\n");
    let caps = QemuCaps::from_xml(&flags, Release::V11_3).unwrap();
    let host_cpu = caps.kvm.host_cpu.unwrap();
    assert_eq!((host_cpu.deprecated.len(), host_cpu.host_deprecated.len()), (1, 0));
    let old: String = flags
        .lines()
        .filter(|line| !line.contains("deprecated-props'/>"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let caps = QemuCaps::from_xml(&old, Release::V9_0).unwrap();
    assert_eq!(caps.kvm.machines[0].acpi, None);
    assert_eq!(caps.kvm.host_cpu.unwrap().deprecated.len(), 0);
    let cap = "<hypervCapabilities supported='yes'><cap name='xmm_input'/><spinlocks>x</spinlocks>\
        </hypervCapabilities></qemuCaps>";
    let with = old.replace("</qemuCaps>", cap);
    assert!(QemuCaps::from_xml(&with, Release::V9_0).is_err(), "an enlightenment of 11.3");
    assert!(QemuCaps::from_xml(&with, Release::V11_3).is_ok(), "no values are read");
    let error = QemuCaps::from_xml(&with, Release::V12_8).unwrap_err().to_string();
    assert!(error.contains("<spinlocks> cannot be \"x\""), "{error}");
}
