//! The facts of this host that libvirt's domain capabilities depend on, read as libvirt reads them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use capscache_libvirt::{
    CpuMap, DescriptorError, LoaderFirmware, QemuCaps, SevGuests, Surroundings, Swtpm, architecture,
};
use rustix::fs::{Access, access};

/// The programs of the emulator of TPMs.
const SWTPM: [&str; 3] = ["swtpm", "swtpm_setup", "swtpm_ioctl"];

/// Returns the facts of this host for an emulator; `machine` is not an alias.
///
/// # Errors
/// [`DescriptorError`].
pub(crate) fn of_this_host<'m>(
    caps: &QemuCaps,
    machine: &str,
    cpu_map: Option<&'m CpuMap>,
) -> Result<Surroundings<'m>, DescriptorError> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let groups = fs::read_dir("/sys/kernel/iommu_groups");
    let directories = firmware_directories(
        rustix::process::geteuid().is_root(),
        std::env::var_os("XDG_CONFIG_HOME"),
        std::env::var_os("HOME"),
    );
    Ok(Surroundings {
        host_arch: Some(architecture()),
        kvm_max_vcpus: capscache::probe::kvm_max_vcpus(),
        phys_addr_bits: phys_addr_bits(&cpuinfo),
        firmware: LoaderFirmware::read(&directories, caps.release, &caps.arch, machine)?,
        cpu_map,
        host_cpu: None,
        sev_guests: caps.cpu_data.as_ref().map(SevGuests::of).unwrap_or_default(),
        has_vfio: groups.is_ok_and(|mut groups| groups.next().is_some())
            && Path::new("/dev/vfio/vfio").exists(),
        has_iommufd: Path::new("/dev/iommu").exists(),
        swtpm: swtpm(),
        has_rdp: program("qemu-rdp").is_some(),
    })
}

/// Returns the directories of descriptors of firmware that libvirt reads, the last one with precedence: that of the user only if it
/// is not root, as in libvirt's session instance.
fn firmware_directories(
    is_root: bool,
    config: Option<OsString>,
    home: Option<OsString>,
) -> Vec<PathBuf> {
    // libvirt takes the variable as it is, even if it is empty or relative.
    let config = config.or_else(|| Some([home?, "/.config".into()].into_iter().collect()));
    let config = config.filter(|_| !is_root).map(|mut config| {
        config.push("/");
        PathBuf::from(config)
    });
    let all = ["/usr/share", "/etc"].map(PathBuf::from).into_iter().chain(config);
    all.map(|directory| directory.join("qemu/firmware")).collect()
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
    fn the_firmware_of_the_user_has_precedence_and_root_has_none() {
        let of = |is_root, config: Option<&str>, home: Option<&str>| {
            let all = firmware_directories(is_root, config.map(Into::into), home.map(Into::into));
            let (system, user) = all.split_at(2);
            assert_eq!(
                system,
                ["/usr/share/qemu/firmware", "/etc/qemu/firmware"].map(PathBuf::from)
            );
            user.first().map(|path| path.to_str().unwrap().to_owned())
        };
        assert_eq!(of(true, Some("/x"), Some("/home/u")), None);
        assert_eq!(of(false, Some("/x"), Some("/home/u")).as_deref(), Some("/x/qemu/firmware"));
        let of_home = of(false, None, Some("/home/u"));
        assert_eq!(of_home.as_deref(), Some("/home/u/.config/qemu/firmware"));
        assert_eq!(of(false, Some(""), Some("/home/u")).as_deref(), Some("/qemu/firmware"));
        assert_eq!(of(false, Some("x"), None).as_deref(), Some("x/qemu/firmware"));
        assert_eq!(of(false, None, None), None);
    }
}
