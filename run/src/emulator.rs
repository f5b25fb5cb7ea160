//! The emulator of a guest.

use std::path::PathBuf;

use capscache_domain::Guest;

/// Returns the emulator that a guest names.
pub fn named_emulator(guest: &Guest) -> Option<PathBuf> {
    let root = guest.to_element();
    let emulator = root.child("devices")?.child("emulator")?.text().to_owned();
    Some(PathBuf::from(emulator))
}

/// Returns the name of the emulator for an architecture in libvirt's words; that of this host for `None`.
pub fn default_emulator(arch: Option<&str>) -> String {
    let target = match arch.unwrap_or(std::env::consts::ARCH) {
        "i686" => "i386",
        "armv6l" | "armv7l" | "armv7b" => "arm",
        "ppc64le" | "powerpc64" => "ppc64",
        other => other,
    };
    format!("qemu-system-{target}")
}
