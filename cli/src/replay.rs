//! `replay`: the answers in a transcript, without QEMU.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use capscache::probe::{MAX_TRANSCRIPT_BYTES, replay_under};
use capscache::{Accelerator, Entry, Escaped};
use capscache_libvirt::{Host, QemuCaps};
use flate2::read::MultiGzDecoder;

use crate::args::{self, Format, ReplayAccelerator};
use crate::document::escape_xml;
use crate::output;

pub(crate) fn run(args: &args::Replay) -> Result<ExitCode> {
    let file = &args.file;
    let text = read(file).with_context(|| format!("cannot read {}", Escaped::new(file)))?;
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

/// Reads a transcript, decompressed if it begins with the magic number of gzip.
fn read(file: &Path) -> Result<String> {
    let mut input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file)?)
    };
    let mut start = Vec::new();
    input.by_ref().take(2).read_to_end(&mut start)?;
    let is_gzip = start == [0x1f, 0x8b];
    let whole = io::Cursor::new(start).chain(input);
    if is_gzip { read_text(MultiGzDecoder::new(whole)) } else { read_text(whole) }
}

fn read_text(input: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX_TRANSCRIPT_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_TRANSCRIPT_BYTES,
        "it is longer than the limit of {MAX_TRANSCRIPT_BYTES} bytes"
    );
    String::from_utf8(bytes).context("it is not UTF-8")
}
