//! Guests with libvirt's addresses: the comparison finds agreement where there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use capscache_domain::Guest;

use crate::check::{Outcome, run_all};
use crate::plan::Plan;

/// Messages of emulators that refuse a guest for another reason than a wrong address of libvirt's.
const OTHER_REASONS: [&str; 8] = [
    // The emulator was built without the device, or is not as new as the guest.
    "is not a valid device model name",
    "could not find firmware",
    // Addresses in the guest that its author wrote, and that libvirt let through.
    "bus supports only 2 units",
    "Bus 'ide.2' not found",
    "single function device can't be populated",
    // Boards with fewer buses than libvirt's guests for them use.
    "No 'virtio-bus' bus found",
    "No 'PCI' bus found",
    "Bus 'scsi0.0' not found",
];

/// Machines whose first PCI bus has a name that depends on the version.
const OTHER_MACHINES: [&str; 1] = ["powernv"];

/// The guests that libvirt wrote, by name; `None` if they are not here.
fn guests() -> Option<BTreeMap<String, Guest>> {
    let root = std::env::var_os("CAPSCACHE_LIBVIRT_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/libvirt"),
        PathBuf::from,
    );
    let folder = root.join("guests");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: there are no guests of libvirt in {}", folder.display());
        return None;
    };
    let mut guests = BTreeMap::new();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".xml") else { continue };
        if !stem.contains('.') {
            continue;
        }
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let guest = Guest::from_xml(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        guests.insert(stem.to_owned(), guest);
    }
    Some(guests)
}

#[test]
fn qemu_has_the_devices_of_libvirt_s_guests_where_libvirt_says() {
    let Some(guests) = guests() else { return };
    let mut names: Vec<&String> = Vec::new();
    let mut plans: Vec<Plan> = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, guest) in &guests {
        let plan = Plan::new(guest);
        let machine = guest.os.machine.as_deref().unwrap_or_default();
        let is_other = OTHER_MACHINES.iter().any(|other| machine.starts_with(other));
        // Many guests differ in nothing that has an address.
        if !is_other && plan.can_start() && seen.insert(plan.arguments.clone()) {
            names.push(name);
            plans.push(plan);
        }
    }
    let (mut guests, mut devices) = (0, 0);
    let mut wrong = Vec::new();
    for (name, outcome) in names.iter().zip(run_all(&plans)) {
        match outcome {
            Outcome::Agrees(n) => (guests, devices) = (guests + 1, devices + n),
            Outcome::Differs(differences) => wrong.push(format!("{name}: {differences:#?}")),
            Outcome::Refuses(message) if OTHER_REASONS.iter().any(|r| message.contains(r)) => {}
            Outcome::Refuses(message) => wrong.push(format!("{name}: {message}")),
        }
    }
    println!("{devices} devices of {guests} guests are where libvirt says");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(plans.is_empty() || guests * 10 > plans.len() * 8, "{guests} of {}", plans.len());
}
