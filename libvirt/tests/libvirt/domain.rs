//! Rules of domain capabilities that libvirt's recordings do not show.

use capscache_libvirt::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, Domain, DomainCaps, DomainError,
    EnlightenmentValues, FlagSet, Gic, GuestCpu, HostCpu, LoaderFirmware, Machine, Mode, Presence,
    QemuCaps, Release, SevGuests, Surroundings, VirtType,
};

/// Capabilities under KVM and TCG, with the machine types `NAME[=ALIAS]` under both.
fn caps(arch: &str, flags: &[&str], machines: &[&str]) -> QemuCaps {
    let machine = |text: &&str| {
        let (name, alias) = text.split_once('=').map_or((*text, None), |(n, a)| (n, Some(a)));
        let alias = alias.map(str::to_owned);
        Machine { name: name.to_owned(), alias, max_cpus: 255, ..Machine::default() }
    };
    let machines: Vec<Machine> = machines.iter().map(machine).collect();
    let of = || AcceleratorCaps { machines: machines.clone(), ..AcceleratorCaps::default() };
    let mut set = FlagSet::default();
    assert!(["kvm", "tcg"].iter().chain(flags).all(|flag| set.insert(flag)), "{flags:?}");
    let arch = arch.to_owned();
    QemuCaps { arch, flags: set, kvm: of(), tcg: of(), ..QemuCaps::default() }
}

fn domain(virt_type: VirtType, machine: &str) -> Domain {
    Domain { virt_type, machine: machine.to_owned() }
}

fn xml(caps: &QemuCaps, domain: &Domain, surroundings: &Surroundings<'_>) -> String {
    DomainCaps::from_caps(caps, domain, surroundings).to_xml()
}

fn cpu(name: &str) -> Cpu {
    Cpu { name: name.to_owned(), ..Cpu::default() }
}

#[test]
fn an_alias_is_the_machine_that_has_it_and_the_first_machine_is_the_default() {
    let caps = caps("x86_64", &[], &["pc-i440fx-9.2=pc", "pc-q35-9.2=q35", "isapc"]);
    let chosen = |machine, virt_type| Domain::of(&caps, machine, virt_type);
    assert_eq!(chosen(None, None), Ok(domain(VirtType::Kvm, "pc-i440fx-9.2")));
    let q35 = Ok(domain(VirtType::Qemu, "pc-q35-9.2"));
    assert_eq!(chosen(Some("q35"), Some(VirtType::Qemu)), q35);
    assert_eq!(chosen(Some("isapc"), None), Ok(domain(VirtType::Kvm, "isapc")));
}

#[test]
fn a_machine_and_an_accelerator_that_the_emulator_lacks_are_errors() {
    let mut caps = caps("x86_64", &[], &["pc-i440fx-9.2=pc"]);
    let machine = DomainError::Machine { machine: "vax".into(), virt_type: VirtType::Kvm };
    assert_eq!(Domain::of(&caps, Some("vax"), None), Err(machine));
    let hvf = DomainError::VirtType { virt_type: VirtType::Hvf };
    assert_eq!(Domain::of(&caps, None, Some(VirtType::Hvf)), Err(hvf));
    caps.kvm.machines.clear();
    let none = DomainError::NoMachines { virt_type: VirtType::Kvm };
    assert_eq!(Domain::of(&caps, None, None), Err(none));
}

#[test]
fn the_number_of_cpus_is_limited_by_kvm_under_kvm_only() {
    let caps = caps("x86_64", &[], &["pc"]);
    let surroundings = Surroundings { kvm_max_vcpus: Some(8), ..Surroundings::default() };
    assert!(xml(&caps, &domain(VirtType::Kvm, "pc"), &surroundings).contains("<vcpu max='8'/>"));
    assert!(xml(&caps, &domain(VirtType::Qemu, "pc"), &surroundings).contains("<vcpu max='255'/>"));
    let other = xml(&caps, &domain(VirtType::Kvm, "other"), &surroundings);
    assert!(!other.contains("<vcpu"), "{other}");
}

#[test]
fn without_libvirts_cpu_map_a_comment_replaces_the_modes_that_depend_on_it() {
    let mut caps = caps("x86_64", &[], &["pc"]);
    caps.tcg.cpus = vec![cpu("qemu64")];
    let qemu = domain(VirtType::Qemu, "pc");
    let found = DomainCaps::from_caps(&caps, &qemu, &Surroundings::default());
    assert!(found.lacks_cpu_map());
    let expected = "  <cpu>\n    <mode name='host-passthrough' supported='no'/>\n    \
        <mode name='maximum' supported='no'/>\n    <!-- the other modes are unknown: they depend on the CPU map of that \
        release of libvirt, which is not installed -->\n  </cpu>\n";
    assert!(found.to_xml().contains(expected), "{}", found.to_xml());
}

#[test]
fn models_of_arm_need_no_map_and_are_ordered_by_name_without_the_host() {
    let mut caps = caps("aarch64", &["cpu-max"], &["virt-9.2=virt"]);
    caps.tcg.cpus = ["max", "host", "cortex-a57", "cortex-a53"].map(cpu).to_vec();
    let found =
        DomainCaps::from_caps(&caps, &domain(VirtType::Qemu, "virt-9.2"), &Surroundings::default());
    let Mode::Supported(models) = &found.cpu.custom else { panic!("{:?}", found.cpu) };
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["cortex-a53", "cortex-a57", "max"]);
    assert_eq!(found.cpu.maximum, Some(vec!["on", "off"]));
    assert_eq!((found.cpu.host_model, found.cpu.host_passthrough), (Mode::Unsupported, None));
}

#[test]
fn architectures_without_a_driver_in_libvirt_have_no_models() {
    let mut caps = caps("sparc", &[], &["SS-5"]);
    caps.tcg.cpus = vec![cpu("LEON2")];
    let found =
        DomainCaps::from_caps(&caps, &domain(VirtType::Qemu, "SS-5"), &Surroundings::default());
    assert_eq!(found.cpu.custom, Mode::Unsupported);
}

#[test]
fn old_machines_of_s390_under_kvm_have_the_hosts_cpu_only() {
    let mut caps = caps("s390x", &["cpu-max"], &["s390-ccw-virtio-9.2", "s390-ccw-virtio-2.7"]);
    let on = |name: &str, is_on| CpuProperty {
        name: name.to_owned(),
        value: CpuValue::Boolean(is_on),
        migratable: None,
    };
    let host = HostCpu {
        model: "gen16a-base".to_owned(),
        properties: vec![on("nnpa", true), on("te", false)],
        ..HostCpu::default()
    };
    for accelerator in [&mut caps.kvm, &mut caps.tcg] {
        accelerator.host_cpu = Some(host.clone());
        accelerator.cpus = ["z14", "qemu"].map(cpu).to_vec();
    }
    let of = |virt_type, machine| xml(&caps, &domain(virt_type, machine), &Surroundings::default());
    let full = of(VirtType::Kvm, "s390-ccw-virtio-9.2");
    for part in [
        "<model fallback='forbid'>gen16a-base</model>\n",
        "<feature policy='require' name='nnpa'/>\n      <feature policy='disable' name='te'/>\n",
        "<model usable='unknown' vendor='unknown'>qemu</model>\n      \
         <model usable='unknown' vendor='IBM'>z14</model>\n",
    ] {
        assert!(full.contains(part), "{part} {full}");
    }
    let old = of(VirtType::Kvm, "s390-ccw-virtio-2.7");
    for mode in ["maximum", "host-model", "custom"] {
        assert!(old.contains(&format!("<mode name='{mode}' supported='no'/>")), "{mode} {old}");
    }
    assert!(old.contains("<mode name='host-passthrough' supported='yes'>"), "{old}");
    assert!(of(VirtType::Qemu, "s390-ccw-virtio-2.7").contains("gen16a-base"));
}

#[test]
fn on_ppc64_the_model_of_the_host_is_that_of_the_surroundings() {
    let caps = caps("ppc64", &[], &["pseries-9.2=pseries"]);
    let kvm = domain(VirtType::Kvm, "pseries-9.2");
    let host_cpu = Some(GuestCpu { model: "POWER9".to_owned(), ..GuestCpu::default() });
    let own = Surroundings { host_cpu, ..Surroundings::default() };
    assert!(xml(&caps, &kvm, &own).contains("<model fallback='allow'>POWER9</model>"));
    let unknown = xml(&caps, &kvm, &Surroundings::default());
    assert!(unknown.contains("<!-- the mode host-model is unknown"), "{unknown}");
    assert!(unknown.contains("<mode name='custom' supported='no'/>"), "{unknown}");
    assert!(unknown.contains("<value>pseries</value>") && !unknown.contains("floppy"), "{unknown}");
}

#[test]
fn a_host_of_another_architecture_has_no_cpu_to_pass_through() {
    let caps = caps("i686", &[], &["pc"]);
    let of = |host: &str| {
        let surroundings =
            Surroundings { host_arch: Some(host.to_owned()), ..Surroundings::default() };
        let found = DomainCaps::from_caps(&caps, &domain(VirtType::Kvm, "pc"), &surroundings);
        found.cpu.host_passthrough
    };
    assert_eq!(of("x86_64"), Some(vec!["off"]));
    assert_eq!(of("i686"), Some(vec!["off"]));
    assert_eq!(of("aarch64"), None);
}

#[test]
fn interrupt_controllers_are_those_of_the_accelerator_on_the_machine_virt() {
    let mut caps = caps("aarch64", &[], &["virt-9.2=virt", "raspi3b"]);
    caps.gic = vec![
        Gic { version: 3, kernel: true, emulated: true },
        Gic { version: 2, kernel: false, emulated: true },
    ];
    let versions = |virt_type, machine| {
        let domain = domain(virt_type, machine);
        let found = DomainCaps::from_caps(&caps, &domain, &Surroundings::default());
        found.features.gic.enums.map(|enums| enums[0].values.clone())
    };
    assert_eq!(versions(VirtType::Kvm, "virt-9.2"), Some(vec!["3"]));
    assert_eq!(versions(VirtType::Qemu, "virt-9.2"), Some(vec!["2", "3"]));
    assert_eq!(versions(VirtType::Qemu, "raspi3b"), None);
}

#[test]
fn the_toggle_of_ps2_is_that_of_pcs() {
    let caps = caps("x86_64", &["machine-i8042-opt"], &["pc"]);
    let of = |machine| {
        let xml = xml(&caps, &domain(VirtType::Qemu, machine), &Surroundings::default());
        xml.contains("<ps2 supported='yes'/>")
    };
    for machine in ["pc", "pc-i440fx-9.2", "pc-q35-9.2", "isapc", "xenfv-4.2", "rhel6.6.0"] {
        assert!(of(machine), "{machine}");
    }
    for machine in ["microvm", "xenpv", "pc-2.0", "virt"] {
        assert!(!of(machine), "{machine}");
    }
}

#[test]
fn encrypted_guests_are_counted_by_the_identities_of_cpuid() {
    let data = |ecx, edx| CpuData {
        cpuid: vec![Cpuid { eax_in: 0x8000_001f, ecx, edx, ..Cpuid::default() }],
        msrs: Vec::new(),
    };
    assert_eq!(SevGuests::of(&data(509, 451)), SevGuests { max: 59, max_es: 450 });
    assert_eq!(SevGuests::of(&data(509, 0)), SevGuests::default());
    assert_eq!(SevGuests::of(&CpuData::default()), SevGuests::default());
}

#[test]
fn values_of_enlightenments_are_those_of_the_ones_that_the_emulator_has() {
    let mut caps = caps("x86_64", &[], &["pc"]);
    caps.hyperv = ["spinlocks", "stimer", "vendor_id"].map(str::to_owned).to_vec();
    caps.hyperv_values = EnlightenmentValues {
        spinlocks: 4095,
        stimer_direct: Some(true),
        tlbflush_direct: Some(true),
        tlbflush_extended: None,
        vendor_id: Some("a<b".to_owned()),
    };
    let of = |caps: &QemuCaps| xml(caps, &domain(VirtType::Kvm, "pc"), &Surroundings::default());
    let defaults = "<defaults>\n        <spinlocks>4095</spinlocks>\n        \
        <stimer_direct>on</stimer_direct>\n        <vendor_id>a&lt;b</vendor_id>\n      </defaults>\n";
    assert!(of(&caps).contains(defaults), "{}", of(&caps));
    caps.release = Release::V11_3;
    assert!(!of(&caps).contains("<defaults>"), "{}", of(&caps));
}

#[test]
fn tdx_needs_kvm_with_such_guests_on_x86_64() {
    let of = |arch: &str, virt_type, has_guests| {
        let mut caps = caps(arch, &["tdx-guest"], &["q35"]);
        caps.kvm_supports_secure_guest = has_guests;
        xml(&caps, &domain(virt_type, "q35"), &Surroundings::default())
    };
    let supported = "<tdx supported='yes'/>";
    assert!(of("x86_64", VirtType::Kvm, true).contains(supported));
    for other in [
        of("x86_64", VirtType::Kvm, false),
        of("x86_64", VirtType::Qemu, true),
        of("i686", VirtType::Kvm, true),
    ] {
        assert!(other.contains("<tdx supported='no'/>"), "{other}");
        assert!(other.contains("<value>tdx</value>"), "{other}");
    }
}

#[test]
fn iommufd_needs_vfio_the_kernel_and_the_emulator() {
    let lists = |flags: &[&str], has_vfio, has_iommufd| {
        let caps = caps("x86_64", flags, &["q35"]);
        let surroundings = Surroundings { has_vfio, has_iommufd, ..Surroundings::default() };
        let found = DomainCaps::from_caps(&caps, &domain(VirtType::Kvm, "q35"), &surroundings);
        let hostdev = found.devices.iter().find(|device| device.name == "hostdev").unwrap();
        hostdev.enums.iter().flatten().find(|list| list.name == "iommufd").unwrap().values.clone()
    };
    assert_eq!(lists(&["iommufd"], true, true), ["yes", "no"]);
    assert_eq!(lists(&[], true, true), ["no"]);
    assert_eq!(lists(&["iommufd"], false, true), ["no"]);
    assert_eq!(lists(&["iommufd"], true, false), ["no"]);
}

#[test]
fn floppy_disks_need_a_controller_where_the_release_knows_it() {
    let has_floppy = |release, flags: &[&str]| {
        let caps = QemuCaps { release, ..caps("x86_64", flags, &["q35"]) };
        let xml = xml(&caps, &domain(VirtType::Kvm, "q35"), &Surroundings::default());
        assert_eq!(xml.contains("<value>floppy</value>"), xml.contains("<value>fdc</value>"));
        xml.contains("<value>floppy</value>")
    };
    assert_eq!(Release::ALL.map(|release| has_floppy(release, &[])), [true, true, true, false]);
    assert!(has_floppy(Release::V12_8, &["bus-floppy"]));
}

#[test]
fn firmware_features_and_variable_stores_are_reported_by_the_newest_release() {
    let firmware = LoaderFirmware {
        secure_boot: Presence { some_have: true, some_lack: true },
        enrolled_keys: Presence { some_have: false, some_lack: true },
        has_varstore: true,
        ..LoaderFirmware::default()
    };
    let surroundings = Surroundings { firmware, ..Surroundings::default() };
    let of = |release, flags: &[&str]| {
        let caps = QemuCaps { release, ..caps("x86_64", flags, &["q35"]) };
        xml(&caps, &domain(VirtType::Kvm, "q35"), &surroundings)
    };
    let newest = of(Release::V12_8, &["uefi-vars"]);
    for part in [
        "<enum name='secureBoot'>\n        <value>yes</value>\n        <value>no</value>\n",
        "<enum name='enrolledKeys'>\n        <value>no</value>\n      </enum>\n",
        "</loader>\n    <varstore supported='yes'/>\n  </os>\n",
    ] {
        assert!(newest.contains(part), "{part} {newest}");
    }
    assert!(of(Release::V12_8, &[]).contains("<varstore supported='no'/>"));
    let older = of(Release::V11_3, &[]);
    assert!(!older.contains("varstore") && !older.contains("firmwareFeatures"), "{older}");
}
