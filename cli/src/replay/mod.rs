//! `replay`: the answers in a transcript, without QEMU: as a document, or at a monitor.

mod address;
mod emulate;
mod monitor;
mod options;

use std::process::ExitCode;

use anyhow::Result;
use capscache::Accelerator;
use capscache_libvirt::{Host, QemuCaps};

use crate::args::{self, Format, ReplayAccelerator};
use crate::document::escape_xml;
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
    match args.format {
        Format::Json => output::print_json(&entry)?,
        Format::LibvirtXml => {
            let host = Host {
                emulator: args.emulator.clone().unwrap_or_default(),
                microcode_version: args.microcode_version,
                ..Host::default()
            };
            let mut caps = QemuCaps::from_entry(&entry, host)?;
            if args.emulator.is_none() {
                caps.emulator = format!("/usr/bin/qemu-system-{}", caps.arch);
            }
            output::print_document(&escape_xml(&caps.to_xml()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
