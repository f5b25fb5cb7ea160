//! Changes of guests that leave most of them acceptable, so that they get beyond the reader.

use serde_json::Value;

/// A change: its kind, its place, and a number whose meaning depends on the kind.
pub(crate) type Change = (u8, u16, u16);

/// Words that mean something somewhere.
const WORDS: [&str; 74] = [
    "",
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "15",
    "30",
    "31",
    "32",
    "63",
    "64",
    "127",
    "128",
    "254",
    "255",
    "256",
    "4095",
    "65535",
    "65536",
    "4294967294",
    "4294967295",
    "18446744073709551615",
    "-1",
    "0x0",
    "0x1f",
    "0xfe",
    "0xffff",
    "0xffffffff",
    "on",
    "off",
    "yes",
    "no",
    "1.1",
    "1.2.3.4",
    "15.15.15.15",
    "255",
    "pci",
    "drive",
    "usb",
    "ccw",
    "ccid",
    "virtio-serial",
    "spapr-vio",
    "virtio-mmio",
    "isa",
    "dimm",
    "unassigned",
    "pci-root",
    "pcie-root",
    "pci-bridge",
    "pcie-root-port",
    "pcie-to-pci-bridge",
    "dmi-to-pci-bridge",
    "pcie-switch-upstream-port",
    "pcie-switch-downstream-port",
    "pci-expander-bus",
    "pcie-expander-bus",
    "qemu-xhci",
    "virtio",
    "virtio-scsi",
    "scsi",
    "sata",
    "ide",
    "x86_64",
    "s390x",
    "ppc64",
    "aarch64",
    "q35",
    "pc",
    "virt",
    "pseries",
    "vdzzzzzz",
];

/// Numbers at the ends of types and buses.
const NUMBERS: [u64; 18] =
    [0, 1, 2, 3, 7, 8, 30, 31, 32, 63, 127, 128, 254, 255, 256, 65_535, 4_294_967_295, u64::MAX];

fn pick<T: Copy>(all: &[T], number: u16) -> T {
    all[usize::from(number) % all.len()]
}

/// Changes a text: the value of an attribute, a line, or a byte.
pub(crate) fn text(text: &mut String, (kind, at, number): Change) {
    match kind % 8 {
        0..=3 => {
            let quotes: Vec<usize> = text.match_indices('\'').map(|(at, _)| at).collect();
            let values: Vec<&[usize]> = quotes.chunks_exact(2).collect();
            let [start, end] = *pick(&values, at) else { return };
            text.replace_range(start + 1..end, pick(&WORDS, number));
        }
        4 | 5 => {
            // A line that is repeated is a device several times.
            let mut lines: Vec<&str> = text.lines().collect();
            let at = usize::from(at) % lines.len();
            let line = lines[at];
            let times = if kind % 8 == 4 { 1 + number % 3 } else { number % 70 };
            lines.splice(at..at, std::iter::repeat_n(line, times.into()));
            *text = lines.join("\n");
        }
        6 => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.remove(usize::from(at) % lines.len());
            *text = lines.join("\n");
        }
        _ => {
            let at = usize::from(at) % text.len().max(1);
            let byte = (number % 128) as u8 as char;
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                text.replace_range(at..=at, &byte.to_string());
            }
        }
    }
    if text.is_empty() {
        text.push(' ');
    }
}

/// Changes a value: a leaf, or an element of the devices.
pub(crate) fn value(value: &mut Value, (kind, at, number): Change) {
    if kind % 4 == 3 {
        let Some(devices) = value["devices"].as_array_mut().filter(|d| !d.is_empty()) else {
            return;
        };
        let at = usize::from(at) % devices.len();
        let device = devices[at].clone();
        let times = if number % 5 == 0 { number % 300 } else { number % 4 };
        if times == 0 {
            devices.remove(at);
        }
        devices.splice(at..at, std::iter::repeat_n(device, times.into()));
        return;
    }
    let mut count = 0;
    leaves(value, &mut |_| count += 1);
    let chosen = usize::from(at) % count.max(1);
    let mut position = 0;
    leaves(value, &mut |leaf| {
        if position == chosen {
            *leaf = match leaf {
                Value::Number(_) if kind % 4 < 2 => pick(&NUMBERS, number).into(),
                _ if kind % 16 == 2 => Value::Null,
                _ => pick(&WORDS, number).into(),
            };
        }
        position += 1;
    });
}

/// Visits all values that contain no others.
fn leaves(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|value| leaves(value, visit)),
        Value::Object(all) => all.values_mut().for_each(|value| leaves(value, visit)),
        leaf => visit(leaf),
    }
}
