//! XML to a guest.

use std::sync::Arc;

use crate::device::Device;
use crate::error::{Cause, Fault, ReadError};
use crate::fields::{self, Field, required, shorten};
use crate::guest::{Features, Guest, MaxMemory, NumaCell, Os};
use crate::parse::parse;
use crate::schema;
use crate::size::kib;
use crate::tree::{Element, Node};

/// Treatment of elements and attributes that are not part of libvirt's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are errors.
    #[default]
    Refuse,
    /// They are carried through unchanged.
    Keep,
}

impl Guest {
    /// Reads a `<domain>` document; an element or attribute that is not understood is an error.
    ///
    /// # Errors
    /// [`ReadError`], with the position in the text. A text is also refused if it is longer than
    /// [`MAX_BYTES`](crate::MAX_BYTES), or has a document type, elements nested more than
    /// [`MAX_DEPTH`](crate::MAX_DEPTH) deep, or more than [`MAX_NODES`](crate::MAX_NODES) elements and attributes.
    pub fn from_xml(text: &str) -> Result<Guest, ReadError> {
        Guest::from_xml_with(text, Unknown::Refuse)
    }

    /// Reads a `<domain>` document, and treats what is not understood as `unknown` says.
    ///
    /// # Errors
    /// See [`Guest::from_xml`].
    pub fn from_xml_with(text: &str, unknown: Unknown) -> Result<Guest, ReadError> {
        read(text, unknown).map_err(|fault| fault.locate(text))
    }
}

impl Device {
    /// Reads the element of one device, as libvirt's API takes it to add a device to a guest.
    ///
    /// # Errors
    /// See [`Guest::from_xml`].
    pub fn from_xml(text: &str, unknown: Unknown) -> Result<Device, ReadError> {
        let read = || {
            let element = parse(text)?;
            if unknown == Unknown::Refuse {
                schema::check_device(&element)?;
            }
            Device::read(element)
        };
        read().map_err(|fault: Fault| fault.locate(text))
    }
}

fn read(text: &str, unknown: Unknown) -> Result<Guest, Fault> {
    let mut tree = parse(text)?;
    if tree.name != "domain" {
        return Err(Fault::new(tree.offset, format!("/{}", tree.name), Cause::Root));
    }
    if unknown == Unknown::Refuse {
        schema::check(&tree)?;
    }
    fields::check_repeated(&tree, READ_ONCE).map_err(|fault| fault.below("/domain"))?;
    let devices = match tree.child_mut("devices") {
        Some(devices) => std::mem::take(&mut devices.children),
        None => Vec::new(),
    };
    let in_devices = |fault: Fault| fault.below("/domain/devices");
    let devices = devices
        .into_iter()
        .filter_map(|node| match node {
            Node::Element(element) => Some(Device::read(element).map_err(in_devices)),
            Node::Text(_) => None,
        })
        .collect::<Result<Vec<Device>, Fault>>()?;
    let mut guest = read_facts(&tree).map_err(|fault| fault.below("/domain"))?;
    guest.devices = devices;
    guest.tree = Some(Arc::new(tree));
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    // A text has at most MAX_BYTES, which fit.
    let starts = ends.filter_map(|(at, _)| u32::try_from(at + 1).ok());
    guest.lines = Some(std::iter::once(0).chain(starts).collect());
    Ok(guest)
}

/// The elements of `<domain>` that typed fields are read from.
const READ_ONCE: &[&str] =
    &["name", "uuid", "memory", "maxMemory", "vcpu", "os", "features", "cpu", "devices"];

/// Reads all but the devices.
fn read_facts(tree: &Element) -> Result<Guest, Fault> {
    let max_memory = match memory(tree, "maxMemory")? {
        Some(kib) => {
            let slots: Option<u32> = Field::read(tree, "maxMemory@slots")?;
            Some(MaxMemory { kib, slots: slots.unwrap_or(0) })
        }
        None => None,
    };
    let has_vcpus = tree.child("vcpu").is_some_and(|vcpu| !vcpu.text().is_empty());
    let vcpus: Option<u32> = if has_vcpus { Field::read(tree, "vcpu")? } else { None };
    Ok(Guest {
        r#type: required(tree, "@type")?,
        name: Field::read(tree, "name")?,
        uuid: Field::read(tree, "uuid")?,
        memory_kib: memory(tree, "memory")?,
        max_memory,
        vcpus: vcpus.unwrap_or(1),
        os: Os::read(tree)?,
        features: Features::read(tree)?,
        numa: numa(tree)?,
        devices: Vec::new(),
        tree: None,
        lines: None,
    })
}

fn numa(tree: &Element) -> Result<Vec<NumaCell>, Fault> {
    let Some(numa) = tree.child("cpu").and_then(|cpu| cpu.child("numa")) else {
        return Ok(Vec::new());
    };
    let mut cells = Vec::new();
    for (index, cell) in numa.elements().filter(|e| e.name == "cell").enumerate() {
        let below = |fault: Fault| fault.below("/cpu/numa/cell");
        let id: Option<u32> = Field::read(cell, "@id").map_err(below)?;
        let memory = match cell.attribute("memory") {
            Some(memory) => {
                let wrong = || below(wrong_size(cell, "@memory", memory));
                Some(kib(memory, cell.attribute("unit")).ok_or_else(wrong)?)
            }
            None => None,
        };
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        cells.push(NumaCell {
            id: id.unwrap_or(position),
            cpus: cell.attribute("cpus").map(str::to_owned),
            memory_kib: memory,
        });
    }
    cells.sort_by_key(|cell| cell.id);
    Ok(cells)
}

fn memory(tree: &Element, name: &str) -> Result<Option<u64>, Fault> {
    let Some(element) = tree.child(name) else { return Ok(None) };
    let size = kib(element.text(), element.attribute("unit"));
    size.map(Some).ok_or_else(|| wrong_size(element, &format!("/{name}"), element.text()))
}

fn wrong_size(element: &Element, path: &str, found: &str) -> Fault {
    let found = shorten(found);
    let expected = "a number, with a unit such as KiB, MiB or GiB";
    Fault::new(element.offset, path, Cause::Value { found, expected })
}
