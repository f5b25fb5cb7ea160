//! `replay`: the answers in a transcript, without QEMU: as a document, or at a monitor.

mod address;
mod emulate;
mod monitor;
mod options;

use std::process::ExitCode;

use anyhow::Result;
use capscache::{Accelerator, Entry};
use capscache_libvirt::{CpuMap, Domain, DomainCaps, Host, QemuCaps, Surroundings, VirtType};

use crate::args::{self, Format, ReplayAccelerator};
use crate::document::{escape_xml, write_json};
use crate::export::print_domain;
use crate::format::DocumentFormat;
use crate::input;
use crate::output;

pub(crate) fn run(args: &args::Replay) -> Result<ExitCode> {
    match &args.serve {
        Some(address) => emulate::serve(args, address),
        None if args.emulate => emulate::run(args),
        None => print(args),
    }
}

/// Returns the declared accelerator of the first pass.
fn first(args: &args::Replay) -> Option<Accelerator> {
    args.accelerator.map(|ReplayAccelerator::Hvf| Accelerator::Hvf)
}

fn print(args: &args::Replay) -> Result<ExitCode> {
    let entry = input::replay(&args.file, first(args))?;
    match args.format.get() {
        Format::Json => output::print_with(|out| write_json(&entry, out))?,
        Format::Yaml => DocumentFormat::Yaml.print(&entry)?,
        Format::LibvirtXml => {
            output::print_document(&escape_xml(&caps_of(&entry, args)?.to_xml()))?;
        }
        Format::DomainCapabilities => {
            let caps = caps_of(&entry, args)?;
            let args::Domain { machine, virttype, cpu_map: folder } = &args.domain;
            let domain = Domain::of(&caps, machine.as_deref(), virttype.map(VirtType::from))?;
            let map = CpuMap::of_release(caps.release, &caps.arch, folder.as_deref())?;
            let surroundings = Surroundings { cpu_map: map.as_ref(), ..Surroundings::default() };
            print_domain(&DomainCaps::from_caps(&caps, &domain, &surroundings), caps.release)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Derives libvirt's capabilities from a transcript. Facts of its host that it does not have are 0.
fn caps_of(entry: &Entry<Vec<u8>>, args: &args::Replay) -> Result<QemuCaps> {
    let host = Host {
        emulator: args.emulator.clone().unwrap_or_default(),
        microcode_version: args.microcode_version,
        ..Host::default()
    };
    let mut caps = QemuCaps::from_entry(entry, host, args.release.get()?)?;
    if args.emulator.is_none() {
        caps.emulator = format!("/usr/bin/qemu-system-{}", caps.arch);
    }
    Ok(caps)
}
