//! Guests that policies other than libvirt's place.

use std::collections::BTreeMap;

use capscache_devaddr::{DevicePolicy, Error, Facts, Policy, SlotKind, assign};
use capscache_domain::{
    ControllerModel as Model, ControllerType, Device, DeviceKind, DiskBus, Guest,
};

use crate::build::{Build, add_nodes, balloon, nic};
use crate::plan::Plan;
use crate::random::{MACHINES, Random, check, guest, number};

/// Returns a policy; `seed` chooses it.
fn policy(guest: &Guest, machine: &str, has_nodes: bool, seed: u64) -> Policy {
    let mut random = Random(seed);
    let random = &mut random;
    let slots = [SlotKind::Pci, SlotKind::Pcie];
    let is_express = matches!(machine, "q35" | "virt");
    let mut policy = Policy {
        spare: random.one_in(2).then(|| random.few(6)),
        slot: (is_express && random.one_in(3)).then(|| random.pick(&slots)),
        hotplug: (is_express && random.one_in(3)).then(|| random.one_in(2)),
        packed: random.one_in(3),
        expanders: has_nodes && random.one_in(3),
        ..Policy::default()
    };
    for (device, position) in [("interface", 0), ("interface", 1), ("rng", 0), ("disk", 0)] {
        // A rule is for a device on PCI.
        let is_on_pci = |d: &&Device| d.device.name() == device && !is_scsi(d);
        let count = guest.devices.iter().filter(is_on_pci).count();
        if count > position && machine != "s390-ccw-virtio" && random.one_in(3) {
            policy.devices.push(DevicePolicy {
                device: format!("{device}/{position}"),
                node: (has_nodes && random.one_in(2)).then(|| random.below(2)),
                slot: (is_express && random.one_in(4)).then(|| random.pick(&slots)),
                hotplug: (is_express && random.one_in(4)).then(|| random.one_in(2)),
                packed: random.one_in(4).then(|| random.one_in(2)),
            });
        }
    }
    policy
}

fn is_scsi(device: &Device) -> bool {
    matches!(&device.device, DeviceKind::Disk(disk) if disk.bus == Some(DiskBus::Scsi))
}

fn is_expander(device: &Device) -> bool {
    let models = [Model::PciExpanderBus, Model::PcieExpanderBus];
    device.controller().and_then(|c| c.model).is_some_and(|model| models.contains(&model))
}

/// Returns the expanders whose buses overlap: firmware numbers the buses below an expander on from its number.
fn overlaps(guest: &Guest) -> Vec<String> {
    let controllers = || {
        let pci = |c: &&capscache_domain::Controller| c.r#type == ControllerType::Pci;
        guest.devices.iter().filter_map(move |device| {
            let controller = device.controller().filter(pci)?;
            Some((controller.index?, device.address.as_ref().and_then(|a| a.pci()), controller))
        })
    };
    let parents: BTreeMap<u32, u32> =
        controllers().filter_map(|(index, address, _)| Some((index, address?.bus))).collect();
    // The first bus of each expander, and the number of buses below it.
    let mut ranges: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for (index, _, controller) in controllers() {
        if let Some(number) = controller.bus_nr {
            // A conventional expander has a bridge of its own.
            let own = u32::from(controller.model == Some(Model::PciExpanderBus));
            ranges.insert(index, (number, own));
        }
    }
    for (index, ..) in controllers() {
        let mut at = index;
        for _ in 0..32 {
            let Some(parent) = parents.get(&at) else { break };
            if let Some((_, below)) = ranges.get_mut(parent) {
                *below += 1;
                break;
            }
            at = *parent;
        }
    }
    let mut ranges: Vec<(u32, u32)> = ranges.into_values().collect();
    ranges.sort_unstable();
    let ends = ranges.iter().skip(1).map(|(first, _)| *first).chain([256]);
    let pairs = ranges.iter().zip(ends);
    let over = pairs.filter(|((first, below), end)| first + below >= *end);
    over.map(|((first, below), end)| format!("bus {first} has {below} below, and {end} follows"))
        .collect()
}

#[test]
fn qemu_has_the_devices_where_policies_place_them() {
    let mut wrong = Vec::new();
    let mut names = Vec::new();
    let mut plans = Vec::new();
    let mut refused = 0;
    for (arch, machine) in MACHINES {
        for seed in 0..number() {
            let mut guest = guest(arch, machine, seed);
            let has_nodes =
                matches!((arch, machine), ("x86_64", _) | ("aarch64", _)) && seed % 2 == 0;
            if has_nodes {
                add_nodes(&mut guest);
            }
            guest.add(balloon());
            let name = format!("{arch} {machine} {seed}");
            let policy = policy(&guest, machine, has_nodes, seed);
            let is_expanded = guest.devices.iter().any(is_expander);
            match assign(&mut guest, &Facts::built_in(arch), &policy) {
                // Two devices by hand may have one address.
                Err(Error::AddressInUse { .. }) => {
                    refused += 1;
                    continue;
                }
                Err(error) => {
                    wrong.push(format!("{name}: {error}, {policy:?}"));
                    continue;
                }
                Ok(_) => {}
            }
            // libvirt's rule leaves one bus below an expander by hand.
            if !is_expanded {
                let overlaps = overlaps(&guest).into_iter();
                wrong.extend(overlaps.map(|overlap| format!("{name}: {overlap}, {policy:?}")));
            }
            let plan = Plan::new(&guest);
            if !plan.can_start() {
                break;
            }
            names.push(format!("{name}, {policy:?}"));
            plans.push(plan);
        }
    }
    println!("{refused} guests have two devices at one address");
    check(&names, &plans, wrong);
}

#[test]
fn conventional_devices_find_a_slot_where_ports_are_without_hotplug() {
    let mut guest = Build::new("x86_64", "q35").with(nic("virtio")).with(nic("e1000")).0;
    let policy = Policy { hotplug: Some(false), ..Policy::default() };
    assign(&mut guest, &Facts::built_in("x86_64"), &policy).unwrap();
}
