//! Names of disks, as in `sda`, and the addresses that follow from them.

use capscache_domain::{DiskBus, DriveAddress};

/// The number of units of a SCSI bus that get devices which name no address.
pub(crate) const SCSI_UNITS: u32 = 7;

/// Prefixes of names, with the bus of a disk that does not say on which it is.
const PREFIXES: &[(&str, DiskBus)] = &[
    ("fd", DiskBus::Fdc),
    ("hd", DiskBus::Ide),
    ("vd", DiskBus::Virtio),
    ("sd", DiskBus::Scsi),
    ("xvd", DiskBus::Xen),
    ("ubd", DiskBus::Uml),
];

/// Returns the bus that a name stands for.
pub(crate) fn disk_bus(name: &str) -> Option<DiskBus> {
    PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, bus)| *bus)
}

/// Returns the index of a name: 0 for `sda`, 26 for `sdaa`. A partition number is ignored.
pub fn disk_index(name: &str) -> Option<u32> {
    let (prefix, _) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    let letters = name[prefix.len()..].trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() {
        return None;
    }
    let mut index: u32 = 0;
    for letter in letters.bytes() {
        let digit = letter.is_ascii_lowercase().then(|| u32::from(letter - b'a'))?;
        index = index.checked_mul(26)?.checked_add(digit + 1)?;
    }
    index.checked_sub(1)
}

/// Returns the address of the disk with an index on a bus with drive addresses.
pub(crate) fn drive_address(bus: DiskBus, index: u32) -> Option<DriveAddress> {
    let at = |controller, bus, unit| Some(DriveAddress { controller, bus, target: 0, unit });
    match bus {
        DiskBus::Scsi => at(index / SCSI_UNITS, 0, index % SCSI_UNITS),
        DiskBus::Ide => at(index / 4, index % 4 / 2, index % 2),
        DiskBus::Sata => at(index / 6, 0, index % 6),
        DiskBus::Fdc => at(index / 2, 0, index % 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_like_the_columns_of_a_table() {
        let index = |name| disk_index(name).unwrap();
        assert_eq!([index("sda"), index("hdc"), index("vdz"), index("vdaa")], [0, 2, 25, 26]);
        assert_eq!(index("xvdba"), 52);
        assert_eq!(disk_index("sd"), None);
        assert_eq!(disk_index("nvme0n1"), None);
        assert_eq!(disk_index("vdaaaaaaaaaaaaaaaaaaa"), None);
    }

    #[test]
    fn a_scsi_controller_gets_seven_disks() {
        let address = |index| drive_address(DiskBus::Scsi, index).unwrap();
        assert_eq!((address(6).controller, address(6).unit), (0, 6));
        assert_eq!((address(15).controller, address(15).unit), (2, 1));
    }

    #[test]
    fn an_ide_controller_has_two_buses_of_two_units() {
        let address = drive_address(DiskBus::Ide, 7).unwrap();
        assert_eq!((address.controller, address.bus, address.unit), (1, 1, 1));
    }
}
