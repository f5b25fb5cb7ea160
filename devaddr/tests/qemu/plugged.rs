//! Devices that are plugged into an emulator that was started: it accepts them where they are placed.

use capscache_devaddr::{Error, Facts, Policy, assign, plug};
use capscache_domain::{
    Controller, ControllerModel as Model, ControllerType, Device, DeviceKind, DiskBus, Guest,
    Memballoon, MemballoonModel,
};
use serde_json::{Map, Value, json};

use crate::build::{Build, bridge, channel, nic, pci, rng, scsi, sd, tablet, vd};
use crate::check::{differences, start};
use crate::plan::{Plan, describe};
use crate::qmp::Emulator;
use crate::random::{MACHINES, Random, guest, number};

/// Adds what a device needs, then the device.
fn add(emulator: &mut Emulator, plan: &Plan) -> Result<(), String> {
    for pair in plan.arguments.chunks_exact(2) {
        let (option, value) = (pair[0].as_str(), pair[1].as_str());
        let command = match option {
            "-device" => "device_add",
            "-object" => "object_add",
            "-chardev" => "chardev-add",
            _ => {
                emulator.call("blockdev-add", node(value))?;
                continue;
            }
        };
        let line = json!({"command-line": format!("{command} {value}")});
        let message = emulator.call("human-monitor-command", line)?;
        match message.as_str().map(str::trim) {
            Some("") | None => {}
            Some(message) => return Err(format!("{command} {value}: {message}")),
        }
    }
    Ok(())
}

/// Returns the arguments of a block node.
fn node(options: &str) -> Value {
    let options = options.split(',').filter_map(|option| option.split_once('='));
    let typed = |value: &str| match (value, value.parse::<u64>()) {
        ("on", _) => json!(true),
        (_, Ok(number)) => json!(number),
        (text, Err(_)) => json!(text),
    };
    Value::Object(options.map(|(key, value)| (key.to_owned(), typed(value))).collect::<Map<_, _>>())
}

/// Plugs devices into a guest and its emulator; returns their number.
fn plug_all(guest: &mut Guest, emulator: &mut Emulator, seed: u64) -> Result<usize, String> {
    let arch = guest.os.arch.clone().unwrap();
    let (facts, policy) = (Facts::built_in(&arch), Policy::default());
    let mut random = Random(seed);
    let mut plugged = 0;
    for n in 0..12 {
        let device: DeviceKind = match random.below(6) {
            0 => nic("virtio").into(),
            1 => vd(400 + n).into(),
            2 => rng().into(),
            3 => channel(400 + n).into(),
            4 => sd(400 + n).into(),
            _ if arch == "s390x" => nic("virtio").into(),
            _ => tablet(0).into(),
        };
        let mut device = Device::new(device);
        device.alias = Some(format!("plugged{n}"));
        match plug(guest, device, &facts, &policy) {
            Ok(_) => {}
            // It would need a controller.
            Err(Error::NoFreeSlot { .. }) => continue,
            Err(error) => return Err(error.to_string()),
        }
        let is_new = |d: &Device| d.alias.as_deref() == Some(&format!("plugged{n}"));
        let at = guest.devices.iter().position(is_new).unwrap();
        // Positions move when devices are added; the names of those that were plugged before do not.
        let mut plan = Plan::of_one(guest, at);
        plan.rename(&format!("d{at}"), &format!("p{n}"));
        add(emulator, &plan).map_err(|e| format!("{}: {e}", describe(&guest.devices[at])))?;
        let found = differences(emulator, &plan.expected)?;
        if !found.is_empty() {
            return Err(found.join("\n"));
        }
        plugged += 1;
    }
    Ok(plugged)
}

#[test]
fn qemu_accepts_plugged_devices_where_they_are_placed() {
    let mut wrong = Vec::new();
    let (mut guests, mut devices) = (0, 0);
    for (arch, machine) in MACHINES {
        for seed in 0..number() {
            let mut guest = guest(arch, machine, seed);
            guest.devices.retain(|device| !is_scsi(device));
            guest.add(scsi(0, Model::VirtioScsi));
            let policy = Policy { spare: Some(4), ..Policy::default() };
            match assign(&mut guest, &Facts::built_in(arch), &policy) {
                Ok(_) => {}
                // Two devices by hand may have one address.
                Err(Error::AddressInUse { .. }) => continue,
                Err(error) => {
                    wrong.push(format!("{arch} {machine} {seed}: {error}"));
                    continue;
                }
            }
            let plan = Plan::new(&guest);
            if !plan.can_start() {
                break;
            }
            guests += 1;
            match start(&plan, |emulator| plug_all(&mut guest, emulator, seed)) {
                Ok(plugged) => devices += plugged,
                Err(message) => wrong.push(format!("{arch} {machine} {seed}: {message}")),
            }
        }
    }
    println!("{devices} devices are plugged into {guests} guests");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(devices >= guests);
}

fn is_scsi(device: &Device) -> bool {
    matches!(&device.device, DeviceKind::Disk(disk) if disk.bus == Some(DiskBus::Scsi))
        || device.controller().is_some_and(|c| c.r#type == ControllerType::Scsi)
}

/// Plugs an interface into a guest.
fn plug_interface(guest: &mut Guest) -> Result<(), Error> {
    let facts = Facts::built_in("x86_64");
    assign(guest, &facts, &Policy::default())?;
    plug(guest, Device::new(nic("virtio")), &facts, &Policy::default()).map(|_| ())
}

#[test]
fn a_full_bus_has_no_free_slot() {
    let mut guest = (2..32)
        .fold(Build::new("x86_64", "pc"), |guest, slot| guest.at(pci(0, slot, 0), nic("virtio")))
        .with(Memballoon::new(MemballoonModel::None))
        .0;
    let error = plug_interface(&mut guest).unwrap_err();
    assert!(matches!(error, Error::NoFreeSlot { .. }), "{error}");
}

#[test]
fn a_device_is_not_plugged_into_an_expander() {
    let expander = Controller { node: Some(0), ..bridge(1, Model::PciExpanderBus) };
    let guest = Build::new("x86_64", "pc").memory().with(expander);
    let mut guest = guest.many(28, |_| nic("virtio")).0;
    let error = plug_interface(&mut guest).unwrap_err();
    assert!(matches!(error, Error::NoFreeSlot { .. }), "{error}");
}
