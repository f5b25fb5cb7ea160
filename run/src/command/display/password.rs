//! Passwords of graphical consoles.

use crate::command::args::Args;
use crate::command::{Password, Setup};
use crate::error::Error;
use crate::view::View;

/// Reads the password of a console, or takes that of the host; returns whether it has one.
pub(super) fn add(
    args: &mut Args,
    view: View<'_>,
    protocol: &'static str,
    of_host: Option<&str>,
) -> Result<bool, Error> {
    let own = view.text("@passwd");
    let Some(password) = own.or(of_host) else { return Ok(false) };
    let (mut connected, mut valid_to) = (None, None);
    if own.is_some() {
        let actions: &[&str] =
            if protocol == "vnc" { &["keep"] } else { &["keep", "disconnect", "fail"] };
        connected = view.one_of("@connected", actions)?.map(str::to_owned);
        valid_to = view.text("@passwdValidTo").map(str::to_owned);
    }
    let password = password.to_owned().into();
    args.setup(Setup::Password(Password { protocol, password, connected, valid_to }));
    Ok(true)
}
