//! `inspect`: what an emulator can do, for people.

mod firmware;
mod json;
mod lists;
mod one;
mod overview;
mod report;

use std::process::ExitCode;

use anyhow::{Result, bail};
use capscache::{Capabilities, Groups, Unanswered};

use crate::args;
use crate::output;
use crate::session::{Session, join, locate};

/// What is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    Overview,
    List(List),
    One(Thing, String),
}

/// Names for the variants of an enum, in the order of its documentation.
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
    Thing {
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
            Some((kind, name)) if !name.is_empty() => match Thing::from_name(kind) {
                Some(thing) => Ok(Section::One(thing, name.to_owned())),
                None => {
                    bail!("unknown kind of thing {kind:?}; known are {}", names(&Thing::names()))
                }
            },
            _ => bail!(
                "there is no section {text:?}; there are {}, and one thing of a kind, such as \
                 device:virtio-blk-pci",
                names(&List::names())
            ),
        }
    }
}

pub(crate) fn run(session: &Session, args: &args::Inspect) -> Result<ExitCode> {
    let section = args.section.as_deref().map_or(Ok(Section::Overview), Section::parse)?;
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let answers = |groups| session.answers(&source, &emulator, groups, args.probing);
    let mut caps = answers(Groups::CORE)?;
    let lacking = lacking(&caps, &section, args.json);
    if !lacking.is_core() {
        caps = answers(lacking)?;
    }
    if args.json {
        match &section {
            Section::Overview => output::print_json_pretty(&*caps)?,
            Section::List(list) => output::print_json_pretty(&json::list(&caps, *list)?)?,
            Section::One(thing, name) => one::print_json(&caps, *thing, name)?,
        }
    } else {
        let text = match &section {
            Section::Overview => overview::render(&caps),
            Section::List(List::Report) => report::render(&caps),
            Section::List(list) => lists::render(&caps, *list),
            Section::One(thing, name) => one::render(&caps, *thing, name)?,
        };
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The groups that have to be filled before a section can be shown.
fn lacking(caps: &Capabilities, section: &Section, json: bool) -> Groups {
    let unanswered = match section {
        Section::List(List::Devices) if json => return Groups::DEVICES,
        Section::List(List::Objects) if json => return Groups::OBJECTS,
        Section::One(Thing::Device, name) => caps.device(name).err(),
        Section::One(Thing::Object, name) => caps.object(name).err(),
        Section::One(Thing::Cpu, name) if one::knows_cpu(caps, name) => return Groups::CPU_MODELS,
        _ => None,
    };
    match unanswered {
        Some(Unanswered::NotProbed { group, .. }) => group.into(),
        _ => Groups::CORE,
    }
}
