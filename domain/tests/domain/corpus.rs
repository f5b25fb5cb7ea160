//! libvirt's own guests, if present: each is read strictly, and written without loss.

use std::fs;
use std::path::{Path, PathBuf};

use capscache_domain::{Element, Guest, Node};

fn guests() -> Vec<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/libvirt");
    let folder = std::env::var_os("CAPSCACHE_LIBVIRT_CORPUS").map_or_else(beside, PathBuf::from);
    let folder = folder.join("guests");
    let Ok(files) = fs::read_dir(&folder) else {
        println!("SKIPPED: libvirt's guests are not there: {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "xml"));
    files.sort();
    files
}

/// Returns true if libvirt refuses the guest while it reads it.
fn is_refused(file: &Path) -> bool {
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    let beside = fs::read_dir(file.parent().unwrap()).unwrap();
    let mut names = beside.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    names.any(|other| other.starts_with(&format!("{name}.")) && other.ends_with(".err"))
}

/// Elements without positions, with sorted attributes.
fn normal(element: &Element) -> Element {
    let mut attributes = element.attributes.clone();
    attributes.iter_mut().for_each(|a| a.offset = 0);
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    let children = element.children.iter().map(|node| match node {
        Node::Element(child) => Node::Element(normal(child)),
        Node::Text(text) => Node::Text(text.trim().to_owned()),
    });
    Element { name: element.name.clone(), attributes, children: children.collect(), offset: 0 }
}

#[test]
fn every_guest_of_libvirt_is_read_strictly() {
    let mut failed = Vec::new();
    for file in guests() {
        let text = fs::read_to_string(&file).unwrap();
        if let Err(error) = Guest::from_xml(&text)
            && !is_refused(&file)
        {
            failed.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_guest_that_libvirt_wrote_is_written_with_all_that_was_read() {
    let mut failed = Vec::new();
    for file in guests() {
        if file.file_stem().unwrap().to_string_lossy().rsplit_once('.').is_none() {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let Ok(guest) = Guest::from_xml(&text) else { continue };
        let written = guest.to_xml();
        let again = Guest::from_xml(&written).unwrap();
        if normal(guest.tree()) != normal(again.tree()) {
            failed.push(format!("{}: another tree", file.display()));
        }
        for (before, after) in guest.devices.iter().zip(&again.devices) {
            if normal(before.element()) != normal(after.element()) {
                failed.push(format!("{}:\n{}", file.display(), after.to_xml()));
            }
        }
        if written != text {
            println!("{}: other text", file.display());
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
