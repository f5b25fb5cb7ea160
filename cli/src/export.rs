//! `export`: a whole entry.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Groups;
use capscache_libvirt::{CpuMap, DomainCaps, Mode, Release, VirtType};
use capscache_service::export::{domain_capabilities, libvirt_xml, qemu_caps};

use crate::args::{self, Format};
use crate::document::{escape_xml, write_json};
use crate::format::DocumentFormat;
use crate::output;
use crate::session::{Session, locate, warn_of_missing};

pub(crate) fn run(session: &Session, args: &args::Export) -> Result<ExitCode> {
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let entry = session.answers(&source, &emulator, Groups::CORE, args.probing)?;
    warn_of_missing(&entry);
    match args.format.get() {
        Format::Json => output::print_with(|out| write_json(&*entry, out))?,
        Format::Yaml => DocumentFormat::Yaml.print(&*entry)?,
        Format::LibvirtXml => {
            let args::Libvirt { self_ctime, self_version } = args.libvirt;
            let release = args.release.get()?;
            let xml = libvirt_xml(&emulator, &entry, release, self_ctime, self_version)?;
            output::print_document(&escape_xml(&xml))?;
        }
        Format::DomainCapabilities => {
            let args::Domain { machine, virttype, cpu_map } = &args.domain;
            let (machine, virttype) = (machine.as_deref(), virttype.map(VirtType::from));
            let release = args.release.get()?;
            let caps = qemu_caps(&emulator, &entry, release)?;
            let map = CpuMap::of_release(release, &caps.arch, cpu_map.as_deref())?;
            let domain = domain_capabilities(&caps, machine, virttype, map.as_ref())?;
            print_domain(&domain, release)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints domain capabilities, and a warning if a part of them is unknown.
pub(crate) fn print_domain(caps: &DomainCaps, release: Release) -> Result<()> {
    if caps.lacks_cpu_map() {
        output::warn(format_args!(
            "the CPU models are unknown: they depend on the CPU map of libvirt {release}, which is not in {}; install it (package libvirt-common), or name its folder with --cpu-map",
            CpuMap::FOLDER
        ));
    } else if caps.cpu.host_model == Mode::Unknown {
        output::warn(format_args!(
            "the CPU model of the host is unknown: the emulator does not report it"
        ));
    }
    output::print_document(&escape_xml(&caps.to_xml()))
}
