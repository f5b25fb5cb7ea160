//! Passwords of graphical consoles in the memory of this process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use capscache_domain::Guest;
use zeroize::{Zeroize, Zeroizing};

/// The password with all bits inverted, so that no copy of it is in the program.
const INVERTED: &[u8] = &[!b'q', !b'7', !b'Z', !b'k', !b'0', !b'w', !b'P', !b'!'];

/// Returns the number of places in the writable memory that have the password.
fn copies() -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for map in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (range, _) = map.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Other threads may have unmapped it meanwhile.
        let Ok(count) = memory.read_at(&mut bytes, start) else { continue };
        let windows = bytes[..count].windows(INVERTED.len());
        found += windows
            .filter(|window| window.iter().zip(INVERTED).all(|(byte, other)| *byte == !other))
            .count();
        bytes.zeroize();
    }
    found
}

#[test]
fn no_copy_of_a_password_stays_in_memory_when_the_guests_are_dropped() {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    text.push_str(
        "<domain type='qemu'><name>a</name><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><graphics type='vnc' port='1' passwd='",
    );
    INVERTED.iter().for_each(|byte| text.push(char::from(!byte)));
    text.push_str("'/></devices></domain>");
    let guest = Guest::from_xml(&text).unwrap();
    drop(text);
    let same = guest.clone();
    let element = same.to_element();
    let before = copies();
    assert!(before > 0, "the search does not find it");
    drop((guest, same, element));
    assert_eq!(copies(), 0);
}
