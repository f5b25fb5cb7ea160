//! Distinguishes the failures that a driver handles differently, without matching on text.
//!
//! `cargo run -p capscache --example failures -- /usr/bin/qemu-system-x86_64 /bin/true /usr`

use capscache::{Cache, Error, FailureCause, chain};

/// The reaction of a driver to an error.
fn reaction(error: &Error) -> &'static str {
    match error.cause() {
        Some(FailureCause::NotAnEmulator) => "not a QEMU: reject the configuration",
        Some(FailureCause::NotPermitted) => "refused by the kernel: check the security module",
        Some(FailureCause::TimedOut) => "too slow: raise the limits, or try again later",
        Some(FailureCause::Shortage) => "out of a resource: free some, then try again",
        Some(FailureCause::Crashed) => "a broken QEMU: report it to its packager",
        Some(_) => "not probed: see the message",
        None if error.is_damage() => "a damaged entry: the next `get` replaces it",
        None => "the cache or the emulator cannot be read: see the message",
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::open(std::env::temp_dir().join("capscache-driver"))?;
    for emulator in std::env::args().skip(1) {
        match cache.get(&emulator) {
            Ok(caps) => println!("{emulator}: QEMU {}", caps.version()),
            Err(error) => println!("{emulator}: {}: {}", reaction(&error), chain(&error)),
        }
    }
    Ok(())
}
