//! Hosts of storage in the network.

use serde_json::{Value, json};

use crate::error::Error;
use crate::view::View;

/// The hosts of a source.
pub(super) struct Hosts<'a>(Vec<Host<'a>>);

/// A host of a source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Host<'a> {
    Tcp { name: &'a str, port: u16 },
    Unix { path: &'a str },
}

impl<'a> Hosts<'a> {
    /// Reads the hosts of a source.
    pub(super) fn read(view: View<'a>, protocol: &str) -> Result<Hosts<'a>, Error> {
        let hosts = view.children("host").map(|host| Host::read(host, protocol));
        Ok(Hosts(hosts.collect::<Result<_, Error>>()?))
    }

    /// Returns all hosts.
    pub(super) fn all(&self) -> impl Iterator<Item = Host<'a>> {
        self.0.iter().copied()
    }

    /// Returns the host of a protocol that has exactly one.
    pub(super) fn only(&self, view: View<'_>) -> Result<Host<'a>, Error> {
        match self.0.as_slice() {
            [host] => Ok(*host),
            _ => Err(view.invalid("", "the protocol has exactly one host")),
        }
    }
}

impl<'a> Host<'a> {
    fn read(view: View<'a>, protocol: &str) -> Result<Host<'a>, Error> {
        match view.one_of("@transport", &["tcp", "unix"])? {
            Some("unix") => Ok(Host::Unix { path: view.require("@socket")? }),
            _ => {
                let port = view.number("@port")?.filter(|port| *port > 0);
                let port = port.unwrap_or_else(|| default_port(protocol));
                Ok(Host::Tcp { name: view.require("@name")?, port })
            }
        }
    }

    /// Returns the name and the port of a host that TCP reaches.
    pub(super) fn tcp(self, view: View<'_>) -> Result<(&'a str, u16), Error> {
        match self {
            Host::Tcp { name, port } => Ok((name, port)),
            Host::Unix { .. } => Err(view.invalid("host@transport", "the protocol has only tcp")),
        }
    }
}

/// Returns the port that libvirt writes for a host without one; 0 if it writes none.
fn default_port(protocol: &str) -> u16 {
    match protocol {
        "http" => 80,
        "https" => 443,
        "ftp" => 21,
        "ftps" => 990,
        "nbd" => 10809,
        "ssh" => 22,
        "iscsi" => 3260,
        "gluster" => 24007,
        _ => 0,
    }
}

/// Returns a host as a socket address of QEMU (type `SocketAddress`).
pub(super) fn address(host: Host<'_>) -> Value {
    match host {
        Host::Tcp { name, port } => json!({"type": "inet", "host": name, "port": port.to_string()}),
        Host::Unix { path } => json!({"type": "unix", "path": path}),
    }
}

/// Returns a host as an internet address of QEMU (type `InetSocketAddressBase`).
pub(super) fn inet(view: View<'_>, host: Host<'_>) -> Result<Value, Error> {
    let (name, port) = host.tcp(view)?;
    Ok(json!({"host": name, "port": port.to_string()}))
}

/// Returns a host as a server of NFS.
pub(super) fn nfs(view: View<'_>, host: Host<'_>) -> Result<Value, Error> {
    match host.tcp(view)? {
        (name, 0) => Ok(json!({"host": name, "type": "inet"})),
        _ => Err(view.invalid("host@port", "nfs has no port; remove it")),
    }
}
