//! Goes on with old answers while a probe runs: a driver that starts up does not wait for QEMU.
//!
//! `cargo run -p capscache --example stale -- /usr/bin/qemu-system-x86_64`

use capscache::{Cache, Capabilities, Lookup};

/// The capabilities to start with, and whether they may be stale; `None` if there are none yet.
fn at_once(
    cache: &Cache,
    emulator: &str,
) -> Result<Option<(Capabilities, bool)>, capscache::Error> {
    Ok(match cache.lookup(emulator)? {
        Lookup::Hit(entry) => Some((entry, false)),
        Lookup::Stale { reason, entry, .. } => {
            println!("stale: {reason}");
            Some((entry, true))
        }
        Lookup::Failed(failure) => {
            println!("no new answers: {failure}");
            cache.entry(emulator)?.map(|entry| (entry, true))
        }
        _ => None,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = std::env::args().nth(1).ok_or("give the path of an emulator")?;
    let cache = Cache::open(std::env::temp_dir().join("capscache-driver"))?;

    let started_with = at_once(&cache, &emulator)?;
    if let Some((old, is_stale)) = &started_with {
        let note = if *is_stale { ", for now" } else { "" };
        println!("starting with QEMU {}{note}", old.version());
    }
    if !matches!(started_with, Some((_, false))) {
        // The rest of the driver runs meanwhile.
        let (probing, path) = (cache.clone(), emulator.clone());
        let probe = std::thread::spawn(move || probing.get(path));
        let fresh = probe.join().map_err(|_| "the thread of the probe panicked")??;
        println!("now QEMU {}", fresh.version());
    }
    Ok(())
}
