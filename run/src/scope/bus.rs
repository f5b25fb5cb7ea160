//! A connection to the bus on which systemd makes scopes.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use capscache_format::hex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::message::{Call, Malformed, Received, Writer, take};
use super::{Request, ScopeError};

const MANAGER: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const DAEMON: &str = "org.freedesktop.DBus";
const DAEMON_PATH: &str = "/org/freedesktop/DBus";

/// The place of the system's bus (D-Bus Specification, "Well-known Message Bus Instances").
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// The serial number of the call that makes the scope; those before it prepare the connection.
const LAST_SERIAL: u32 = 3;

/// Bound on the line that ends the authentication.
const MAX_LINE_BYTES: usize = 512;

/// The bus on which systemd is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bus {
    address: String,
    socket: PathBuf,
    /// The slice of scopes; `None` for the manager's default.
    slice: Option<&'static str>,
}

impl From<Malformed> for ScopeError {
    fn from(_: Malformed) -> ScopeError {
        ScopeError::Malformed
    }
}

impl Bus {
    /// Finds the system's bus for root and that of the session for other users.
    pub(super) fn find() -> Option<Bus> {
        // Where systemd is not the init system, there is no manager for users either (sd_booted(3)).
        if !fs::exists("/run/systemd/system").unwrap_or(false) {
            return None;
        }
        let named = |name| env::var(name).ok().filter(|address| !address.is_empty());
        if rustix::process::geteuid().is_root() {
            let address = named("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| SYSTEM_BUS.to_owned());
            return Bus::at(address, Some("machine.slice"));
        }
        let default = || Some(format!("unix:path={}/bus", named("XDG_RUNTIME_DIR")?));
        Bus::at(named("DBUS_SESSION_BUS_ADDRESS").or_else(default)?, None)
    }

    pub(super) fn at(address: String, slice: Option<&'static str>) -> Option<Bus> {
        let socket = address.split(';').find_map(socket)?;
        Some(Bus { address, socket, slice })
    }

    /// Makes a scope, and returns when its processes have been moved.
    pub(super) async fn make(&self, request: &Request) -> Result<(), ScopeError> {
        let failed =
            |error| ScopeError::Io { address: self.address.clone(), source: Arc::new(error) };
        let mut stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ScopeError::NoManager);
            }
            Err(error) => return Err(failed(error)),
        };
        if stream.peer_cred().map_err(failed)?.pid() == Some(0) {
            // In another PID namespace, where the numbers are those of other processes.
            return Err(ScopeError::NoManager);
        }
        // All at once: nothing of it depends on an answer.
        stream.write_all(&self.requests(request)).await.map_err(failed)?;
        let mut answers = Answers { is_authenticated: false, bytes: Vec::new() };
        let mut is_accepted = false;
        let mut result = None;
        loop {
            while let Some(received) = answers.next()? {
                match received {
                    Received::Returned(LAST_SERIAL) => is_accepted = true,
                    Received::Refused(_, name, text) => return Err(refused(name, text)),
                    Received::Signal(member, Some((unit, found)))
                        if member == "JobRemoved" && unit == request.unit =>
                    {
                        result = Some(found);
                    }
                    _ => {}
                }
            }
            if let (true, Some(result)) = (is_accepted, &result) {
                return match result.as_str() {
                    "done" => Ok(()),
                    _ => {
                        Err(ScopeError::Job { unit: request.unit.clone(), result: result.clone() })
                    }
                };
            }
            if stream.read_buf(&mut answers.bytes).await.map_err(failed)? == 0 {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Returns all that is sent: the authentication, and three calls.
    fn requests(&self, request: &Request) -> Vec<u8> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let line = format!("\0AUTH EXTERNAL {}\r\nBEGIN\r\n", hex(uid.as_bytes()));
        let daemon = |member, signature| Call {
            destination: DAEMON,
            path: DAEMON_PATH,
            interface: DAEMON,
            member,
            signature,
        };
        let mut rule = Writer::default();
        rule.string(&format!(
            "type='signal',sender='{MANAGER}',path='{MANAGER_PATH}',\
             interface='{MANAGER_INTERFACE}',member='JobRemoved',arg2='{}'",
            request.unit
        ));
        let start = Call {
            destination: MANAGER,
            path: MANAGER_PATH,
            interface: MANAGER_INTERFACE,
            member: "StartTransientUnit",
            signature: "ssa(sv)a(sa(sv))",
        };
        let mut bytes = line.into_bytes();
        bytes.extend(daemon("Hello", "").encode(1, &Writer::default()));
        bytes.extend(daemon("AddMatch", "s").encode(2, &rule));
        bytes.extend(start.encode(LAST_SERIAL, &self.arguments(request)));
        bytes
    }

    /// Returns the arguments of `StartTransientUnit` (org.freedesktop.systemd1(5)).
    fn arguments(&self, request: &Request) -> Writer {
        let mut body = Writer::default();
        body.string(&request.unit);
        body.string("fail");
        body.array(8, |properties| {
            let mut property = |name: &str, kind: &str, value: &dyn Fn(&mut Writer)| {
                properties.align(8);
                properties.string(name);
                properties.signature(kind);
                value(properties);
            };
            property("Description", "s", &|value| value.string(&request.description));
            if let Some(slice) = self.slice {
                property("Slice", "s", &|value| value.string(slice));
            }
            property("Delegate", "b", &|value| value.bool(true));
            // One whose guest ran out of memory is removed, too.
            property("CollectMode", "s", &|value| value.string("inactive-or-failed"));
            property("PIDs", "au", &|value| {
                value.array(4, |pids| request.pids.iter().for_each(|pid| pids.u32(*pid)));
            });
        });
        // Auxiliary units.
        body.array(8, |_| {});
        body
    }
}

/// Returns the error of a call; that there is no manager, if nothing on the bus is one.
fn refused(name: String, text: String) -> ScopeError {
    let kind = name.strip_prefix("org.freedesktop.DBus.Error.");
    match kind {
        Some("ServiceUnknown" | "NameHasNoOwner") => ScopeError::NoManager,
        _ => ScopeError::Refused { name, text },
    }
}

/// Messages of a bus, and the bytes of one that is not complete.
struct Answers {
    is_authenticated: bool,
    bytes: Vec<u8>,
}

impl Answers {
    /// Returns the next message, once it is complete.
    fn next(&mut self) -> Result<Option<Received>, ScopeError> {
        if !self.is_authenticated {
            let Some(end) = self.bytes.windows(2).position(|end| end == b"\r\n") else {
                return match self.bytes.len() {
                    0..=MAX_LINE_BYTES => Ok(None),
                    _ => Err(ScopeError::Malformed),
                };
            };
            if !self.bytes.starts_with(b"OK ") {
                return Err(ScopeError::Malformed);
            }
            self.bytes.drain(..end + 2);
            self.is_authenticated = true;
        }
        Ok(take(&mut self.bytes)?)
    }
}

/// Returns the socket of an address of D-Bus; one in the abstract namespace begins with a zero.
fn socket(address: &str) -> Option<PathBuf> {
    let keys = address.strip_prefix("unix:")?;
    keys.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let mut path = match key {
            "path" => Vec::new(),
            "abstract" => vec![0],
            _ => return None,
        };
        path.extend(unescaped(value)?);
        Some(PathBuf::from(OsString::from_vec(path)))
    })
}

/// Replaces bytes that an address has in hexadecimal form.
fn unescaped(value: &str) -> Option<Vec<u8>> {
    let mut bytes = value.bytes();
    let mut path = Vec::new();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_a_socket_is_used() {
        let bus = |address: &str| Bus::at(address.to_owned(), None).map(|bus| bus.socket);
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(bus("unix:path=/run/user/1/bus,guid=0a"), path("/run/user/1/bus"));
        assert_eq!(bus("tcp:host=a,port=1;unix:guid=0a,path=/a%20b"), path("/a b"));
        assert_eq!(bus("unix:abstract=/tmp/dbus-x"), path("\0/tmp/dbus-x"));
        assert_eq!(bus("unix:path=/a%2"), None);
        assert_eq!(bus("launchd:env=A"), None);
    }
}
