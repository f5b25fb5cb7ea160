//! Tables of SMBIOS, and files of the firmware configuration.

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::paths;
use crate::props::List;
use crate::uuid;
use crate::view::View;

/// The entries of a table: of the guest, and of QEMU.
type Entries = &'static [&'static str];

const BIOS: Entries = &["vendor", "version", "date", "release"];
const SYSTEM: Entries = &["manufacturer", "product", "version", "serial", "uuid", "sku", "family"];
const BASE_BOARD: Entries = &["manufacturer", "product", "version", "serial", "asset", "location"];
const CHASSIS: Entries = &["manufacturer", "version", "serial", "asset", "sku"];

/// Adds tables of SMBIOS, and files of the firmware configuration.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mode = cx.domain.one_of("os/smbios@mode", &["emulate", "sysinfo"])?;
    let mut tables = None;
    for view in cx.domain.children("sysinfo") {
        view.require("@type")?;
        if view.one_of("@type", &["smbios", "fwcfg"])? == Some("smbios") {
            tables = tables.or(Some(view));
            check(cx, view)?;
            if mode != Some("sysinfo") {
                ignore(view);
            }
        }
    }
    match (mode, tables) {
        (Some("sysinfo"), Some(tables)) => add_tables(tables, args)?,
        (Some("sysinfo"), None) => {
            return Err(cx.domain.invalid("os/smbios@mode", "the guest has no sysinfo; add it"));
        }
        _ => {}
    }
    let files = cx.domain.children("sysinfo").filter(|view| view.text("@type") == Some("fwcfg"));
    files.flat_map(|view| view.children("entry")).try_for_each(|entry| add_file(entry, args))
}

/// Records that tables are read which QEMU does not get.
fn ignore(view: View<'_>) {
    for table in ["bios", "system", "baseBoard", "chassis", "oemStrings"] {
        view.ignore_children(table);
    }
}

/// Checks the values that libvirt checks.
fn check(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    if let Some(system) = view.child("system")
        && let Some(text) = entry(system, "uuid")
    {
        let own = cx.domain.text("uuid").and_then(uuid::format);
        let uuid = uuid::format(&text);
        if uuid.is_none() || uuid != own {
            return Err(system.invalid("", "its UUID must be that of the guest"));
        }
    }
    if let Some(bios) = view.child("bios")
        && let Some(date) = entry(bios, "date")
        && !is_date(&date)
    {
        return Err(bios.invalid("", "write the date as in 12/31/1999"));
    }
    Ok(())
}

fn is_date(text: &str) -> bool {
    let numbers: Option<Vec<u32>> = text.split('/').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([month, day, year]) => {
            (1..=12).contains(month) && (1..=31).contains(day) && (*year < 100 || *year >= 1900)
        }
        _ => false,
    }
}

fn add_tables(view: View<'_>, args: &mut Args) -> Result<(), Error> {
    for (table, number, entries) in [("bios", 0, BIOS), ("system", 1, SYSTEM)] {
        if let Some(list) = view.child(table).and_then(|table| list(table, number, entries)) {
            args.option("-smbios", list);
        }
    }
    let mut boards = view
        .children("baseBoard")
        .filter_map(|board| list(board, 2, BASE_BOARD).map(|list| (board, list)));
    if let Some((_, list)) = boards.next() {
        args.option("-smbios", list);
    }
    if let Some((board, _)) = boards.next() {
        return Err(board.invalid("", "QEMU has one board"));
    }
    if let Some(list) = view.child("chassis").and_then(|table| list(table, 3, CHASSIS)) {
        args.option("-smbios", list);
    }
    let strings = view.child("oemStrings");
    let strings: Vec<View<'_>> =
        strings.into_iter().flat_map(|strings| strings.children("entry")).collect();
    if !strings.is_empty() {
        let mut list = List::default();
        list.set("type", 11);
        strings.iter().for_each(|entry| list.set("value", entry.raw("").unwrap_or_default()));
        args.option("-smbios", list);
    }
    Ok(())
}

/// Returns a table; `None` if it has no entry.
fn list(table: View<'_>, number: u32, entries: Entries) -> Option<List> {
    let mut list = List::default();
    list.set("type", number);
    let mut is_empty = true;
    for name in entries {
        // libvirt always writes the manufacturers of boards and chassis.
        let default = || matches!(number, 2 | 3) && *name == "manufacturer";
        let value = entry(table, name);
        is_empty &= value.is_none();
        if let Some(value) = value.or_else(|| default().then(String::new)) {
            match *name {
                "uuid" => list.set(name, uuid::format(&value).unwrap_or_default()),
                _ => list.set(name, value),
            }
        }
    }
    let is_sku_only =
        || number == 1 && entries.iter().all(|name| *name == "sku" || entry(table, name).is_none());
    // libvirt leaves out a system that has only this number.
    (!is_empty && !is_sku_only()).then_some(list)
}

/// Returns the value of the first entry of a name.
fn entry(table: View<'_>, name: &str) -> Option<String> {
    let mut entries = table.children_with("entry", "name", name);
    entries.next()?.raw("").filter(|value| !value.is_empty())
}

/// Adds a file of the firmware configuration. libvirt does not double commas here.
fn add_file(entry: View<'_>, args: &mut Args) -> Result<(), Error> {
    let name = entry.require("@name")?;
    if !name.starts_with("opt/") {
        return Err(entry.invalid("@name", "the name must start with opt/"));
    }
    if ["opt/ovmf/", "opt/org.qemu/"].iter().any(|reserved| name.starts_with(reserved)) {
        return Err(entry.invalid("@name", "the name is reserved"));
    }
    let value = entry.raw("").filter(|value| !value.is_empty());
    let file = entry.text("@file");
    let content = match (value, file) {
        (Some(value), None) => format!("string={}", escape(&value)),
        (None, Some(file)) => format!("file={}", escape(&paths::sanitize(file))),
        _ => return Err(entry.invalid("", "an entry has a value, or a file")),
    };
    args.option("-fw_cfg", format_args!("name={name},{content}"));
    Ok(())
}

/// Returns text as libvirt writes it here: as in XML.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => {}
            c => escaped.push(c),
        }
    }
    escaped
}
