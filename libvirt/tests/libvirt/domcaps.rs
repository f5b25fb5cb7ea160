//! The domain capabilities that libvirt's own tests expect, if present, from the recordings that are there.
//!
//! The surroundings are those of libvirt's tests, whose host is made up.

use std::fs;
use std::path::Path;

use capscache_libvirt::{
    CpuMap, Domain, DomainCaps, GuestCpu, Host, LoaderFirmware, QemuCaps, SevGuests, Surroundings,
    Swtpm, VirtType,
};

use crate::folder::{caps_of, difference, files, folder};

/// The difference of a file whose recording is not there.
const NO_RECORDING: &str = "its recording is not there";

/// The parts of a name `qemu_VERSION[-tcg|-hvf][-MACHINE].ARCH[+VARIANT].xml`.
struct Name<'n> {
    version: &'n str,
    arch: &'n str,
    /// The architecture with its variant.
    emulator: &'n str,
    virt_type: VirtType,
    machine: Option<&'n str>,
}

impl<'n> Name<'n> {
    fn of(name: &'n str) -> Name<'n> {
        let (rest, emulator) = name.strip_prefix("qemu_").unwrap().rsplit_once('.').unwrap();
        let mut words = rest.split('-');
        let version = words.next().unwrap();
        let (mut virt_type, mut machine) = (VirtType::Kvm, None);
        for word in words {
            match word {
                "tcg" => virt_type = VirtType::Qemu,
                "hvf" => virt_type = VirtType::Hvf,
                word => machine = Some(word),
            }
        }
        let arch = emulator.split('+').next().unwrap();
        Name { version, arch, emulator, virt_type, machine }
    }
}

/// Returns the domain that libvirt's test chooses: it does so for KVM too where the recording has none.
fn domain(caps: &QemuCaps, name: &Name<'_>) -> Domain {
    let virt_type = name.virt_type;
    let own = match virt_type {
        VirtType::Kvm => &caps.kvm,
        VirtType::Hvf => &caps.hvf,
        VirtType::Qemu => &caps.tcg,
    };
    let machine = match name.machine {
        None => own.machines.first().or(caps.tcg.machines.first()).unwrap().name.clone(),
        Some(name) => {
            let has_alias = |machine: &&_| machine_alias(machine) == Some(name);
            own.machines.iter().find(has_alias).map_or(name, |machine| &machine.name).to_owned()
        }
    };
    Domain { virt_type, machine }
}

fn machine_alias(machine: &capscache_libvirt::Machine) -> Option<&str> {
    machine.alias.as_deref()
}

/// Returns the made-up host of libvirt's tests.
fn surroundings<'m>(name: &Name<'_>, machine: &str, map: Option<&'m CpuMap>) -> Surroundings<'m> {
    let is_x86 = name.arch == "x86_64";
    Surroundings {
        kvm_max_vcpus: Some(i32::MAX.unsigned_abs()),
        phys_addr_bits: (name.arch != "s390x").then_some(64),
        firmware: LoaderFirmware {
            bios: is_x86,
            efi: ["x86_64", "aarch64", "riscv64", "loongarch64"].contains(&name.arch),
            secure: machine.starts_with("pc-q35-"),
            loaders: [1, 2].map(|n| format!("/obviously/fake/firmware{n}.fd")).to_vec(),
            ..LoaderFirmware::default()
        },
        cpu_map: map,
        host_cpu: Some(GuestCpu { model: "POWER8".to_owned(), ..GuestCpu::default() }),
        sev_guests: SevGuests { max: 59, max_es: 450 },
        has_vfio: false,
        has_iommufd: false,
        // The tests of QEMU 6.2 have a host with both versions.
        swtpm: Some(Swtpm { has_1_2: name.version == "6.2.0", has_2_0: true }),
        has_rdp: true,
        host_arch: None,
    }
}

/// Adds VFIO, which libvirt's test does for all emulators.
fn has_vfio(caps: &mut DomainCaps) {
    let hostdev = caps.devices.iter_mut().find(|device| device.name == "hostdev").unwrap();
    let backends = hostdev.enums.iter_mut().flatten().find(|list| list.name == "pciBackend");
    backends.unwrap().values = vec!["default", "vfio"];
}

/// Returns a document without its CPUs.
fn without_cpus(document: &str) -> String {
    let (before, rest) = document.split_once("  <cpu>\n").unwrap();
    format!("{before}{}", rest.split_once("  </cpu>\n").unwrap().1)
}

/// Compares a file with what is derived from its recording; returns how they differ.
fn compare(file: &Path, has_map: bool) -> Result<(), String> {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let name = Name::of(name);
    let recording = format!("caps_{}_{}.replies", name.version, name.emulator);
    let recording = folder("corpus").join(recording);
    if !recording.exists() {
        return Err(NO_RECORDING.to_owned());
    }
    let host = Host {
        emulator: format!("/usr/bin/qemu-system-{}", name.arch),
        kvm_supports_secure_guest: true,
        ..Host::default()
    };
    let caps = caps_of(&recording, host);
    let domain = domain(&caps, &name);
    let map = has_map.then(|| CpuMap::read_for(Path::new(CpuMap::FOLDER), name.arch).unwrap());
    let surroundings = surroundings(&name, &domain.machine, map.as_ref());
    let mut ours = DomainCaps::from_caps(&caps, &domain, &surroundings);
    has_vfio(&mut ours);
    let expected = fs::read_to_string(file).unwrap();
    let (ours, expected) = match ours.lacks_cpu_map() {
        true => (without_cpus(&ours.to_xml()), without_cpus(&expected)),
        false => (ours.to_xml(), expected),
    };
    difference(&ours, &expected).map_or(Ok(()), Err)
}

#[test]
fn every_recording_yields_the_domain_capabilities_of_libvirts_tests() {
    let files = files("domcaps", "xml");
    let has_map = Path::new(CpuMap::FOLDER).join("index.xml").exists();
    if !has_map {
        println!(
            "SKIPPED: libvirt's CPU map is not there: {}: CPUs of x86 and ppc64 are not compared",
            CpuMap::FOLDER
        );
    }
    let (mut report, mut wrong, mut missing) = (String::new(), 0, 0);
    for file in &files {
        let Err(how) = compare(file, has_map) else { continue };
        let count = if how == NO_RECORDING { &mut missing } else { &mut wrong };
        *count += 1;
        report += &format!("{}: {how}\n", file.file_name().unwrap().display());
    }
    if missing > 0 {
        println!("SKIPPED: {missing} of {} files have no recording beside them", files.len());
    }
    let different = wrong + missing;
    let identical = files.len() - different;
    println!("{report}domcaps: {identical} identical, {different} different of {}", files.len());
    assert_eq!(wrong, 0, "{report}");
    assert!(identical > 0, "no file of {} has its recording", files.len());
}
