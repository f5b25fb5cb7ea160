//! USB ports, which libvirt's XML does not show: those on its command lines.

use std::collections::HashMap;
use std::fs;

use capscache_devaddr::{Policy, assign};
use capscache_domain::{Address, Guest};

use crate::cases::{Emulators, cases, folder};

/// The ports of USB devices on a command line of QEMU: pairs of bus and port.
fn ports_of(command_line: &str) -> Vec<String> {
    let port = |part: &str| {
        let (bus, rest) = part.split_once('"')?;
        let port = rest.strip_prefix(",\"port\":\"")?.split('"').next()?;
        Some(format!("{bus} {port}"))
    };
    let mut ports: Vec<String> =
        command_line.split("\"bus\":\"usb").skip(1).filter_map(port).collect();
    // The first controller has no number.
    ports.iter_mut().for_each(|port| *port = port.replace(".0", "").trim_start().to_owned());
    ports.sort();
    ports
}

#[test]
fn usb_devices_get_the_ports_that_are_on_libvirts_command_lines() {
    let Some(folder) = folder() else { return };
    let mut emulators = Emulators { folder: folder.clone(), known: HashMap::new() };
    let (mut equal, mut different) = (0, Vec::new());
    for case in cases(&folder, "args") {
        let command_line = fs::read_to_string(&case.result).unwrap();
        let given = fs::read_to_string(&case.guest).unwrap();
        let Ok(mut guest) = Guest::from_xml(&given) else { continue };
        let Ok(_) = assign(&mut guest, &emulators.facts(&case), &Policy::default()) else {
            continue;
        };
        let theirs = ports_of(&command_line);
        let on_usb = guest.devices.iter().filter_map(|device| match &device.address {
            Some(Address::Usb(usb)) if usb.bus == 0 => Some(format!("{}", usb.port)),
            Some(Address::Usb(usb)) => Some(format!("{} {}", usb.bus, usb.port)),
            _ => None,
        });
        let mut ours: Vec<String> = on_usb.collect();
        ours.sort();
        if ours == theirs {
            equal += usize::from(!theirs.is_empty());
        } else {
            different.push(format!("{}: {ours:?} instead of {theirs:?}", case.name));
        }
    }
    println!("command lines with equal USB ports: {equal}");
    assert!(different.len() * 10 <= equal, "{}", different.join("\n"));
}
