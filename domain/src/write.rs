//! A guest to XML.

use crate::device::Device;
use crate::fields::Field;
use crate::format::format;
use crate::guest::{Guest, NumaCell};
use crate::size::kib;
use crate::tree::{Element, Node, PASSWORD};

impl Guest {
    /// Writes the guest as `virsh dumpxml` formats one.
    ///
    /// All that was read is there, with the present values of the typed fields. Devices are in libvirt's order;
    /// those of a kind are in the order of [`Guest::devices`].
    pub fn to_xml(&self) -> String {
        format(&self.to_element())
    }

    /// Writes the guest as [`Guest::to_xml`] does, but without the passwords of consoles and the cookies of disks: as
    /// `virsh dumpxml` does without `--security-info`.
    pub fn to_public_xml(&self) -> String {
        let mut tree = self.to_element();
        hide(&mut tree);
        format(&tree)
    }

    /// Returns the `<domain>` with the present values of the typed fields, and its devices in libvirt's order.
    pub fn to_element(&self) -> Element {
        let mut tree = self.tree().clone();
        if tree.name.is_empty() {
            tree = Element::new("domain");
        }
        Field::write(&Some(self.r#type), &mut tree, "@type");
        Field::write(&self.name, &mut tree, "name");
        Field::write(&self.uuid, &mut tree, "uuid");
        if let Some(max) = &self.max_memory {
            set_memory(&mut tree, "maxMemory", max.kib);
            if max.slots > 0 {
                Field::write(&Some(max.slots), &mut tree, "maxMemory@slots");
            }
        }
        if let Some(kib) = self.memory_kib {
            set_memory(&mut tree, "memory", kib);
        }
        if self.vcpus != 1 || tree.child("vcpu").is_some_and(|vcpu| !vcpu.text().is_empty()) {
            Field::write(&Some(self.vcpus), &mut tree, "vcpu");
        }
        self.os.write(&mut tree);
        self.features.write(&mut tree);
        set_numa(&mut tree, &self.numa);
        let mut devices: Vec<&Device> = self.devices.iter().collect();
        devices.sort_by_key(|device| device.device.kind());
        let elements = devices.iter().map(|device| Node::Element(device.to_element()));
        tree.child_or_new("devices").children = elements.collect();
        tree
    }
}

impl Device {
    /// Writes the element of the device.
    pub fn to_xml(&self) -> String {
        format(&self.to_element())
    }
}

/// Removes passwords of consoles and cookies of disks.
fn hide(element: &mut Element) {
    match element.name.as_str() {
        "graphics" => element.unset(PASSWORD),
        // Of other programs.
        "metadata" => return,
        _ => {}
    }
    element.remove_children("cookies");
    for node in &mut element.children {
        if let Node::Element(child) = node {
            hide(child);
        }
    }
}

fn set_memory(tree: &mut Element, name: &str, size_kib: u64) {
    let element = tree.child_or_new(name);
    if kib(element.text(), element.attribute("unit")) != Some(size_kib) {
        element.set("unit", "KiB");
        element.set_text(size_kib.to_string());
    }
}

/// Writes the cells of a guest that was not read with the same ones.
fn set_numa(tree: &mut Element, cells: &[NumaCell]) {
    if cells.is_empty() {
        return;
    }
    let numa = tree.child_or_new("cpu").child_or_new("numa");
    if numa.elements().filter(|e| e.name == "cell").count() == cells.len() {
        return;
    }
    numa.children.clear();
    for cell in cells {
        let mut element = Element::new("cell");
        element.set("id", cell.id.to_string());
        if let Some(cpus) = &cell.cpus {
            element.set("cpus", cpus);
        }
        if let Some(memory) = cell.memory_kib {
            element.set("memory", memory.to_string());
            element.set("unit", "KiB");
        }
        numa.push(element);
    }
}
