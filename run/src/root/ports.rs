//! Free ports of TCP for graphical consoles.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::RootError;

/// The ports of graphical consoles, and of those that use WebSocket.
const FIRST: u16 = 5900;
const FIRST_WEBSOCKET: u16 = 5700;

/// Ports that are reserved from other runners while this exists: from their choice until an emulator listens there.
#[derive(Debug, Default)]
pub(crate) struct Ports(Vec<UnixListener>);

impl Ports {
    /// Reserves a free port for a graphical console.
    ///
    /// # Errors
    /// [`RootError::NoPort`] if there is none.
    pub(crate) fn reserve(&mut self) -> Result<u16, RootError> {
        self.reserve_from(FIRST)
    }

    /// Reserves a free port for a graphical console that uses WebSocket.
    ///
    /// # Errors
    /// See [`Ports::reserve`].
    pub(crate) fn reserve_websocket(&mut self) -> Result<u16, RootError> {
        self.reserve_from(FIRST_WEBSOCKET)
    }

    fn reserve_from(&mut self, first: u16) -> Result<u16, RootError> {
        let found = (first..=u16::MAX).find(|port| match reservation(*port) {
            Ok(reservation) if is_free(*port) => {
                self.0.push(reservation);
                true
            }
            _ => false,
        });
        found.ok_or(RootError::NoPort { first })
    }
}

/// Reserves a port in this network namespace, by a name without a file.
fn reservation(port: u16) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("capscache-port-{port}"))?)
}

/// Returns true if no process listens at a port.
fn is_free(port: u16) -> bool {
    let is_used = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let on_4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(drop);
    let on_6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map(drop);
    // Without IPv6, the second fails in another way.
    on_4.is_ok() && !on_6.is_err_and(is_used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_reserved_once_and_not_while_a_process_listens() {
        let (mut first, mut second) = (Ports::default(), Ports::default());
        let one = first.reserve().unwrap();
        let other = second.reserve().unwrap();
        assert!(one >= FIRST && other >= FIRST && one != other);
        let listener = TcpListener::bind(("127.0.0.1", one)).unwrap();
        drop(first);
        assert_ne!(second.reserve().unwrap(), one);
        drop(listener);
    }
}
