//! Entries as documents, with the facts of this host that libvirt stores beside them, read as libvirt reads them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache::{Capabilities, Escaped};
use capscache_libvirt::{
    CapsError, CpuMapError, Domain, DomainCaps, DomainError, Host, QemuCaps, Release,
    UnknownRelease, VirtType,
};

use crate::release::{self, cpu_map, library_directories};
use crate::surroundings;

/// Format of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Json,
    LibvirtXml,
}

impl Format {
    /// All formats with their names.
    pub(crate) const ALL: [(&str, Format); 2] =
        [("json", Format::Json), ("libvirt-xml", Format::LibvirtXml)];

    pub(crate) fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}

/// The reason why an entry cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The emulator cannot be examined.
    #[error("cannot stat the emulator {}", Escaped::new(path))]
    Emulator {
        /// The path of the emulator.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The entry lacks what libvirt's document needs.
    #[error(transparent)]
    QemuCaps(#[from] CapsError),
    /// The emulator has no such domain.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// libvirt's CPU map cannot be read.
    #[error(transparent)]
    CpuMap(#[from] CpuMapError),
    /// The libvirt of this host is not known.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
    /// The answers are not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Returns an entry as a document.
pub(crate) fn document(
    emulator: &Path,
    entry: &Capabilities,
    format: Format,
) -> Result<String, ExportError> {
    match format {
        Format::Json => Ok(serde_json::to_string(&**entry)?),
        Format::LibvirtXml => libvirt_xml(emulator, entry, release::libvirt()?, 0, 0),
    }
}

/// Returns the `<qemuCaps>` XML that a release of libvirt writes for an entry. `self_ctime` (seconds) and
/// `self_version` (11003000 for 11.3.0) are those of libvirt itself.
///
/// # Errors
/// [`ExportError::Emulator`], or [`ExportError::QemuCaps`] where the entry lacks what the document needs.
pub fn libvirt_xml(
    emulator: &Path,
    entry: &Capabilities,
    release: Release,
    self_ctime: i64,
    self_version: u32,
) -> Result<String, ExportError> {
    let host = Host { self_ctime, self_version, ..host(emulator, entry, release)? };
    Ok(QemuCaps::from_entry(&**entry, host, release)?.to_xml())
}

/// Returns the domain capabilities that libvirt reports on this host for an entry. `machine` may be an alias; the
/// defaults are libvirt's. `map_folder` has the CPU map of the release; without it, that is the installed one, if it is of that
/// release.
///
/// # Errors
/// [`ExportError`].
pub fn domain_capabilities(
    emulator: &Path,
    entry: &Capabilities,
    release: Release,
    machine: Option<&str>,
    virt_type: Option<VirtType>,
    map_folder: Option<&Path>,
) -> Result<DomainCaps, ExportError> {
    let caps = QemuCaps::from_entry(&**entry, host(emulator, entry, release)?, release)?;
    let domain = Domain::of(&caps, machine, virt_type)?;
    let map = cpu_map(release, &caps.arch, map_folder)?;
    let surroundings = surroundings::of_this_host(
        entry.arch(),
        &domain.machine,
        caps.cpu_data.as_ref(),
        map.as_ref(),
    );
    Ok(DomainCaps::from_caps(&caps, &domain, &surroundings))
}

/// Returns the facts of this host that libvirt keeps with an emulator's capabilities.
fn host(emulator: &Path, entry: &Capabilities, release: Release) -> Result<Host, ExportError> {
    let path = std::path::absolute(emulator).unwrap_or_else(|_| emulator.to_owned());
    let status = fs::metadata(&path)
        .map_err(|source| ExportError::Emulator { path: path.clone(), source })?;
    let directories = library_directories().into_iter();
    let modules = directories.map(|libraries| libraries.join("qemu"));
    let modules = modules.filter_map(|path| fs::metadata(path).ok()).next();
    let mut host = Host {
        emulator: path.to_string_lossy().into_owned(),
        qemu_ctime: status.ctime(),
        module_directory_mtime: modules.map_or(0, |directory| directory.mtime()),
        // KVM has such guests once its module has them on.
        kvm_supports_tdx: is_on("/sys/module/kvm_intel/parameters/tdx"),
        ..Host::default()
    };
    if capscache_libvirt::flag(entry, "kvm", release).is_ok_and(capscache::Tri::is_yes) {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        let kernel = [uname.release(), uname.version()].map(|part| part.to_string_lossy());
        host.kernel_version = Some(kernel.join(" "));
        host.host_cpu_signature = signature(&cpuinfo);
        host.microcode_version = microcode(&cpuinfo);
        host.kvm_supports_nesting = supports_nesting();
        host.kvm_supports_secure_guest = supports_secure_guest();
    }
    Ok(host)
}

/// Returns the value of the first line of `/proc/cpuinfo` with this key.
fn value<'t>(cpuinfo: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

/// Returns the host's CPU in a line; `None` for an architecture of which libvirt keeps none.
fn signature(cpuinfo: &str) -> Option<String> {
    let of = |key| value(cpuinfo, key);
    Some(match std::env::consts::ARCH {
        "x86_64" | "x86" => format!(
            "{}, {}, family: {}, model: {}, stepping: {}",
            of("vendor_id")?,
            of("model name")?,
            of("cpu family")?,
            of("model")?,
            of("stepping")?
        ),
        "powerpc64" => format!("{}, rev {}", of("cpu")?, of("revision")?),
        "s390x" => format!(
            "{}, {}, facilities: {}",
            of("vendor_id")?,
            of("processor 0")?,
            of("facilities")?
        ),
        _ => return None,
    })
}

/// Returns the microcode version of an x86 CPU: libvirt reads the first 4,096 bytes only.
fn microcode(cpuinfo: &str) -> u32 {
    let beginning: String = cpuinfo.chars().take(4096).collect();
    let text = value(&beginning, "microcode").unwrap_or("0");
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.unwrap_or(0)
}

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.starts_with(['Y', 'y', '1']))
}

fn supports_nesting() -> bool {
    let modules = ["kvm_intel", "kvm_amd", "kvm_hv", "kvm"];
    modules.iter().any(|module| is_on(&format!("/sys/module/{module}/parameters/nested")))
}

fn supports_secure_guest() -> bool {
    match std::env::consts::ARCH {
        "x86_64" | "x86" => {
            is_on("/sys/module/kvm_amd/parameters/sev") && Path::new("/dev/sev").exists()
        }
        "s390x" => {
            let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
            let values = line.split_whitespace().filter_map(|word| word.strip_prefix("prot_virt="));
            let is_on = |value: &str| {
                value.starts_with(['y', 'Y', '1']) || value.to_lowercase().starts_with("on")
            };
            Path::new("/sys/firmware/uv").is_dir() && values.into_iter().any(is_on)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n\
        model name\t: A CPU @ 2.00GHz\nstepping\t: 8\nmicrocode\t: 0x2b000603\n";

    #[test]
    fn the_signature_and_the_microcode_are_those_of_the_first_processor() {
        assert_eq!(microcode(CPUINFO), 0x2b00_0603);
        assert_eq!(microcode(&format!("{}{CPUINFO}", "flags: x\n".repeat(500))), 0);
        assert_eq!(microcode("microcode : 17\n"), 17);
        if cfg!(target_arch = "x86_64") {
            let expected = "GenuineIntel, A CPU @ 2.00GHz, family: 6, model: 143, stepping: 8";
            assert_eq!(signature(CPUINFO).as_deref(), Some(expected));
        }
    }
}
