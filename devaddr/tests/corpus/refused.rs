//! Guests that libvirt refuses for their addresses are refused.

use std::collections::HashMap;
use std::fs;

use capscache_devaddr::{Policy, assign};
use capscache_domain::Guest;

use crate::cases::{Emulators, apply, cases, folder, special};

/// Words in libvirt's errors that are about addresses, buses, controllers and models of devices.
const ABOUT_ADDRESSES: &[&str] = &[
    "PCI",
    "pci-",
    "slot",
    "address",
    "bus ",
    "bus=",
    "controller",
    " port ",
    "'port",
    "function",
    "isolation",
    "USB",
    "CCW",
    "uid",
    "duplicated",
    "Hostdev already",
    "primary",
    "target index",
    "panic",
    "address type",
    "overlap",
    "device=",
];

/// Words in libvirt's errors that have those words and are about something else.
const ABOUT_OTHERS: &[&str] = &[
    "supports 'vendor'",
    "supported by this QEMU",
    "iothread",
    "CPU maximum physical address",
    "memory tuning",
    "parallel ports",
    "virtio (non-)transitional",
    "serial device",
    "Serial device",
    "rawio",
    "lun",
    "supported on architecture",
    "chardev",
    "is only supported with one of",
    "nvram",
    "virt type",
    "support arch",
    "additional attributes",
    "MAC address",
    "mac address",
    "IP address",
    "listen address",
    "functionality",
];

#[test]
fn guests_that_libvirt_refuses_for_their_addresses_are_refused() {
    let Some(folder) = folder() else { return };
    let mut emulators = Emulators { folder: folder.clone(), known: HashMap::new() };
    let special = special(&folder);
    let (mut refused, mut accepted) = (0, Vec::new());
    for case in cases(&folder, "err") {
        let error = fs::read_to_string(&case.result).unwrap();
        let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
        let is_about_addresses = has(ABOUT_ADDRESSES) && !has(ABOUT_OTHERS);
        let result = match Guest::from_xml(&fs::read_to_string(&case.guest).unwrap()) {
            Ok(mut guest) => {
                let setting = special.iter().find(|(name, setting)| {
                    case.name.starts_with(&format!("{name}.")) && setting.contains("FAILURE")
                });
                let setting = setting.map_or("", |(_, setting)| setting.as_str());
                let facts = apply(emulators.facts(&case), setting);
                assign(&mut guest, &facts, &Policy::default())
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let error = error.trim().to_owned();
        match (is_about_addresses, result) {
            (true, Err(ours)) => {
                println!("refused: {}:\n  libvirt: {error}\n  here: {ours}", case.name);
                refused += 1;
            }
            (true, Ok(())) => accepted.push(format!("{}: {error}", case.name)),
            (false, Err(ours)) => println!("also refused: {}: {ours}", case.name),
            (false, Ok(())) => println!("not about addresses: {}: {error}", case.name),
        }
    }
    for case in &accepted {
        println!("accepted: {case}");
    }
    println!("errors about addresses: {refused} refused, {} accepted", accepted.len());
    // The words are a guess: an error may have them and be about something else.
    assert!(accepted.len() * 10 <= refused, "{accepted:?}");
}
