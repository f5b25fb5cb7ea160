//! The time that guests take to get addresses, and how it grows with their devices.

use std::hint::black_box;

use capscache_devaddr::{Facts, Policy, assign, picture};
use capscache_domain::{
    Channel, ChannelType, Disk, DiskBus, Guest, Input, InputBus, InputType, Interface,
    InterfaceType, Rng, VirtioModel,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Returns the name of a disk: `vda` to `vdz`, then `vdaa`.
fn disk(number: usize) -> Disk {
    let mut name = Vec::new();
    let mut rest = number + 1;
    while rest > 0 {
        rest -= 1;
        name.push(b"abcdefghijklmnopqrstuvwxyz"[rest % 26]);
        rest /= 26;
    }
    let letters = name.into_iter().rev().map(char::from);
    let dev = "vd".chars().chain(letters).collect();
    Disk { bus: Some(DiskBus::Virtio), ..Disk::new(dev) }
}

/// A guest with this many devices, like those of a cloud: a third of the devices are disks, a third interfaces, and
/// the others channels, tablets and sources of random numbers.
fn guest(machine: &str, devices: usize) -> Guest {
    let mut guest = Guest::new("x86_64", machine);
    for number in 0..devices {
        match number % 9 {
            0..=2 => _ = guest.add(disk(number)),
            3..=5 => {
                let model = Some("virtio".to_owned());
                guest.add(Interface { model, ..Interface::new(InterfaceType::User) });
            }
            6 => {
                let target_type = Some(ChannelType::Virtio);
                let name = Some(format!("org.example.{number}"));
                guest.add(Channel { target_type, name, ..Channel::new() });
            }
            7 => {
                let bus = Some(InputBus::Usb);
                guest.add(Input { bus, ..Input::new(InputType::Tablet) });
            }
            _ => _ = guest.add(Rng::new(VirtioModel::Virtio)),
        }
    }
    guest
}

fn fleet(c: &mut Criterion) {
    let facts = Facts::built_in("x86_64");
    let policy = Policy::default();
    let mut group = c.benchmark_group("1000 guests of 30 devices");
    group.sample_size(20).throughput(Throughput::Elements(1000));
    for machine in ["pc", "q35"] {
        let guests = vec![guest(machine, 30); 1000];
        group.bench_function(BenchmarkId::new("assign", machine), |b| {
            b.iter_batched(
                || guests.clone(),
                |mut guests| {
                    for guest in &mut guests {
                        assign(guest, &facts, &policy).expect("there is room");
                    }
                    guests
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn growth(c: &mut Criterion) {
    let facts = Facts::built_in("x86_64");
    let policy = Policy::default();
    for machine in ["pc", "q35"] {
        let mut group = c.benchmark_group(format!("devices of {machine}"));
        // A root port for each device: 500 would need more buses than there are.
        let sizes: &[usize] = if machine == "q35" { &[30, 100, 200] } else { &[30, 100, 250, 500] };
        for devices in sizes {
            let new = guest(machine, *devices);
            let mut complete = new.clone();
            if let Err(error) = assign(&mut complete, &facts, &policy) {
                eprintln!("SKIPPED: {devices} devices of {machine}: {error}");
                continue;
            }
            group.throughput(Throughput::Elements(*devices as u64));
            group.bench_with_input(BenchmarkId::new("assign", devices), &new, |b, guest| {
                let run = |mut guest: Guest| {
                    assign(&mut guest, &facts, &policy).expect("there is room");
                    guest
                };
                b.iter_batched(|| guest.clone(), run, BatchSize::SmallInput);
            });
            group.bench_with_input(BenchmarkId::new("again", devices), &complete, |b, guest| {
                let run = |mut guest: Guest| {
                    assign(&mut guest, &facts, &policy).expect("there is room");
                    guest
                };
                b.iter_batched(|| guest.clone(), run, BatchSize::SmallInput);
            });
            let xml = complete.to_xml();
            group.bench_with_input(BenchmarkId::new("from_xml", devices), &xml, |b, xml| {
                b.iter(|| Guest::from_xml(black_box(xml)).expect("it was written"));
            });
            group.bench_with_input(BenchmarkId::new("to_xml", devices), &complete, |b, guest| {
                b.iter(|| black_box(guest).to_xml());
            });
            group.bench_with_input(BenchmarkId::new("svg", devices), &complete, |b, guest| {
                b.iter(|| picture::svg(black_box(guest)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, fleet, growth);
criterion_main!(benches);
