//! Credentials of TLS.

use crate::command::args::Args;
use crate::command::secrets;
use crate::context::Context;
use crate::error::Error;
use crate::host::Tls;
use crate::props::Props;
use crate::view::View;

/// The ids of credentials.
#[derive(Clone, Copy)]
pub(in crate::command) struct Ids<'a> {
    /// The id of the object.
    pub(in crate::command) credentials: &'a str,
    /// The id of what uses them, after which the secret of their private key is named.
    pub(in crate::command) user: &'a str,
}

/// Adds the credentials of a server, or of a client.
pub(in crate::command) fn add(
    cx: &Context<'_>,
    args: &mut Args,
    view: View<'_>,
    tls: &Tls,
    ids: Ids<'_>,
    is_server: bool,
) -> Result<(), Error> {
    objects(cx, view, tls, ids, is_server)?.iter().for_each(|object| args.object(object));
    Ok(())
}

/// Returns the objects of credentials: those come last.
pub(in crate::command) fn objects(
    cx: &Context<'_>,
    view: View<'_>,
    tls: &Tls,
    ids: Ids<'_>,
    is_server: bool,
) -> Result<Vec<Props>, Error> {
    let mut objects = Vec::new();
    let mut secret = None;
    if let Some(uuid) = &tls.secret {
        let id = format!("{}-secret0", ids.user);
        objects.push(secrets::of_host(cx, view, uuid, &id)?);
        secret = Some(id);
    }
    let props = Props::object("tls-creds-x509", ids.credentials)
        .with("dir", tls.dir.to_string_lossy())
        .with("endpoint", if is_server { "server" } else { "client" })
        .with("verify-peer", !is_server || tls.verify)
        .with_some("passwordid", secret);
    objects.push(props);
    Ok(objects)
}
