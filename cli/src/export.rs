//! `export`: a whole entry.

use std::process::ExitCode;

use anyhow::Result;
use capscache::Groups;
use capscache_service::export::libvirt_xml;

use crate::args::{self, Format};
use crate::document::escape_xml;
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
            let args::Libvirt { self_ctime, self_version } = args.libvirt;
            let xml = libvirt_xml(&emulator, &entry, self_ctime, self_version)?;
            output::print_document(&escape_xml(&xml))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
