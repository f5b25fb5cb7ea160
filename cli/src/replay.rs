//! `replay`: the answers in a transcript, without QEMU.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Accelerator;
use capscache_libvirt::{Host, QemuCaps};

use crate::args::{self, Format, ReplayAccelerator};
use crate::document::escape_xml;
use crate::input;
use crate::output;

pub(crate) fn run(args: &args::Replay) -> Result<ExitCode> {
    let first = args.accelerator.map(|ReplayAccelerator::Hvf| Accelerator::Hvf);
    let entry = input::replay(&args.file, first)?;
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
