//! Values that identify a guest, which libvirt generates if they are missing: its UUID and its MAC addresses.

use std::io;

use capscache_domain::{DeviceKind, Guest};

use crate::uuid;

/// The prefix of MAC addresses of QEMU's guests.
const MAC_PREFIX: [u8; 3] = [0x52, 0x54, 0x00];

/// Adds the UUID and the MAC addresses that are missing, from random numbers.
pub(crate) fn complete(guest: &mut Guest) -> io::Result<()> {
    if guest.uuid.is_none() {
        guest.uuid = Some(random_uuid()?);
    }
    for device in &mut guest.devices {
        if let DeviceKind::Interface(interface) = &mut device.device
            && interface.mac.is_none()
        {
            let mut random = [0; 3];
            getrandom::fill(&mut random)?;
            let bytes = MAC_PREFIX.iter().chain(&random);
            let octets: Vec<_> = bytes.map(|byte| format!("{byte:02x}")).collect();
            interface.mac = Some(octets.join(":"));
        }
    }
    Ok(())
}

/// Returns a UUID of version 4.
fn random_uuid() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(uuid::format(&digits).unwrap_or(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_what_identifies_it_and_keeps_what_it_has() {
        let text = "<domain type='qemu'><os><type arch='x86_64'>hvm</type></os><devices>\
                    <interface type='user'/>\
                    <interface type='user'><mac address='52:54:00:00:00:01'/></interface>\
                    </devices></domain>";
        let mut guest = Guest::from_xml(text).unwrap();
        complete(&mut guest).unwrap();
        let uuid = guest.uuid.clone().unwrap();
        assert_eq!((&uuid[14..15], uuid.len()), ("4", 36));
        let xml = guest.to_xml();
        assert!(xml.contains(&format!("<uuid>{uuid}</uuid>")), "{xml}");
        assert_eq!(xml.matches("<mac address='52:54:00:").count(), 2, "{xml}");
        assert!(xml.contains("52:54:00:00:00:01"), "{xml}");
        let before = guest.clone();
        complete(&mut guest).unwrap();
        assert_eq!(guest, before);
    }
}
