//! `devaddr`: addresses and controllers for a guest.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use capscache::{Escaped, Groups};
use capscache_devaddr::picture::{svg, tree};
use capscache_devaddr::{Definition, Document, Facts, Policy, SlotKind, Source, assign};
use capscache_domain::{Guest, MAX_BYTES, ReadError, Unknown};

use crate::args::{self, Slot, Tunables};
use crate::document::escape_xml;
use crate::input;
use crate::output;
use crate::session::{Session, locate};
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Devaddr) -> Result<ExitCode> {
    let mut document = read(args)?;
    let facts = facts(session, args, &document.guest)?;
    let report = assign(&mut document.guest, &facts, &document.policy)?;
    if report.facts == Source::BuiltIn {
        session.log(format_args!(
            "facts are those of QEMU since 4.2 as it is usually built; give --emulator for those of one"
        ));
    }
    if args.explain {
        let mut text = Text::new();
        report.lines(&document.guest).iter().for_each(|line| text.line(Escaped::new(line)));
        output::print(&text)?;
    } else if args.tree {
        let mut text = Text::new();
        tree(&document.guest).lines().for_each(|line| text.line(line));
        output::print(&text)?;
    } else if args.svg {
        output::print_document(&svg(&document.guest))?;
    } else if let Some(format) = args.format.document() {
        (document.facts, document.reasons) = (Some(report.facts), report.reasons);
        format.print(&document)?;
    } else {
        output::print_document(&escape_xml(&document.guest.to_xml()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the guest and the policy for it.
fn read(args: &args::Devaddr) -> Result<Document> {
    const LIMIT: u64 = MAX_BYTES as u64;
    let name = Escaped::new(&args.guest);
    let text = input::read(&args.guest, LIMIT)?;
    let mut document = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(|| format!("cannot read the guest in {name}"))?
    } else {
        let unknown = if args.keep_unknown { Unknown::Keep } else { Unknown::Refuse };
        let guest = Guest::from_xml_with(&text, unknown).map_err(|error| {
            let ReadError { position, path, cause } = error;
            anyhow!("cannot read the guest in {name}: {position}: {path}: {cause}")
        })?;
        Document { guest, policy: Policy::default(), facts: None, reasons: Vec::new() }
    };
    if let Some(file) = &args.policy {
        document.policy = serde_json::from_str(&input::read(file, LIMIT)?)
            .with_context(|| format!("cannot read the policy in {}", Escaped::new(file)))?;
    }
    apply(args.tunables, &mut document.policy);
    Ok(document)
}

/// Replaces rules of a policy by those of the command line.
fn apply(tunables: Tunables, policy: &mut Policy) {
    let Tunables { spare, slot, hotplug, packed, expanders, existing } = tunables;
    policy.spare = spare.or(policy.spare);
    policy.hotplug = hotplug.or(policy.hotplug);
    let slot = slot.map(|slot| match slot {
        Slot::Pci => SlotKind::Pci,
        Slot::Pcie => SlotKind::Pcie,
    });
    policy.slot = slot.or(policy.slot);
    policy.packed |= packed;
    policy.expanders |= expanders;
    if existing {
        policy.definition = Definition::Existing;
    }
}

/// Returns the facts about the emulator: from its entry, from a transcript, or from the table.
fn facts(session: &Session, args: &args::Devaddr, guest: &Guest) -> Result<Facts> {
    if let Some(emulator) = &args.emulator {
        let (source, emulator) = (session.source()?, locate(emulator));
        let entry = session.answers(&source, &emulator, Groups::CORE, args.probing)?;
        return Ok(Facts::from_entry(&entry));
    }
    if let Some(file) = &args.transcript {
        return Ok(Facts::from_entry(&input::replay(file, None)?));
    }
    match &guest.os.arch {
        Some(arch) => Ok(Facts::built_in(arch)),
        None => bail!(
            "cannot complete the guest: it has no architecture; add arch to its type, or give --emulator"
        ),
    }
}
