//! The table of supported elements in `docs/run.md`: a guest is accepted only if each part of it is read, so these are
//! all parts of the guests here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use capscache_domain::{Element, Guest, Node};

const BEGIN: &str = "<!-- supported: begin -->\n";
const END: &str = "<!-- supported: end -->\n";

/// Attributes whose values are shown: they choose between kinds of devices and backends.
const KINDS: &[&str] = &[
    "type", "model", "bus", "device", "protocol", "mode", "machine", "arch", "backend", "firmware",
];

/// The attributes of an element with those of their values that are shown; the empty name is that of its text.
type Attributes = BTreeMap<String, BTreeSet<String>>;

fn collect(element: &Element, above: &str, found: &mut BTreeMap<String, Attributes>) {
    let path = match above {
        "" => element.name.clone(),
        _ => format!("{above}/{}", element.name),
    };
    if path == "domain/metadata" {
        found.entry(path).or_default();
        return;
    }
    let attributes = found.entry(path.clone()).or_default();
    for attribute in element.attributes.iter().filter(|a| !a.name.starts_with("xmlns")) {
        let values = attributes.entry(attribute.name.clone()).or_default();
        let is_word = !attribute.value.starts_with(|c: char| c.is_ascii_digit());
        if KINDS.contains(&attribute.name.as_str()) && is_word {
            values.insert(attribute.value.clone());
        }
    }
    for child in &element.children {
        match child {
            Node::Element(child) => collect(child, &path, found),
            Node::Text(_) => {
                found.entry(path.clone()).or_default().entry(String::new()).or_default();
            }
        }
    }
}

/// Returns the table of all parts of some guests.
fn table(guests: &[Guest]) -> String {
    let mut found = BTreeMap::new();
    for guest in guests {
        collect(guest.tree(), "", &mut found);
        guest
            .devices
            .iter()
            .for_each(|device| collect(device.element(), "domain/devices", &mut found));
    }
    let mut table = "| element | attributes |\n|---|---|\n".to_owned();
    for (path, attributes) in found {
        let shown = attributes.iter().map(|(name, values)| match name.as_str() {
            "" => "*text*".to_owned(),
            name if values.is_empty() => format!("`{name}`"),
            name => format!("`{name}` ({})", values.iter().cloned().collect::<Vec<_>>().join(", ")),
        });
        let path = path.strip_prefix("domain/").unwrap_or(&path);
        table.push_str(&format!("| `{path}` | {} |\n", shown.collect::<Vec<_>>().join(", ")));
    }
    table
}

#[test]
fn the_document_lists_the_supported_elements() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/run.md");
    let document = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let guests: Vec<Guest> = crate::guests().iter().map(|file| crate::read(file)).collect();
    let expected = format!("{before}{BEGIN}{}{END}{after}", table(&guests));
    if crate::overwrites() {
        std::fs::write(&file, &expected).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap() == expected,
        "docs/run.md is not true: write it with SNAPSHOTS=overwrite cargo test -p capscache-run --test snapshots"
    );
}
