//! Reads a cache that is part of an image, such as that of a container or a fleet of hosts, without probing, and
//! checks whether its answers hold on a host with another kernel.
//!
//! `cargo run -p capscache --no-default-features --example image -- ROOT 6.12.48`

use capscache::{Cache, HostFacts, Lookup};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("give the root of a cache")?;
    let mut host = HostFacts::of_this_host();
    if let Some(release) = arguments.next() {
        host.kernel.release = release;
    }
    let cache = Cache::builder(root).host(host).open()?;
    for entry in cache.entries()? {
        let caps = entry?;
        let emulator = caps.emulator();
        let state = match cache.lookup(&emulator)? {
            Lookup::Hit(_) => "holds".to_owned(),
            Lookup::Stale { reason, .. } => format!("is probed again: {reason}"),
            _ => "is probed".to_owned(),
        };
        println!("{}: QEMU {}: {state}", emulator.display(), caps.version());
    }
    Ok(())
}
