//! The service: socket, release, and the user whose cache it serves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capscache::Escaped;

use super::Check;
use super::users;
use crate::host::{self, Service};
use crate::output::chain;

const PART: &str = "service";

pub(super) fn check() -> Vec<Check> {
    let Service { socket, info } = host::service();
    let info = info.map(|info| match info {
        Ok(info) => Ok((info.version, info.root)),
        Err(error) => Err(chain(&error)),
    });
    vec![judge(&socket, info)]
}

/// Judges what the service at a socket replied: its version and root, or why it did not. `None` if there is no socket.
fn judge(socket: &Path, info: Option<Result<(String, PathBuf), String>>) -> Check {
    let socket = Escaped::new(socket);
    let (version, root) = match info {
        None => {
            let found = format!("not running, which is fine: there is no socket at {socket}");
            return Check::ok(PART, found);
        }
        Some(Ok(info)) => info,
        Some(Err(error)) => {
            let remedy = "check that this user may connect, and restart the service: `systemctl restart \
                          capscache.socket`, or `capscache serve`; it replaces a socket without a listener";
            return Check::failure(PART, error, remedy);
        }
    };
    let (owner, root) = (owner_of(&root), Escaped::new(&root));
    let found =
        format!("running at {socket}: version {version}, serves {root} of the user {owner}");
    let own = env!("CARGO_PKG_VERSION");
    if version == own {
        Check::ok(PART, found)
    } else {
        let remedy = "`systemctl restart capscache.service`: each release has entries of its own";
        Check::warning(PART, format!("{found}; this command has version {own}"), remedy)
    }
}

/// Returns the owner of a root, as whom the service runs.
fn owner_of(root: &Path) -> String {
    fs::metadata(root).map_or_else(|_| "unknown".to_owned(), |status| users::name(status.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_service_that_fails_or_is_of_another_release_has_a_remedy() {
        let judge = |info| judge(Path::new("/run/socket"), info);
        let of_version = |version: &str| Some(Ok((version.to_owned(), PathBuf::from("/"))));
        assert_eq!(judge(None).state, State::Ok);
        let own = judge(of_version(env!("CARGO_PKG_VERSION")));
        assert_eq!((own.state, own.remedy), (State::Ok, None));
        let other = judge(of_version("0.0.1"));
        assert_eq!(other.state, State::Warning);
        assert!(other.found.contains("version 0.0.1, serves / of the user root; this command has"));
        assert!(other.remedy.unwrap().contains("systemctl restart capscache.service"));
        let failed = judge(Some(Err("refused".to_owned())));
        assert_eq!((failed.state, failed.found.as_str()), (State::Failure, "refused"));
        assert!(failed.remedy.unwrap().contains("`systemctl restart capscache.socket`"));
    }
}
