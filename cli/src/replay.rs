//! `replay`: the answers in a transcript, without QEMU.

use std::process::ExitCode;

use anyhow::{Context, Result};
use capscache::probe::replay_under;
use capscache::{Accelerator, Entry, Escaped};
use capscache_libvirt::{Host, QemuCaps};

use crate::args::{self, Format, ReplayAccelerator};
use crate::document::escape_xml;
use crate::input::read_transcript;
use crate::output;

pub(crate) fn run(args: &args::Replay) -> Result<ExitCode> {
    let file = &args.file;
    let text =
        read_transcript(file).with_context(|| format!("cannot read {}", Escaped::new(file)))?;
    let first = args.accelerator.map(|ReplayAccelerator::Hvf| Accelerator::Hvf);
    let model = replay_under(&text, first)
        .with_context(|| format!("cannot replay {}", Escaped::new(file)))?;
    let entry = Entry::open(model.encode()?)?;
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
