//! The service: socket, release, and the user whose cache it serves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use capscache::Escaped;

use super::Check;
use super::users;
use crate::host::{self, Service};
use crate::output::chain;

const PART: &str = "service";

pub(super) fn check() -> Vec<Check> {
    let Service { socket, info } = host::service();
    let socket = Escaped::new(&socket);
    let info = match info {
        None => {
            let found = format!("not running, which is fine: there is no socket at {socket}");
            return vec![Check::ok(PART, found)];
        }
        Some(Ok(info)) => info,
        Some(Err(error)) => {
            let remedy = "check that this user may connect, and restart the service: `systemctl restart \
                          capscache.socket`, or `capscache serve`; it replaces a socket without a listener";
            return vec![Check::failure(PART, chain(&error), remedy)];
        }
    };
    let (version, root) = (&info.version, Escaped::new(&info.root));
    let owner = owner_of(&info.root);
    let found =
        format!("running at {socket}: version {version}, serves {root} of the user {owner}");
    let own = env!("CARGO_PKG_VERSION");
    vec![if *version == own {
        Check::ok(PART, found)
    } else {
        let remedy = "`systemctl restart capscache.service`: each release has entries of its own";
        Check::warning(PART, format!("{found}; this command has version {own}"), remedy)
    }]
}

/// Returns the owner of a root, as whom the service runs.
fn owner_of(root: &Path) -> String {
    fs::metadata(root).map_or_else(|_| "unknown".to_owned(), |status| users::name(status.uid()))
}
