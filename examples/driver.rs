//! A driver in thirty lines: decides how to start a guest, from the capabilities of QEMU on this host.
//!
//! `cargo run -p capscache --example driver -- /usr/bin/qemu-system-x86_64`

use capscache::{Accelerator, Cache, Groups, Tri};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = std::env::args().nth(1).ok_or("give the path of an emulator")?;
    let root = std::env::temp_dir().join("capscache-driver");

    let cache = Cache::open(root)?;
    let caps = cache.get(&emulator)?;
    println!("QEMU {} for {} ({})", caps.version(), caps.arch(), caps.package());

    let best = caps.best()?;
    if best.accelerator() != Accelerator::Kvm {
        println!("no KVM here: the guest will be slow");
    }
    if let Ok(machine) = best.default_machine() {
        println!("machine {} with at most {:?} CPUs", machine.name(), machine.max_cpus());
    }
    let usable = best.cpu_models().filter(|model| model.usable() == Tri::Yes).count();
    println!("{usable} CPU models run here");

    let io_uring = caps.schema().has("blockdev-add/arg-type/+file/aio/^io_uring");
    println!("io_uring for disks: {io_uring}");

    // Properties of every device are a separate group, which is probed once, when first needed.
    let caps = cache.get_with(&emulator, Groups::DEVICES)?;
    let queue_size = caps.device("virtio-blk-pci")?.property("queue-size")?;
    println!("virtio-blk-pci has queue-size, by default {:?}", queue_size.default_value());
    Ok(())
}
