//! Rules without an example in libvirt's recordings, on synthetic replies.

use capscache_format::Accelerator;
use capscache_libvirt::{CapsError, CpuValue, Cpuid, Host, QemuCaps, flags};
use serde_json::{Value, json};

use crate::replies::{REFERENCE, Replies};

const EXPAND: &str = "query-cpu-model-expansion";

fn model(kind: &str, name: &str, props: &Value) -> Value {
    let mut model = json!({"name": name});
    if props.as_object().is_some_and(|props| !props.is_empty()) {
        model["props"] = props.clone();
    }
    json!({"type": kind, "model": model})
}

fn expanded(props: Value) -> Value {
    json!({"model": {"name": "base", "props": props}})
}

/// An x86 emulator without hardware whose host CPU has these properties, and the second ones in the
/// expansion that includes features that cannot be migrated.
fn x86_with(props: &Value, unmigratable: Option<Value>) -> Replies {
    let mut replies = Replies::new("x86_64");
    replies.add_command(EXPAND);
    replies.add_type("max-x86_64-cpu");
    let property = json!({"name": "unavailable-features"});
    replies.add_property("qom-list-properties", "max-x86_64-cpu", property);
    replies.reply_to(EXPAND, model("static", "host", &json!({})), expanded(props.clone()));
    if let Some(others) = unmigratable {
        let host = model("static", "host", &json!({"migratable": false}));
        replies.reply_to(EXPAND, host, expanded(others));
    }
    replies
}

#[test]
fn text_is_escaped_as_libvirt_does_and_also_where_libvirt_could_not_read_it_back() {
    let mut replies = Replies::new("x86_64");
    let package = "a<b&c'd>\u{b}]]>";
    let version = json!({"qemu": {"major": 8, "minor": 0, "micro": 0}, "package": package});
    replies.reply("query-version", version);
    let machine = json!({"name": "x<>&\"'\u{1}\u{1b}\t", "cpu-max": 1});
    replies.reply("query-machines", json!([machine]));
    let host = Host { emulator: "/opt/<q>/é".into(), ..Host::default() };
    let caps = QemuCaps::from_entry(&replies.entry(), host, REFERENCE).unwrap();
    let xml = caps.to_xml();
    assert!(xml.contains("<emulator>/opt/&lt;q&gt;/é</emulator>"), "{xml}");
    assert!(xml.contains("<package>a&lt;b&amp;c'd>]]&gt;</package>"), "{xml}");
    assert!(xml.contains("name='x&lt;&gt;&amp;&quot;&apos;\u{1b}\t'"), "{xml}");
    let error = QemuCaps::from_xml(&xml, REFERENCE).unwrap_err().to_string();
    assert!(error.contains("U+001B is not a character of XML"), "{error}");
    let readable = QemuCaps::from_xml(&xml.replace('\u{1b}', ""), REFERENCE).unwrap();
    assert_eq!(readable.package, "a<b&c'd>]]>");
}

#[test]
fn what_blocks_an_x86_cpu_is_spelt_as_qemu_does() {
    let spellings = [
        ("cmp_legacy", "cmp-legacy"),
        ("ds_cpl", "ds-cpl"),
        ("fxsr_opt", "fxsr-opt"),
        ("kvm_pv_eoi", "kvm-pv-eoi"),
        ("kvm_pv_unhalt", "kvm-pv-unhalt"),
        ("lahf_lm", "lahf-lm"),
        ("nodeid_msr", "nodeid-msr"),
        ("perfctr_core", "perfctr-core"),
        ("perfctr_nb", "perfctr-nb"),
        ("tsc_adjust", "tsc-adjust"),
        ("pclmuldq", "pclmulqdq"),
        ("vmx-invvpid-single-context-noglobals", "vmx-invept-single-context-noglobals"),
        ("hv-vendor_id", "hv-vendor-id"),
        ("hv-emsr_bitmap", "hv-emsr-bitmap"),
        ("hv-xmm_input", "hv-xmm-input"),
        ("svm", "svm"),
        ("svm", "svm"),
    ];
    let reported = spellings.map(|(reported, _)| reported);
    for (arch, expected) in [("x86_64", spellings.map(|(_, kept)| kept)), ("riscv64", reported)] {
        let mut replies = Replies::new(arch);
        replies.add_command("query-cpu-definitions");
        let definition = json!([{"name": "old", "unavailable-features": reported}]);
        replies.reply("query-cpu-definitions", definition);
        assert_eq!(replies.caps().tcg.cpus[0].blockers, expected);
    }
}

#[test]
fn models_of_ppc64_are_spelt_as_libvirt_does() {
    for (arch, expected) in [("ppc64", "POWER9"), ("ppc", "power9")] {
        let mut replies = Replies::new(arch);
        replies.add_command("query-cpu-definitions");
        replies.reply("query-cpu-definitions", json!([{"name": "power9", "typename": ""}]));
        let cpu = &replies.caps().tcg.cpus[0];
        assert_eq!((cpu.name.as_str(), &cpu.typename, cpu.usable), (expected, &None, None));
    }
}

#[test]
fn properties_that_are_not_switches_text_or_numbers_of_64_bits_are_dropped() {
    let props = json!({
        "on": true, "text": " x ", "least": i64::MIN, "most": i64::MAX, "more": u64::MAX,
        "much more": 18_446_744_073_709_551_552_u64, "nothing": null, "part": 1.5, "list": [1],
    });
    let host_cpu = x86_with(&props, None).caps().tcg.host_cpu.unwrap();
    let kept: Vec<_> = host_cpu.properties.iter().map(|p| (p.name.as_str(), &p.value)).collect();
    let expected = [
        ("on", &CpuValue::Boolean(true)),
        ("text", &CpuValue::String(" x ".into())),
        ("least", &CpuValue::Number(i64::MIN)),
        ("most", &CpuValue::Number(i64::MAX)),
    ];
    assert_eq!(kept, expected);
    assert!(!host_cpu.migratability);
}

#[test]
fn a_feature_that_cannot_be_migrated_is_on_and_marked() {
    let props = json!({"a": true, "b": false, "c": false, "d": true, "e": 1, "f": true});
    let others = json!({"a": true, "b": true, "c": false, "d": 5, "e": 1});
    let host_cpu = x86_with(&props, Some(others)).caps().tcg.host_cpu.unwrap();
    let kept: Vec<_> =
        host_cpu.properties.iter().map(|p| (p.value.clone(), p.migratable)).collect();
    let boolean = CpuValue::Boolean;
    let expected = [
        (boolean(true), Some(true)),
        (boolean(true), Some(false)),
        (boolean(false), None),
        (boolean(true), None),
        (CpuValue::Number(1), None),
        (boolean(true), None),
    ];
    assert_eq!(kept, expected);
    assert!(host_cpu.migratability);
}

#[test]
fn architectures_have_libvirts_names() {
    for (qemu, libvirt) in
        [("i386", "i686"), ("arm", "armv7l"), ("or32", "openrisc"), ("sh4eb", "sh4eb")]
    {
        assert_eq!(Replies::new(qemu).caps().arch, libvirt);
    }
    for unknown in ["avr", "rx", "tricore", "hppa", "or1k", "nios2"] {
        let entry = Replies::new(unknown).entry();
        let error = QemuCaps::from_entry(&entry, Host::default(), REFERENCE).unwrap_err();
        assert!(error.to_string().contains(&format!("{unknown:?}")), "{error}");
        assert!(!flags(&entry, REFERENCE).get("kvm").unwrap());
    }
}

#[test]
fn kvm_must_be_present_and_enabled() {
    for (enabled, present) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut replies = Replies::new("x86_64");
        replies.reply("query-kvm", json!({"enabled": enabled, "present": present}));
        let set = flags(&replies.entry(), REFERENCE);
        assert_eq!(set.get("kvm"), Some(enabled && present), "{enabled} {present}");
    }
}

#[test]
fn a_property_is_disabled_by_default_only_if_its_default_is_false() {
    for (default, expected) in
        [(json!(false), true), (json!(true), false), (json!(0), false), (Value::Null, false)]
    {
        let mut replies = Replies::new("x86_64");
        let mut property = json!({"name": "scsi", "type": "bool"});
        if !default.is_null() {
            property["default-value"] = default.clone();
        }
        replies.add_property("device-list-properties", "virtio-blk-pci", property);
        let set = flags(&replies.entry(), REFERENCE);
        let name = "virtio-blk-pci.scsi.default.disabled";
        assert_eq!(set.get(name), Some(expected), "{default}");
        assert_eq!(set.get("virtio-blk-pci.scsi"), Some(true));
    }
}

fn order(arch: &str, machines: Value) -> Vec<String> {
    let mut replies = Replies::new(arch);
    replies.reply("query-machines", machines);
    replies.caps().tcg.machines.into_iter().map(|machine| machine.name).collect()
}

#[test]
fn the_last_machine_with_the_preferred_name_comes_first_and_otherwise_the_last_default() {
    let machines = json!([
        {"name": "a"}, {"name": "pc-1", "alias": "pc"}, {"name": "none"}, {"name": "pc"},
        {"name": "b", "is-default": true}, {"name": "c", "is-default": true}, {"name": "d"},
    ]);
    assert_eq!(order("x86_64", machines.clone()), ["pc", "a", "pc-1", "b", "c", "d"]);
    // None of them has the name of ARM's preferred machine.
    assert_eq!(order("aarch64", machines), ["c", "a", "pc-1", "pc", "b", "d"]);
    assert_eq!(order("aarch64", json!([{"name": "a"}, {"name": "b"}])), ["a", "b"]);
    assert_eq!(
        order("alpha", json!([{"name": "a"}, {"name": "x", "alias": "clipper"}])),
        ["x", "a"]
    );
}

#[test]
fn a_machine_without_details_has_numa_memory_and_unknown_acpi() {
    let mut replies = Replies::new("x86_64");
    let full = json!({"name": "f", "cpu-max": 288, "hotpluggable-cpus": true, "alias": "g",
        "is-default": true, "default-cpu-type": "host-x86_64-cpu", "numa-mem-supported": false,
        "default-ram-id": "ram", "deprecated": true, "acpi": false});
    replies.reply("query-machines", json!([full, {"name": "m"}]));
    let xml = replies.xml();
    assert!(
        xml.contains("<machine type='tcg' name='m' maxCpus='0' numaMemSupported='yes'/>"),
        "{xml}"
    );
    let expected = "<machine type='tcg' name='f' alias='g' hotplugCpus='yes' maxCpus='288' \
        default='yes' defaultCPU='host-x86_64-cpu' defaultRAMid='ram' deprecated='yes' acpi='no'/>";
    assert!(xml.contains(expected), "{xml}");
}

#[test]
fn without_tpm_models_tpm_types_set_no_flag() {
    let mut replies = Replies::new("x86_64");
    replies.reply("query-tpm-models", json!(["tpm-tis"]));
    replies.reply("query-tpm-types", json!(["emulator", "passthrough"]));
    let set = flags(&replies.entry(), REFERENCE);
    assert_eq!((set.get("tpm-tis"), set.get("tpm-emulator")), (Some(true), Some(true)));
    replies.refuse("query-tpm-models", "CommandNotFound");
    let set = flags(&replies.entry(), REFERENCE);
    assert_eq!((set.get("tpm-tis"), set.get("tpm-emulator")), (Some(false), Some(false)));
}

#[test]
fn an_arm_without_gic_capabilities_has_none_and_others_are_not_queried() {
    let gic = json!([{"version": 3, "kernel": true, "emulated": false}]);
    for (arch, count) in [("aarch64", 1), ("arm", 1), ("riscv64", 0)] {
        let mut replies = Replies::new(arch);
        replies.reply("query-gic-capabilities", gic.clone());
        assert_eq!(replies.caps().gic.len(), count, "{arch}");
        replies.refuse("query-gic-capabilities", "CommandNotFound");
        assert!(replies.caps().gic.is_empty(), "{arch}");
    }
}

#[test]
fn sev_is_kept_for_snp_alone_and_without_the_identity_of_the_first_cpu() {
    let sev = json!({"cbitpos": 51, "reduced-phys-bits": 1, "pdh": "P<", "cert-chain": "C"});
    for name in ["sev-guest", "sev-snp-guest"] {
        let mut replies = Replies::new("x86_64");
        replies.add_type(name);
        replies.reply("query-sev-capabilities", sev.clone());
        let caps = replies.caps();
        assert_eq!(caps.flags.get(name), Some(true));
        let xml = caps.to_xml();
        assert!(xml.contains("    <certChain>C</certChain>\n  </sev>"), "{xml}");
        assert!(xml.contains("<pdh>P&lt;</pdh>"), "{xml}");
        replies.refuse("query-sev-capabilities", "GenericError");
        let caps = replies.caps();
        assert_eq!((caps.flags.get(name), caps.sev), (Some(false), None));
        replies.omit("query-sev-capabilities");
        assert_eq!(replies.caps().flags.get(name), Some(false), "the same as refused");
    }
}

#[test]
fn without_a_reply_that_libvirt_requires_there_are_no_capabilities() {
    let keeps = |replies: &Replies| {
        QemuCaps::from_entry(&replies.entry(), Host::default(), REFERENCE).map(|_| ())
    };
    for what in [
        "query-qmp-schema",
        "query-kvm",
        "qom-list-types",
        "query-machines",
        "query-command-line-options",
        "query-migrate-capabilities",
    ] {
        let mut replies = Replies::new("x86_64");
        assert_eq!(keeps(&replies), Ok(()));
        replies.refuse(what, "CommandNotFound");
        assert_eq!(keeps(&replies), Err(CapsError::Missing { what }));
        replies.omit(what);
        assert_eq!(keeps(&replies), Err(CapsError::Missing { what }));
    }
    let mut cut = Replies::new("x86_64");
    cut.reply("query-kvm", json!({"enabled": true, "present": true}));
    assert_eq!(keeps(&cut), Ok(()), "without TCG there is no second pass");
    cut.add_type("tcg-accel");
    assert_eq!(keeps(&cut), Err(CapsError::Missing { what: "query-machines under TCG" }));
    for name in ["sev-guest", "sev-snp-guest"] {
        let mut sev = Replies::new("x86_64");
        sev.add_type(name);
        sev.reply("query-sev-capabilities", json!({"cbitpos": 51, "pdh": "P", "cert-chain": "C"}));
        assert_eq!(keeps(&sev), Err(CapsError::Missing { what: "query-sev-capabilities" }));
    }
}

#[test]
fn sgx_requires_sections_and_adds_them_up_if_there_is_no_sum() {
    let with = |answer: Value| {
        let mut replies = Replies::new("x86_64");
        replies.add_type("sgx-epc");
        replies.reply("query-sgx-capabilities", answer);
        replies.caps()
    };
    let sections = json!([{"node": 0, "size": 4096}, {"node": 1, "size": 8192}]);
    let summed = with(json!({"flc": true, "sgx1": true, "sgx2": false, "sections": sections}));
    assert_eq!(summed.sgx.as_ref().unwrap().section_size, 12);
    let reported = with(json!({"flc": true, "sections": [], "section-size": 1_048_576}));
    assert_eq!(reported.sgx.as_ref().unwrap().section_size, 1024);
    assert!(!reported.to_xml().contains("<sections>"));
    let old = with(json!({"flc": true, "section-size": 1_048_576}));
    assert_eq!((old.flags.get("sgx-epc"), old.sgx), (Some(false), None));
}

#[test]
fn an_old_x86_is_expanded_twice() {
    let mut replies = Replies::new("x86_64");
    replies.add_command(EXPAND);
    let fixed = json!({"name": "base", "props": {"pclmuldq": true, "xlevel": 7}});
    let host = model("static", "host", &json!({}));
    replies.reply_to(EXPAND, host, json!({"model": fixed.clone()}));
    assert_eq!(replies.caps().tcg.host_cpu, None, "the second was not queried");
    let full = json!({"model": {"name": "full", "props": {"pclmulqdq": true}}});
    replies.reply_to(EXPAND, json!({"type": "full", "model": fixed}), full);
    let host_cpu = replies.caps().tcg.host_cpu.unwrap();
    assert_eq!(host_cpu.model, "full");
    assert_eq!(host_cpu.properties[0].name, "pclmulqdq");
}

#[test]
fn the_esp_is_on_32_bit_machines_of_mips_m68k_and_sparc() {
    for (arch, expected) in
        [("mips", true), ("m68k", true), ("sparc", true), ("sparc64", false), ("mipsel", false)]
    {
        assert_eq!(
            flags(&Replies::new(arch).entry(), REFERENCE).get("ncr53c90"),
            Some(expected),
            "{arch}"
        );
    }
}

#[test]
fn enlightenments_are_counted_by_value_and_spelling() {
    let props = json!({
        "hv-relaxed": true, "hv-vapic": false, "hv-spinlocks": 4095, "hv-vendor-id": "",
        "hv-avic": 0, "hv-emsr-bitmap": true, "hv-time": true, "hv-xmm_input": true, "relaxed": true,
    });
    let mut replies = x86_with(&json!({}), None);
    let props_of_query = json!({"migratable": false, "hv-passthrough": true});
    replies.reply_to(EXPAND, model("full", "host", &props_of_query), expanded(props));
    let caps = replies.caps();
    assert_eq!(caps.hyperv, ["relaxed", "spinlocks", "vendor_id", "emsr_bitmap", "xmm_input"]);
    let none = json!({"hv-vapic": false, "hv-time": true});
    replies.reply_to(EXPAND, model("full", "host", &props_of_query), expanded(none));
    assert!(!replies.xml().contains("hypervCapabilities"));
}

#[test]
fn without_tcg_its_part_is_empty() {
    let mut replies = Replies::with_kvm("x86_64");
    let machines = |name: &str| json!([{"name": name, "cpu-max": 1}]);
    replies.reply("query-machines", machines("of-kvm"));
    replies.second("query-machines", machines("of-tcg"));
    let caps = replies.caps();
    assert_eq!((caps.kvm.machines.len(), caps.tcg.machines.len()), (1, 1));
    assert_eq!(caps.tcg.machines[0].name, "of-tcg");
    replies.reply("qom-list-types", json!([]));
    let caps = replies.caps();
    assert_eq!((caps.kvm.machines.len(), caps.tcg.machines.len()), (1, 0));
}

#[test]
fn the_second_pass_expands_the_maximal_cpu_and_the_first_the_host_cpu() {
    let mut replies = Replies::with_kvm("s390x");
    replies.add_command(EXPAND);
    replies.add_command("query-cpu-definitions");
    let answer = |name: &str| json!({"model": {"name": name}, "deprecated-props": ["x"]});
    replies.reply_to(EXPAND, model("static", "host", &json!({})), answer("of-host"));
    replies.second_to(EXPAND, model("static", "max", &json!({})), answer("of-max"));
    replies.second("query-cpu-definitions", json!([{"name": "max"}]));
    let caps = replies.caps();
    assert_eq!(caps.kvm.host_cpu.unwrap().model, "of-host");
    let tcg = caps.tcg.host_cpu.unwrap();
    assert_eq!((tcg.model.as_str(), tcg.deprecated), ("of-max", vec!["x".to_owned()]));
    assert_eq!(caps.flags.get("cpu-max"), Some(true), "the second pass may set it");
}

#[test]
fn an_emulator_without_an_accelerator_of_libvirt_has_no_capabilities() {
    let caps = |replies: Replies| {
        QemuCaps::from_entry(&replies.entry(), Host::default(), REFERENCE).map(|caps| caps.arch)
    };
    let without = caps(Replies::new("x86_64").under(Accelerator::Qtest));
    assert_eq!(without, Err(CapsError::NoAccelerator));
    assert_eq!(caps(Replies::new("x86_64").under(Accelerator::Tcg)), Ok("x86_64".to_owned()));
}

#[test]
fn the_caller_declares_hardware_that_qmp_does_not_report() {
    let mut replies = Replies::new("x86_64").under(Accelerator::Hvf);
    replies.reply("query-machines", json!([{"name": "pc"}]));
    let caps = replies.caps();
    assert_eq!(caps.flags.names().collect::<Vec<_>>(), ["hvf"]);
    assert_eq!((caps.hvf.machines.len(), caps.tcg.machines.len()), (1, 0));
    assert!(replies.xml().contains("<machine type='hvf' name='pc'"));
}

/// A CPUID leaf, as a probe records it.
fn leaf([function, index, eax, ebx, ecx, edx]: [u32; 6]) -> Value {
    json!({"function": function, "index": index, "eax": eax, "ebx": ebx, "ecx": ecx, "edx": edx})
}

#[test]
fn values_that_differ_between_processors_are_not_cpu_data() {
    let bytes = |text: &[u8; 4]| u32::from_le_bytes(*text);
    let vendor = |b, d, c| [0, 0, 1, bytes(b), bytes(c), bytes(d)];
    let others = [
        [0x8000_001e, 0, 1, 2, 3, 4],
        [0xb, 1, 0, 0, 0, 0x0000_0105],
        [7, 0, 0, 0, 0, 0],
        [1, 0, 9, 0xff00_0800, 0, 0],
    ];
    let caps = |vendor| {
        let leaves = others.into_iter().chain([vendor]).map(leaf).collect();
        Replies::with_kvm("x86_64").on_host_with(leaves).caps()
    };
    let kept = |caps: &QemuCaps| {
        let of = |leaf: &Cpuid| [leaf.eax_in, leaf.ecx_in, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx];
        caps.cpu_data.as_ref().unwrap().cpuid.iter().map(of).collect::<Vec<_>>()
    };
    let amd = caps(vendor(b"Auth", b"enti", b"cAMD"));
    assert_eq!(kept(&amd)[1..], [[1, 0, 9, 0x800, 0, 0], [0xb, 1, 0, 0, 0, 0x100]]);
    let intel = caps(vendor(b"Genu", b"ineI", b"ntel"));
    assert_eq!(kept(&intel).last(), Some(&[0x8000_001e, 0, 1, 2, 3, 4]));
    let xml = intel.to_xml();
    let line = "    <cpuid eax_in='0x00000001' ecx_in='0x00000000' eax='0x00000009' \
        ebx='0x00000800' ecx='0x00000000' edx='0x00000000'/>\n";
    assert!(xml.contains(line), "{xml}");
    assert_eq!(QemuCaps::from_xml(&xml, REFERENCE).unwrap(), intel);
}

#[test]
fn cpu_data_is_kept_only_if_kvm_reported_it_and_runs_an_x86() {
    let leaves = || json!([leaf([0, 0, 1, 2, 3, 4])]);
    let has = |replies: Replies| replies.caps().cpu_data.is_some();
    assert!(has(Replies::with_kvm("i386").on_host_with(leaves())));
    assert!(!has(Replies::with_kvm("i386")), "not queried");
    assert!(!has(Replies::new("x86_64").on_host_with(leaves())), "KVM is not in use");
    assert!(!has(Replies::with_kvm("s390x").on_host_with(leaves())));
    for damaged in [json!(17), json!([{"function": 0}]), json!([null, leaf([0; 6])])] {
        assert!(!has(Replies::with_kvm("x86_64").on_host_with(damaged)));
    }
}

#[test]
fn the_last_group_of_options_with_a_name_counts() {
    let mut replies = Replies::new("x86_64");
    for parameters in [json!([{"name": "gl"}]), json!([])] {
        let option = json!({"option": "spice", "parameters": parameters});
        replies.add("query-command-line-options", option);
    }
    let set = flags(&replies.entry(), REFERENCE);
    assert_eq!((set.get("spice"), set.get("spice-gl")), (Some(true), Some(false)));
}
