//! Scopes of systemd: the control group of a guest, and of the processes that serve its devices.
//!
//! Without a manager that can make one, a guest stays in the control group of its runner. See `docs/adr/0007` on why no
//! library of D-Bus is used.

mod bus;
mod message;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use capscache_format::Escaped;

use self::bus::Bus;

/// The time that a scope may take where a guest also starts without one.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bound on the name of a guest in that of its scope: a name of a unit has up to 255 bytes.
const MAX_NAME_BYTES: usize = 200;

/// The use of a scope of systemd for a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// A scope where there is a manager that makes one within 200 ms.
    #[default]
    Auto,
    /// No scope: the guest stays in the control group of its runner.
    None,
    /// A scope, or the guest does not start.
    Required,
}

/// The control group of a guest that runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Placement {
    /// That of the runner: there is no manager of scopes, or none was to be used.
    Inherited,
    /// A scope of systemd.
    Scope {
        /// The name of the unit.
        unit: String,
    },
    /// That of the runner, since no scope could be made.
    Failed(ScopeError),
}

/// Error of making a scope.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// There is no manager of scopes.
    #[error(
        "cannot make a scope: there is no systemd that manages this user's units; start the guest without a scope"
    )]
    NoManager,
    /// The bus cannot be used.
    #[error("cannot make a scope: the bus at {} cannot be used", Escaped::new(address))]
    Io {
        /// The address of the bus.
        address: String,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// The bus does not accept this user, or does not speak D-Bus.
    #[error("cannot make a scope: the bus sent an unexpected answer")]
    Malformed,
    /// The manager or the bus refused it.
    #[error("cannot make a scope: {}: {}", Escaped::new(name), Escaped::new(text))]
    Refused {
        /// The name of the error in D-Bus.
        name: String,
        /// The text.
        text: String,
    },
    /// The manager could not carry it out.
    #[error("cannot make the scope {unit}: the result of its job is {}", Escaped::new(result))]
    Job {
        /// The name of the unit.
        unit: String,
        /// The result, such as `failed`.
        result: String,
    },
    /// The manager did not answer in time.
    #[error("cannot make a scope: systemd did not answer within {} ms, and may still make it", limit.as_millis())]
    TimedOut {
        /// The time that it had.
        limit: Duration,
    },
}

/// A scope to make.
#[derive(Debug)]
struct Request {
    unit: String,
    description: String,
    pids: Vec<u32>,
}

/// Moves processes of a guest into a scope, which ends with the last of them. One that is required may take the time of
/// `limit`.
///
/// # Errors
/// [`ScopeError`], if a scope is required.
pub(crate) async fn place(
    scope: Scope,
    name: &str,
    pids: &[i32],
    limit: Duration,
) -> Result<Placement, ScopeError> {
    match time_of(scope, limit) {
        None => Ok(Placement::Inherited),
        Some(time) => place_by(Bus::find(), scope, name, pids, time).await,
    }
}

/// Returns the time that a scope may take. None if there is to be none.
fn time_of(scope: Scope, limit: Duration) -> Option<Duration> {
    match scope {
        Scope::None => None,
        Scope::Auto => Some(PATIENCE.min(limit)),
        Scope::Required => Some(limit),
    }
}

async fn place_by(
    bus: Option<Bus>,
    scope: Scope,
    name: &str,
    pids: &[i32],
    limit: Duration,
) -> Result<Placement, ScopeError> {
    let pids: Vec<u32> = pids.iter().filter_map(|pid| u32::try_from(*pid).ok()).collect();
    let unit = unit(name, pids.first().copied().unwrap_or_default());
    let description = format!("Guest {}", Escaped::new(name));
    let request = Request { unit, description, pids };
    let make = async {
        match bus {
            Some(bus) => bus.make(&request).await,
            None => Err(ScopeError::NoManager),
        }
    };
    let late = |_| Err(ScopeError::TimedOut { limit });
    let made = tokio::time::timeout(limit, make).await.unwrap_or_else(late);
    match made {
        Ok(()) => Ok(Placement::Scope { unit: request.unit }),
        Err(error) if scope == Scope::Required => Err(error),
        Err(ScopeError::NoManager) => Ok(Placement::Inherited),
        Err(error) => Ok(Placement::Failed(error)),
    }
}

/// Returns the name of the scope of a guest. The number of the process keeps those of different roots apart.
fn unit(name: &str, pid: u32) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        let next = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'-' => {
                char::from(byte).to_string()
            }
            other => format!("\\x{other:02x}"),
        };
        if escaped.len() + next.len() > MAX_NAME_BYTES {
            break;
        }
        escaped.push_str(&next);
    }
    format!("capscache-{escaped}-{pid}.scope")
}
