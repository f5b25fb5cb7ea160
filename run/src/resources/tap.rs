//! Tap devices. One that is created is gone when the emulator closes it.

use std::ffi::{c_char, c_int, c_short};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{ResourceError, unsupported};
use crate::host::{Link, Port, Tap};
use crate::process::{DeviceOperation, flags_of, index_of, operate};

/// The type of a hardware address: Ethernet.
const ARPHRD_ETHER: libc::sa_family_t = 1;

/// The device that makes tap devices.
const TUN: &str = "/dev/net/tun";

/// The name of a device that the kernel numbers.
const NAME: &str = "vnet%d";

/// The tap devices of a guest that were opened.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// The device whose first queue was opened last, and its name.
    last: Option<(Link, String)>,
}

impl Taps {
    /// Opens a queue of a device, whose queues follow each other. Before the first one, the device is made, unless it
    /// exists.
    pub(super) fn open(&mut self, link: &Link, queue: u16) -> Result<OwnedFd, ResourceError> {
        let tap = supported(link)?;
        let path = tap.path.as_deref().unwrap_or(Path::new(TUN));
        let further = self.last.as_ref().filter(|(last, _)| queue > 0 && last == link);
        let name = further.map(|(_, name)| name.as_str()).or(tap.name.as_deref()).unwrap_or(NAME);
        let (queue, name) = attach(tap, path, name).map_err(ResourceError::io("open", path))?;
        if further.is_none() {
            let device = Path::new("/sys/class/net").join(&name);
            configure(link, tap, &name).map_err(ResourceError::io("configure", device))?;
            self.last = Some((link.clone(), name));
        }
        Ok(queue)
    }
}

/// Returns the tap device of a link, if nothing is set that is not supported.
pub(super) fn supported(link: &Link) -> Result<&Tap, ResourceError> {
    let tap = match link {
        Link::Tap(tap) => tap,
        Link::Bridge { port, tap, .. } if *port == Port::default() => tap,
        Link::Bridge { .. } => return Err(unsupported("a setting of the port of a bridge")),
        Link::Macvtap { .. } => return Err(unsupported("an interface of type direct")),
    };
    if tap.script.is_some() || tap.down_script.is_some() {
        return Err(unsupported("a script of an interface"));
    }
    if !tap.addresses.is_empty() || !tap.routes.is_empty() || tap.coalesced_frames.is_some() {
        return Err(unsupported("a setting of the device of an interface on the host"));
    }
    Ok(tap)
}

/// Opens a queue of a device, and returns it with the name of the device.
fn attach(tap: &Tap, path: &Path, name: &str) -> io::Result<(OwnedFd, String)> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if tap.queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    if tap.has_virtio_header {
        flags |= libc::IFF_VNET_HDR;
    }
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = bits(flags);
    operate(&file, DeviceOperation::Attach, &mut request)?;
    Ok((File::into(file), name_of(&request)))
}

/// Configures a device, and puts it into use.
fn configure(link: &Link, tap: &Tap, name: &str) -> io::Result<()> {
    let (domain, kind) = (AddressFamily::INET, SocketType::DGRAM);
    let socket = rustix::net::socket_with(domain, kind, SocketFlags::CLOEXEC, None)?;
    if !tap.exists {
        set_mac(&socket, name, &tap.mac)?;
        if let Some(mtu) = tap.mtu {
            let mut request = request(name)?;
            request.ifr_ifru.ifru_mtu = c_int::try_from(mtu).unwrap_or(c_int::MAX);
            operate(&socket, DeviceOperation::SetMtu, &mut request)?;
        }
    }
    if let Link::Bridge { bridge, .. } = link {
        let mut request = request(name)?;
        operate(&socket, DeviceOperation::Index, &mut request)?;
        let index = index_of(&request);
        let mut request = self::request(bridge)?;
        request.ifr_ifru.ifru_ifindex = index;
        operate(&socket, DeviceOperation::AddToBridge, &mut request)?;
    }
    if tap.exists {
        return Ok(());
    }
    let mut request = request(name)?;
    operate(&socket, DeviceOperation::Flags, &mut request)?;
    let flags = flags_of(&request);
    request.ifr_ifru.ifru_flags = flags | bits(libc::IFF_UP);
    operate(&socket, DeviceOperation::SetFlags, &mut request)
}

/// Sets the address of the host's end: that of the guest but for the first byte, so that a bridge prefers its own port's
/// address to it, and so that the two ends differ.
fn set_mac(socket: &OwnedFd, name: &str, mac: &str) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the MAC address is not valid");
    let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let mut bytes = bytes.collect::<Result<Vec<_>, _>>().map_err(|_| invalid())?;
    let first = bytes.first_mut().ok_or_else(invalid)?;
    *first = if *first == 0xfe { 0xfa } else { 0xfe };
    let mut address = libc::sockaddr { sa_family: ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(&bytes) {
        *to = c_char::from_ne_bytes([*from]);
    }
    let mut request = request(name)?;
    request.ifr_ifru.ifru_hwaddr = address;
    operate(socket, DeviceOperation::SetAddress, &mut request)
}

/// Returns a request about a device.
fn request(name: &str) -> io::Result<libc::ifreq> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    // It ends with a zero.
    if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        let what = format!("the name {name:?} of a device is too long");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    let empty = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_addr: empty };
    Ok(libc::ifreq { ifr_name, ifr_ifru })
}

fn name_of(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().map(|byte| byte.to_ne_bytes()[0]);
    let name: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}

/// Returns flags, of which there are sixteen.
fn bits(flags: c_int) -> c_short {
    let [low, high, ..] = flags.to_le_bytes();
    c_short::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_number_the_address_of_its_guest_but_one_byte_and_is_up() {
        let mac = "52:54:00:12:34:56".to_owned();
        let link = Link::Tap(Tap { mac, queues: 2, mtu: Some(1400), ..Tap::default() });
        let mut taps = Taps::default();
        let first = match taps.open(&link, 0) {
            Ok(first) => first,
            Err(error) => return println!("SKIPPED: no tap device can be made here: {error}"),
        };
        let second = taps.open(&link, 1).unwrap();
        let (_, name) = taps.last.clone().unwrap();
        assert!(name.starts_with("vnet"), "{name}");
        let read = |file| std::fs::read_to_string(format!("/sys/class/net/{name}/{file}")).unwrap();
        assert_eq!(read("address"), "fe:54:00:12:34:56\n");
        assert_eq!(read("mtu"), "1400\n");
        let flags = read("flags");
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap();
        assert_eq!(flags & 1, 1);
        drop((first, second));
        assert!(!Path::new("/sys/class/net").join(name).exists());
    }

    #[test]
    fn names_that_are_too_long_are_refused() {
        assert!(request("sixteen_letters_").is_err());
        assert_eq!(name_of(&request("fifteen_letters").unwrap()), "fifteen_letters");
    }
}
