//! `export`: an entry as a whole.

mod libvirt;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{Capabilities, Groups};
use capscache_libvirt::QemuCaps;

use crate::args::{self, Format, Libvirt};
use crate::document::harmless_xml;
use crate::output;
use crate::session::{Session, locate, warn_of_missing};

pub(crate) fn run(session: &Session, args: &args::Export) -> Result<ExitCode> {
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let entry = session.answers(&source, &emulator, Groups::CORE, args.probing)?;
    warn_of_missing(&entry);
    match args.format {
        Format::Json => output::print_json(&*entry)?,
        Format::LibvirtXml => {
            output::print_document(&harmless_xml(&xml(&emulator, &entry, args.libvirt)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An entry as a document.
pub(crate) fn document(emulator: &Path, entry: &Capabilities, format: Format) -> Result<String> {
    match format {
        Format::Json => Ok(serde_json::to_string(&**entry)?),
        Format::LibvirtXml => xml(emulator, entry, Libvirt::default()),
    }
}

fn xml(emulator: &Path, entry: &Capabilities, of_libvirt: Libvirt) -> Result<String> {
    let surroundings = libvirt::surroundings(emulator, entry, of_libvirt)?;
    Ok(QemuCaps::from_entry(&**entry, surroundings)?.to_xml())
}
