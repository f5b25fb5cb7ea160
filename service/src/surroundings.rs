//! The facts of this host that libvirt's domain capabilities depend on, read as libvirt reads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use capscache::firmware::{FirmwareList, firmware_directories};
use capscache_libvirt::{
    CpuData, CpuMap, DEFAULT_FIRMWARE, LoaderFirmware, Presence, SevGuests, Surroundings, Swtpm,
    architecture,
};
use rustix::fs::{Access, access};

/// The programs of the emulator of TPMs.
const SWTPM: [&str; 3] = ["swtpm", "swtpm_setup", "swtpm_ioctl"];

/// Returns the facts of this host. `arch` is QEMU's name of the architecture; `machine` is not an alias.
pub(crate) fn of_this_host<'m>(
    arch: &str,
    machine: &str,
    cpu_data: Option<&CpuData>,
    cpu_map: Option<&'m CpuMap>,
) -> Surroundings<'m> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let groups = fs::read_dir("/sys/kernel/iommu_groups");
    Surroundings {
        host_arch: Some(architecture()),
        kvm_max_vcpus: capscache::probe::kvm_max_vcpus(),
        phys_addr_bits: phys_addr_bits(&cpuinfo),
        firmware: firmware(&descriptors(), arch, machine),
        cpu_map,
        host_cpu: None,
        sev_guests: cpu_data.map(SevGuests::of).unwrap_or_default(),
        has_vfio: groups.is_ok_and(|mut groups| groups.next().is_some())
            && Path::new("/dev/vfio/vfio").exists(),
        has_iommufd: Path::new("/dev/iommu").exists(),
        swtpm: swtpm(),
        has_rdp: program("qemu-rdp").is_some(),
    }
}

/// Returns the descriptors of firmware; those of the user only if it is not root, as in libvirt's system instance.
fn descriptors() -> FirmwareList {
    let mut directories = firmware_directories();
    if rustix::process::geteuid().is_root() {
        directories.retain(|path| path.starts_with("/etc") || path.starts_with("/usr/share"));
    }
    FirmwareList::read(&directories)
}

/// Returns the firmware for a machine (`qemuFirmwareGetSupported`): where none is described, libvirt's default files.
fn firmware(list: &FirmwareList, arch: &str, machine: &str) -> LoaderFirmware {
    let mut found = LoaderFirmware::default();
    let fitting = list.found.iter().map(|firmware| &firmware.descriptor);
    for descriptor in fitting.filter(|descriptor| descriptor.runs_on(arch, machine)) {
        found.bios |= descriptor.interface_types.iter().any(|interface| interface == "bios");
        found.efi |= descriptor.interface_types.iter().any(|interface| interface == "uefi");
        let has = |feature| descriptor.features.iter().any(|own| own == feature);
        found.secure |= has("requires-smm");
        count(&mut found.secure_boot, has("secure-boot"));
        count(&mut found.enrolled_keys, has("enrolled-keys"));
        let mapping = &descriptor.mapping;
        found.has_varstore |= mapping.device == "memory" && mapping.varstore_template.is_some();
        let is_listed = ["flash", "memory"].contains(&mapping.device.as_str());
        let file = mapping.executable.as_ref().filter(|_| is_listed);
        found.loaders.extend(file.map(|file| file.filename.clone()));
    }
    if list.found.is_empty() {
        found.loaders.extend(DEFAULT_FIRMWARE.iter().map(|(code, _)| (*code).to_owned()));
    }
    let mut seen = Vec::new();
    found.loaders.retain(|path| {
        let is_new = !seen.contains(path) && Path::new(path).exists();
        seen.push(path.clone());
        is_new
    });
    found
}

fn count(presence: &mut Presence, has_feature: bool) {
    presence.some_have |= has_feature;
    presence.some_lack |= !has_feature;
}

/// Returns the number of bits of physical addresses of an x86 CPU (`virHostCPUParsePhysAddrSize`).
fn phys_addr_bits(cpuinfo: &str) -> Option<u32> {
    let (_, rest) = cpuinfo.split_once("\naddress sizes")?;
    let value = rest.split_once(':')?.1.trim_start();
    value.split_once(' ')?.0.parse().ok()
}

/// Returns the path of a program in `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut paths = std::env::split_paths(&path).map(|directory| directory.join(name));
    paths.find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}

/// Returns what the emulator of TPMs has, by its own report; `None` if one of its programs is missing.
fn swtpm() -> Option<Swtpm> {
    let [Some(_), Some(setup), Some(_)] = SWTPM.map(program) else { return None };
    let mut command = Command::new(setup);
    command.arg("--print-capabilities").stdin(Stdio::null()).stderr(Stdio::null());
    let report = command.output().map(|output| output.stdout).unwrap_or_default();
    Some(features(&report))
}

/// Reads the report of `swtpm_setup --print-capabilities`: older programs have none.
fn features(report: &[u8]) -> Swtpm {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap_or_default();
    let features = report.get("features").and_then(serde_json::Value::as_array);
    let has = |name: &str| features.is_some_and(|all| all.iter().any(|feature| feature == name));
    Swtpm { has_1_2: has("tpm-1.2"), has_2_0: has("tpm-2.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_addresses_are_the_physical_ones_of_the_first_processor() {
        let cpuinfo = "processor\t: 0\naddress sizes\t: 46 bits physical, 57 bits virtual\n\
            processor\t: 1\naddress sizes\t: 40 bits physical, 48 bits virtual\n";
        assert_eq!(phys_addr_bits(cpuinfo), Some(46));
        assert_eq!(phys_addr_bits("processor : 0\nvendor_id : IBM/S390\n"), None);
    }

    #[test]
    fn the_versions_of_tpms_are_those_that_swtpm_reports() {
        let report = br#"{"type": "swtpm_setup", "features": ["cmdarg-pwdfile-fd", "tpm-2.0"]}"#;
        assert_eq!(features(report), Swtpm { has_1_2: false, has_2_0: true });
        assert_eq!(features(b"usage"), Swtpm::default());
    }

    #[test]
    fn firmware_is_that_of_the_machine_each_file_once_if_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let code = directory.path().join("code.fd");
        fs::write(&code, "").unwrap();
        let write = |name: &str, features: &str, file: &Path, machine: &str| {
            let text = format!(
                r#"{{"interface-types": ["uefi"], "features": [{features}],
                    "mapping": {{"device": "flash", "executable": {{"filename": "{}", "format": "raw"}},
                                 "nvram-template": {{"filename": "/none", "format": "raw"}}}},
                    "targets": [{{"architecture": "x86_64", "machines": ["{machine}"]}}]}}"#,
                file.display()
            );
            fs::write(directory.path().join(name), text).unwrap();
        };
        write("10.json", r#""requires-smm", "secure-boot""#, &code, "pc-q35-*");
        write("20.json", "", &code, "pc-*");
        write("30.json", "", Path::new("/none/code.fd"), "pc-*");
        let list = FirmwareList::read(&[directory.path().to_owned()]);
        let loaders = vec![code.to_str().unwrap().to_owned()];
        let lacks = Presence { some_have: false, some_lack: true };
        let plain = LoaderFirmware {
            efi: true,
            loaders,
            secure_boot: lacks,
            enrolled_keys: lacks,
            ..LoaderFirmware::default()
        };
        assert_eq!(firmware(&list, "x86_64", "pc-i440fx-7.2"), plain);
        let secure_boot = Presence { some_have: true, some_lack: true };
        let secure = LoaderFirmware { secure: true, secure_boot, ..plain };
        assert_eq!(firmware(&list, "x86_64", "pc-q35-7.2"), secure);
        assert_eq!(firmware(&list, "x86_64", "isapc"), LoaderFirmware::default());
        assert_eq!(firmware(&list, "aarch64", "pc-q35-7.2"), LoaderFirmware::default());
    }

    #[test]
    fn a_variable_store_needs_a_template_in_a_firmware_for_memory() {
        let directory = tempfile::tempdir().unwrap();
        let found = |mapping: &str| {
            let text = format!(
                r#"{{"interface-types": ["uefi"], "features": ["host-uefi-vars"], "mapping": {mapping},
                    "targets": [{{"architecture": "x86_64", "machines": ["pc-*"]}}]}}"#
            );
            fs::write(directory.path().join("10.json"), text).unwrap();
            let list = FirmwareList::read(&[directory.path().to_owned()]);
            firmware(&list, "x86_64", "pc-q35-10.1").has_varstore
        };
        let template = r#""uefi-vars": {"template": "/vars.json"}"#;
        assert!(found(&format!(r#"{{"device": "memory", "filename": "/code.fd", {template}}}"#)));
        assert!(!found(r#"{"device": "memory", "filename": "/code.fd"}"#));
    }
}
