//! Time grows with the number of devices, and not faster.

use std::time::{Duration, Instant};

use capscache_devaddr::{Facts, Policy, assign};
use capscache_domain::{Disk, DiskBus, Guest, Interface, InterfaceType, Rng, VirtioModel};

/// A guest with this many virtio devices.
fn guest(machine: &str, devices: usize) -> Guest {
    let mut guest = Guest::new("x86_64", machine);
    for index in 0..devices {
        match index % 3 {
            0 => {
                let mut name = String::new();
                let mut rest = index / 3 + 1;
                while rest > 0 {
                    rest -= 1;
                    name.insert(0, char::from(b'a' + u8::try_from(rest % 26).unwrap()));
                    rest /= 26;
                }
                guest.add(Disk { bus: Some(DiskBus::Virtio), ..Disk::new(format!("vd{name}")) });
            }
            1 => {
                let model = Some("virtio".to_owned());
                guest.add(Interface { model, ..Interface::new(InterfaceType::User) });
            }
            _ => {
                guest.add(Rng::new(VirtioModel::Virtio));
            }
        }
    }
    guest
}

/// The shortest of several runs.
fn time(machine: &str, devices: usize) -> Duration {
    let facts = Facts::built_in("x86_64");
    let run = || {
        let mut guest = guest(machine, devices);
        let start = Instant::now();
        assign(&mut guest, &facts, &Policy::default()).unwrap();
        start.elapsed()
    };
    (0..20).map(|_| run()).min().unwrap()
}

#[test]
fn the_time_for_ten_times_the_devices_is_about_ten_times_as_long() {
    for (machine, few, many) in [("pc", 50, 500), ("q35", 20, 200)] {
        let (short, long) = (time(machine, few), time(machine, many));
        println!("{machine}: {few} devices {short:?}, {many} devices {long:?}");
        assert!(long < short * 30, "{machine}: {short:?} and {long:?}");
    }
}
