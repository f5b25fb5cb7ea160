//! Notifies systemd, or another supervisor that set `NOTIFY_SOCKET` (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The interval of status messages for a supervisor without a watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Returns half of the supervisor's watchdog timeout.
pub(super) fn watchdog_interval() -> Duration {
    sd_notify::watchdog_enabled().map_or(STATUS_INTERVAL, |timeout| timeout / 2)
}

/// Sends a state to the supervisor, if there is one. A message to one that does not receive is dropped: its
/// queue is full after a few (`net.unix.max_dgram_qlen`), and calls must not wait for it.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        debug!("cannot notify the supervisor: {error}");
    }
}

fn send(socket: &OsStr, state: &[NotifyState<'_>]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let message: String = state.iter().map(|state| format!("{state}\n")).collect();
    let datagrams = UnixDatagram::unbound()?;
    datagrams.set_nonblocking(true)?;
    datagrams.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_to_a_supervisor_that_does_not_receive_are_dropped_and_others_arrive() {
        let name = format!("capscache-supervisor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let supervisor = UnixDatagram::bind_addr(&address).unwrap();
        let socket = format!("@{name}");
        let state = [NotifyState::Ready, NotifyState::Status("Serving")];
        let sent = (0..10_000).map(|_| send(OsStr::new(&socket), &state));
        let refused = sent.filter_map(Result::err).map(|error| error.kind());
        assert!(refused.into_iter().any(|kind| kind == io::ErrorKind::WouldBlock));
        let mut message = [0; 64];
        let length = supervisor.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\nSTATUS=Serving\n");
    }
}
