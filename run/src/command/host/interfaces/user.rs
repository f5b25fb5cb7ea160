//! The network that QEMU itself implements.

use std::net::IpAddr;

use super::Net;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// The address of the guest in a network of its own.
#[derive(Clone, Copy)]
pub(super) struct GuestIp {
    pub(super) address: IpAddr,
    /// The length of the prefix of the network, if it is given.
    pub(super) prefix: Option<u32>,
}

/// Returns the backend.
pub(super) fn props(net: &Net<'_>) -> Result<Props, Error> {
    let mut props = Props::default().with("type", "user");
    for ip in addresses(net)? {
        match (ip.address, ip.prefix) {
            (IpAddr::V4(address), Some(prefix)) => props.set("net", format!("{address}/{prefix}")),
            (IpAddr::V4(address), None) => props.set("net", address.to_string()),
            (IpAddr::V6(address), prefix) => {
                props.set("ipv6-prefix", address.to_string());
                props.set_some("ipv6-prefixlen", prefix);
            }
        }
    }
    Ok(props)
}

/// Returns the addresses of the guest: at most one of each family.
pub(super) fn addresses(net: &Net<'_>) -> Result<Vec<GuestIp>, Error> {
    let mut addresses: Vec<GuestIp> = Vec::new();
    for view in net.view.children("ip") {
        let ip = address(view)?;
        if addresses.iter().any(|other| other.address.is_ipv4() == ip.address.is_ipv4()) {
            return Err(view.invalid("", "an interface has one address of each family"));
        }
        addresses.push(ip);
    }
    Ok(addresses)
}

fn address(view: View<'_>) -> Result<GuestIp, Error> {
    let text = view.require("@address")?;
    let family = view.one_of("@family", &["ipv4", "ipv6"])?;
    let address: Option<IpAddr> = text.parse().ok();
    let is_of =
        |address: &IpAddr| family.is_none_or(|family| address.is_ipv4() == (family == "ipv4"));
    let Some(address) = address.filter(is_of) else {
        return Err(view.invalid("@address", "it is not an address of the family"));
    };
    let prefix: Option<u32> = view.number("@prefix")?;
    let prefix = prefix.filter(|prefix| *prefix > 0);
    match (address, prefix) {
        (IpAddr::V4(_), Some(prefix)) if !(4..=27).contains(&prefix) => {
            Err(view.invalid("@prefix", "it must be from 4 to 27"))
        }
        (IpAddr::V6(_), Some(prefix)) if prefix != 64 => {
            Err(view.invalid("@prefix", "it must be 64"))
        }
        _ => Ok(GuestIp { address, prefix }),
    }
}
