//! `export`: an entry as a whole.

mod libvirt;

use std::process::ExitCode;

use anyhow::Result;
use capscache::Groups;
use capscache_libvirt::QemuCaps;

use crate::args::{self, Format};
use crate::output;
use crate::session::{Session, locate};

pub(crate) fn run(session: &Session, args: &args::Export) -> Result<ExitCode> {
    let cache = session.cache()?;
    let emulator = locate(&args.emulator);
    let entry = session.answers(&cache, &emulator, Groups::CORE, args.probing)?;
    match args.format {
        Format::Json => output::print_json(&*entry)?,
        Format::LibvirtXml => {
            let surroundings = libvirt::surroundings(&emulator, &entry, args.libvirt)?;
            output::print(&QemuCaps::from_entry(&*entry, surroundings)?.to_xml())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
