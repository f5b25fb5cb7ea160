//! The addresses on which graphical consoles listen.

use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// The place on which a graphical console listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    /// Nothing: clients get a descriptor.
    None,
    /// An address of the host.
    Address(String),
    /// A socket.
    Socket(String),
}

/// The settings of a protocol.
pub(super) struct Defaults<'a> {
    /// The name of the protocol.
    pub(super) protocol: &'static str,
    /// The address of a console that names none.
    pub(super) address: &'a str,
    /// True if a console that names no address listens on a socket.
    pub(super) is_socket: bool,
}

/// Returns the place on which a console listens: that of its element `<listen>`, or of its old attributes.
pub(super) fn listen(
    cx: &Context<'_>,
    view: View<'_>,
    defaults: &Defaults<'_>,
) -> Result<Listen, Error> {
    if let Some(second) = view.children("listen").nth(1) {
        return Err(second.invalid("", "QEMU listens on one address only; remove it"));
    }
    // The attribute is that of VNC; beside an element `<listen>` of a socket it counts for all.
    let old_socket = view.text("@socket").filter(|_| defaults.protocol == "vnc");
    let old_address = view.text("@listen").filter(|address| !address.is_empty());
    let Some(listen) = view.child("listen") else {
        return Ok(match old_socket {
            Some(path) => socket(cx, defaults, Some(path)),
            None => address(cx, defaults, old_address),
        });
    };
    match listen.one_of("@type", &["none", "address", "socket"])? {
        Some("none") => Ok(Listen::None),
        Some("address") => {
            let given = listen.text("@address");
            if let (Some(given), Some(old)) = (given, view.text("@listen"))
                && given != old
            {
                let what = "it differs from the attribute listen of the console; remove one";
                return Err(listen.invalid("@address", what));
            }
            Ok(match old_socket {
                Some(path) => socket(cx, defaults, Some(path)),
                None => address(
                    cx,
                    defaults,
                    given.or(old_address).filter(|address| !address.is_empty()),
                ),
            })
        }
        Some(_) => {
            let given = listen.text("@socket");
            if let (Some(given), Some(old)) = (given, view.text("@socket"))
                && given != old
            {
                let what = "it differs from the attribute socket of the console; remove one";
                return Err(listen.invalid("@socket", what));
            }
            let path = given.or(view.text("@socket")).filter(|path| !path.is_empty());
            Ok(socket(cx, defaults, path))
        }
        None => Err(listen.invalid("", "the type is missing; add it")),
    }
}

fn address(cx: &Context<'_>, defaults: &Defaults<'_>, given: Option<&str>) -> Listen {
    match given {
        Some(address) => Listen::Address(address.to_owned()),
        None if defaults.is_socket => Listen::Socket(own_socket(cx, defaults)),
        None => Listen::Address(defaults.address.to_owned()),
    }
}

fn socket(cx: &Context<'_>, defaults: &Defaults<'_>, given: Option<&str>) -> Listen {
    let library = cx.host.library_dir().map(|dir| dir.to_string_lossy());
    match given {
        // A path that libvirt once generated stands for the default address.
        Some(path)
            if defaults.protocol == "vnc"
                && library.is_some_and(|library| path.starts_with(&*library)) =>
        {
            address(cx, defaults, None)
        }
        Some(path) => Listen::Socket(path.to_owned()),
        None => Listen::Socket(own_socket(cx, defaults)),
    }
}

/// Returns the path of the socket in the directory of the guest.
fn own_socket(cx: &Context<'_>, defaults: &Defaults<'_>) -> String {
    format!("{}/{}.sock", cx.host.guest_dir.display(), defaults.protocol)
}

/// Returns a number that may be -1, as for a port that is open; 0 if it is missing.
pub(super) fn port(view: View<'_>, place: &str) -> Result<i32, Error> {
    if view.text(place) == Some("-1") {
        return Ok(-1);
    }
    Ok(view.number::<u16>(place)?.map_or(0, i32::from))
}
