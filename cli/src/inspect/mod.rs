//! `inspect`: the capabilities of an emulator, for people.

mod firmware;
mod json;
mod lists;
mod one;
mod overview;
mod report;

use std::process::ExitCode;

use anyhow::{Result, bail};
use capscache::format::Unanswered;
use capscache::{Capabilities, Groups};
use capscache_libvirt::Release;

use crate::args;
use crate::output;
use crate::session::{Session, join, locate};

/// Part of the capabilities to show.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    Overview,
    List(List),
    One(Kind, String),
}

/// Defines an enum with a name for each variant, in the order of the documentation.
macro_rules! named {
    ($name:ident { $($variant:ident $text:literal,)* }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum $name { $($variant,)* }

        impl $name {
            const ALL: &[($name, &str)] = &[$(($name::$variant, $text),)*];

            fn names() -> Vec<&'static str> {
                Self::ALL.iter().map(|(_, name)| *name).collect()
            }

            fn from_name(name: &str) -> Option<$name> {
                Self::ALL.iter().find(|(_, known)| *known == name).map(|(found, _)| *found)
            }
        }
    };
}

named! {
    List {
        Machines "machines",
        Cpus "cpus",
        HostCpu "host-cpu",
        Devices "devices",
        Objects "objects",
        Types "types",
        Commands "commands",
        Events "events",
        Options "options",
        Migration "migration",
        Tpm "tpm",
        Schema "schema",
        Flags "flags",
        Firmware "firmware",
        Report "report",
    }
}

named! {
    Kind {
        Machine "machine",
        Cpu "cpu",
        Device "device",
        Object "object",
        Type "type",
    }
}

impl Section {
    fn parse(text: &str) -> Result<Section> {
        if let Some(list) = List::from_name(text) {
            return Ok(Section::List(list));
        }
        let names = |known: &[&str]| join(known, ", ");
        match text.split_once(':') {
            Some((kind, name)) if !name.is_empty() => match Kind::from_name(kind) {
                Some(kind) => Ok(Section::One(kind, name.to_owned())),
                None => {
                    bail!("cannot show {text:?}: unknown kind; kinds are {}", names(&Kind::names()))
                }
            },
            _ => bail!(
                "cannot show {text:?}: unknown section; sections are {}, and KIND:NAME, such as \
                 device:virtio-blk-pci",
                names(&List::names())
            ),
        }
    }
}

/// Returns the names of the sections.
pub(crate) fn list_names() -> Vec<&'static str> {
    List::names()
}

/// Returns the kinds of sections `KIND:NAME`.
pub(crate) fn kind_names() -> Vec<&'static str> {
    Kind::names()
}

pub(crate) fn run(session: &Session, args: &args::Inspect) -> Result<ExitCode> {
    let section = args.section.as_deref().map_or(Ok(Section::Overview), Section::parse)?;
    // An unknown release is reported before anything is probed; other sections do not depend on it.
    let is_flags = section == Section::List(List::Flags);
    let release = if is_flags { args.release.get()? } else { Release::default() };
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let answers = |groups| session.answers(&source, &emulator, groups, args.probing);
    let mut caps = answers(Groups::CORE)?;
    let missing = missing_groups(&caps, &section, args.format.document().is_some());
    if !missing.is_core() {
        caps = answers(missing)?;
    }
    if let Some(format) = args.format.document() {
        match &section {
            Section::Overview => format.print(&*caps)?,
            Section::List(list) => format.print(&json::list(&caps, *list, release)?)?,
            Section::One(kind, name) => format.print(&one::json(&caps, *kind, name)?)?,
        }
    } else {
        let text = match &section {
            Section::Overview => overview::render(&caps),
            Section::List(List::Report) => report::render(&caps),
            Section::List(list) => lists::render(&caps, *list, release),
            Section::One(kind, name) => one::render(&caps, *kind, name)?,
        };
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the groups that a section needs and the entry lacks.
fn missing_groups(caps: &Capabilities, section: &Section, is_document: bool) -> Groups {
    let unanswered = match section {
        Section::List(List::Devices) if is_document => return Groups::DEVICES,
        Section::List(List::Objects) if is_document => return Groups::OBJECTS,
        Section::One(Kind::Device, name) => caps.device(name).err(),
        Section::One(Kind::Object, name) => caps.object(name).err(),
        Section::One(Kind::Cpu, name) if one::has_cpu(caps, name) => return Groups::CPU_MODELS,
        _ => None,
    };
    match unanswered {
        Some(Unanswered::NotProbed { group, .. }) => group.into(),
        _ => Groups::CORE,
    }
}
