//! Comparison of guests: their controllers and all addresses.

use std::collections::BTreeMap;

use capscache_domain::{Address, Device, DeviceKind, Guest, Kind, YesNo};

/// Shows a device by which it is compared: all of a controller, and the kind, model and address of others.
pub(crate) fn shown(device: &Device) -> String {
    let address = match &device.address {
        Some(Address::Pci(pci)) => {
            let multifunction = pci.multifunction.map(|m| m.to_string()).unwrap_or_default();
            format!("PCI {pci} {multifunction} {:?}", pci.zpci)
        }
        Some(address) => format!("{address:?}"),
        None => "-".to_owned(),
    };
    let identity = match &device.device {
        DeviceKind::Controller(controller) => format!("{controller:?}"),
        DeviceKind::Disk(disk) => format!("disk {} {:?}", disk.dev, disk.bus),
        DeviceKind::Input(input) => format!("{:?} {:?}", input.r#type, input.bus),
        DeviceKind::Video(video) => {
            format!("video {:?} {}", video.model, video.primary == Some(YesNo::Yes))
        }
        DeviceKind::Panic(panic) => format!("{panic:?}"),
        DeviceKind::Serial(serial) => format!("serial {:?}", serial.target_type),
        DeviceKind::Console(console) => format!("console {:?}", console.target_type),
        DeviceKind::Channel(channel) => format!("channel {:?}", channel.target_type),
        DeviceKind::Watchdog(watchdog) => format!("watchdog {}", watchdog.model),
        DeviceKind::Memballoon(balloon) => format!("balloon {}", balloon.model),
        DeviceKind::Sound(sound) => format!("sound {}", sound.model),
        other => other.name().to_owned(),
    };
    format!("{identity} at {address}")
}

/// The devices that a comparison is about: all but the audio backend, which is not visible to the guest.
pub(crate) fn comparable(guest: &Guest) -> Vec<String> {
    let skipped = [Kind::Audio, Kind::Emulator];
    let devices = guest.devices.iter().filter(|d| !skipped.contains(&d.device.kind()));
    devices.map(shown).collect()
}

/// Returns the lines of which only one side has each, with its sign.
pub(crate) fn difference(ours: &[String], theirs: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    ours.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    theirs.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    let differing = counts.into_iter().filter(|(_, count)| *count != 0);
    let mut lines: Vec<String> = differing
        .map(|(line, count)| format!("{} {line}", if count > 0 { "+" } else { "-" }))
        .collect();
    if lines.is_empty() {
        lines.push(format!("another order:\n{}\n=\n{}", ours.join("\n"), theirs.join("\n")));
    }
    lines
}
