//! Guests of random devices: more combinations than a person writes by hand. The same ones each time.

use capscache_devaddr::{Error, Facts, Policy, assign};
use capscache_domain::{
    Address, Controller, ControllerModel as Model, Device, Guest, Hub, HubType, InputBus,
    InputType, SerialType, Sound, SoundModel, Switch, VideoModel, Watchdog, WatchdogModel,
};

use crate::build::*;
use crate::check::{Outcome, run_all};
use crate::plan::{Plan, describe};

/// The guests of each machine, unless the environment variable `CAPSCACHE_RANDOM_GUESTS` gives another number.
const GUESTS: u64 = 10;

/// The number of guests of each machine.
pub(crate) fn number() -> u64 {
    let number = std::env::var("CAPSCACHE_RANDOM_GUESTS").ok();
    number.map_or(GUESTS, |number| number.parse().expect("a number"))
}

/// Architecture and machine of guests.
pub(crate) const MACHINES: [(&str, &str); 6] = [
    ("x86_64", "pc"),
    ("x86_64", "q35"),
    ("aarch64", "virt"),
    ("riscv64", "virt"),
    ("ppc64", "pseries"),
    ("s390x", "s390-ccw-virtio"),
];

/// Pseudorandom numbers (the generator splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }

    /// A number below a limit; small ones are more frequent.
    pub(crate) fn few(&mut self, limit: u32) -> u32 {
        let most = self.below(limit) + 1;
        self.below(most)
    }

    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(u32::try_from(all.len()).unwrap()) as usize]
    }
}

/// Returns a guest of a machine; `seed` chooses it.
pub(crate) fn guest(arch: &str, machine: &str, seed: u64) -> Guest {
    let mut random = Random(seed);
    let random = &mut random;
    let is_s390 = arch == "s390x";
    let is_x86 = arch == "x86_64";
    let mut guest = Build::new(arch, machine);
    guest = match machine {
        "q35" => express(guest, random),
        "virt" if random.one_in(2) => express(guest, random),
        "pc" | "pseries" => conventional(guest, random),
        _ => guest,
    };
    // Disks by hand go where others would.
    for n in 0..random.few(4) {
        let slot = 3 + random.below(8);
        let by_hand = vd(100 + n);
        guest = match machine {
            "s390-ccw-virtio" => guest.at(ccw(random.below(12)), by_hand),
            _ if random.one_in(3) => {
                let second = pci(0, slot, 1 + random.below(7));
                guest.at(first(0, slot), by_hand).at(second, vd(200 + n))
            }
            _ => guest.at(pci(0, slot, 0), by_hand),
        };
    }
    guest = guest.many(random.few(40), vd).many(random.few(12), |_| nic("virtio"));
    guest = guest.many(random.few(3), |_| rng()).many(random.few(4), filesystem);
    guest = guest.many(random.few(40), channel);
    if random.one_in(3) {
        guest = guest.with(scsi(0, Model::VirtioScsi)).many(random.few(12), sd);
    }
    if is_s390 {
        return guest.0;
    }
    if random.one_in(2) || machine == "virt" {
        let models: &[Model] = match arch {
            "ppc64" => &[Model::PciOhci, Model::QemuXhci, Model::NecXhci],
            "x86_64" => &[Model::Piix3Uhci, Model::QemuXhci, Model::NecXhci],
            _ => &[Model::QemuXhci, Model::NecXhci],
        };
        guest = guest.with(usb(0, random.pick(models)));
        if random.one_in(2) {
            guest = guest.with(usb(1, random.pick(models)));
        }
    } else if is_x86 && random.one_in(2) {
        guest = guest
            .with(usb(0, Model::Ich9Ehci1))
            .with(companion(Model::Ich9Uhci1, 0))
            .with(companion(Model::Ich9Uhci2, 2))
            .with(companion(Model::Ich9Uhci3, 4));
    }
    if random.one_in(4) {
        guest = guest.at(usb_port(0, "1"), Hub::new(HubType::Usb));
    }
    guest = guest.many(random.few(14), tablet);
    guest = guest.many(random.few(6), |_| nic("e1000"));
    guest = guest.many(random.few(3), |_| serial(SerialType::PciSerial));
    if random.one_in(3) {
        guest = guest.with(Watchdog::new(WatchdogModel::I6300esb));
    }
    if random.one_in(3) {
        let sound = [SoundModel::Ac97, SoundModel::Ich6, SoundModel::Es1370, SoundModel::Usb];
        guest = guest.with(Sound::new(random.pick(&sound)));
    }
    if random.one_in(2) {
        guest = guest.with(video(VideoModel::Virtio));
    }
    guest = guest.many(random.few(3), |_| input(InputType::Keyboard, InputBus::Virtio));
    guest = guest.many(random.few(4), shmem).many(random.few(4), host);
    guest.0
}

/// Adds controllers of PCIe.
fn express(mut guest: Build, random: &mut Random) -> Build {
    let mut index = 1;
    let has_expanders = guest.0.os.arch.as_deref() != Some("riscv64");
    if has_expanders && random.one_in(4) {
        let node = Some(random.below(2));
        let expander = Controller { node, ..bridge(1, Model::PcieExpanderBus) };
        guest = guest.memory().with(expander);
        for port in 0..random.few(4) {
            guest = guest.at(pci(1, port, 0), bridge(2 + port, Model::PcieRootPort));
        }
        index = 6;
    }
    for _ in 0..random.few(6) {
        let hotplug = random.one_in(3).then_some(Switch::Off);
        guest = guest.with(Controller { hotplug, ..bridge(index, Model::PcieRootPort) });
        index += 1;
    }
    if random.one_in(4) {
        guest = guest.with(bridge(index, Model::PcieRootPort));
        guest = guest.with(bridge(index + 1, Model::PcieSwitchUpstreamPort));
        for port in 0..random.few(5) {
            guest = guest.with(bridge(index + 2 + port, Model::PcieSwitchDownstreamPort));
        }
    } else if random.one_in(4) {
        guest = guest.with(bridge(index, Model::PcieToPciBridge));
    }
    guest
}

/// Adds controllers of conventional PCI.
fn conventional(mut guest: Build, random: &mut Random) -> Build {
    let bridges = random.few(4);
    for index in 1..=bridges {
        guest = guest.with(bridge(index, Model::PciBridge));
    }
    if guest.0.os.machine.as_deref() == Some("pc") && random.one_in(4) {
        let node = Some(random.below(2));
        let expander = Controller { node, ..bridge(bridges + 1, Model::PciExpanderBus) };
        guest = guest.memory().with(expander);
        let slot = random.below(32);
        guest = guest.at(pci(bridges + 1, slot, 0), nic("virtio"));
    }
    guest
}

/// The device without the flag that the first of several functions gets.
fn without_multifunction(mut device: Device) -> Device {
    if let Some(Address::Pci(pci)) = &mut device.address {
        pci.multifunction = None;
    }
    device
}

/// Assigns addresses, in two steps for some guests: devices that are added later leave the others where they are.
fn assign_in_steps(guest: &mut Guest, facts: &Facts, seed: u64) -> Result<(), Box<Error>> {
    let policy = Policy::default();
    assign(guest, facts, &policy)?;
    let mut random = Random(seed ^ 1);
    if random.one_in(2) {
        return Ok(());
    }
    let before = guest.devices.clone();
    (0..random.few(9)).for_each(|_| _ = guest.add(nic("virtio")));
    (0..random.few(9)).for_each(|n| _ = guest.add(vd(300 + n)));
    (0..random.few(9)).for_each(|n| _ = guest.add(channel(100 + n)));
    assign(guest, facts, &policy)?;
    for device in before {
        let name = describe(&device);
        let device = without_multifunction(device);
        let mut now = guest.devices.iter().cloned().map(without_multifunction);
        assert!(now.any(|now| now == device), "{name} is not where it was");
    }
    Ok(())
}

#[test]
fn qemu_has_the_devices_of_random_guests_where_they_should_be() {
    let mut wrong = Vec::new();
    let mut names = Vec::new();
    let mut plans = Vec::new();
    let mut refused = 0;
    for (arch, machine) in MACHINES {
        for seed in 0..number() {
            let mut guest = guest(arch, machine, seed);
            let name = format!("{arch} {machine} {seed}");
            match assign_in_steps(&mut guest, &Facts::built_in(arch), seed) {
                // Two devices by hand may have one address.
                Err(error) if matches!(*error, Error::AddressInUse { .. }) => {
                    refused += 1;
                    continue;
                }
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
                Ok(()) => {}
            }
            let plan = Plan::new(&guest);
            if !plan.can_start() {
                break;
            }
            names.push(name);
            plans.push(plan);
        }
    }
    println!("{refused} guests have two devices at one address");
    check(&names, &plans, wrong);
}

/// Compares the emulators with the plans.
pub(crate) fn check(names: &[String], plans: &[Plan], mut wrong: Vec<String>) {
    let mut devices = 0;
    for (name, outcome) in names.iter().zip(run_all(plans)) {
        match outcome {
            Outcome::Agrees(n) => devices += n,
            Outcome::Differs(differences) => wrong.push(format!("{name}: {differences:#?}")),
            Outcome::Refuses(message) => wrong.push(format!("{name}: {message}")),
        }
    }
    println!("{devices} devices of {} guests are where they should be", names.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
