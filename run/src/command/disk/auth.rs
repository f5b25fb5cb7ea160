//! Authentication of storage in the network: users with secrets, and cookies.

use crate::command::secrets;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::secret::SecretUsage;
use crate::view::View;

/// A user and the object with the secret.
pub(super) struct Auth {
    pub(super) username: String,
    /// The id of the object.
    pub(super) id: String,
    pub(super) object: Props,
}

/// Reads the authentication in a source, or beside it.
pub(super) fn read(
    cx: &Context<'_>,
    source: View<'_>,
    outer: Option<View<'_>>,
    protocol: &str,
    node: &str,
) -> Result<Option<Auth>, Error> {
    let outer = outer.and_then(|outer| outer.child("auth"));
    let view = match (source.child("auth"), outer) {
        (Some(_), Some(both)) => {
            return Err(both.invalid("", "the source has an authentication too; remove one"));
        }
        (inner, outer) => inner.or(outer),
    };
    let Some(view) = view else { return Ok(None) };
    let Some(secret) = view.child("secret") else {
        return Err(view.invalid("", "it has no secret; add one"));
    };
    secret.require("@type")?;
    let types = ["volume", "ceph", "iscsi", "tls", "vtpm"];
    let r#type = secret.one_of("@type", &types)?;
    let (expected, usage) = match protocol {
        "rbd" => (Some("ceph"), SecretUsage::Ceph),
        "iscsi" => (Some("iscsi"), SecretUsage::Iscsi),
        "http" | "https" | "ftp" | "ftps" | "ssh" => (None, SecretUsage::Iscsi),
        _ => return Err(view.invalid("", "the protocol has no authentication; remove it")),
    };
    if expected.is_some() && r#type != expected {
        return Err(secret.invalid("@type", "it is not the type of the protocol"));
    }
    let id = format!("{node}-auth-secret0");
    let object = secrets::object(cx, secret, usage, &id)?;
    Ok(Some(Auth { username: view.require("@username")?.to_owned(), id, object }))
}

/// Reads the cookies of a source: the object with them, and its id.
pub(super) fn cookies(
    cx: &Context<'_>,
    source: View<'_>,
    node: &str,
) -> Result<Option<(String, Props)>, Error> {
    let Some(view) = source.child("cookies") else { return Ok(None) };
    let mut cookies = Vec::new();
    for cookie in view.children("cookie") {
        let name = cookie.require("@name")?;
        let value = cookie.exact_text("").unwrap_or_default();
        check_cookie(cookie, name, value)?;
        cookies.push(format!("{name}={value}"));
    }
    if cookies.is_empty() {
        return Ok(None);
    }
    let id = format!("{node}-httpcookie-secret0");
    let object = secrets::object_of(cx, view, cookies.join("; ").as_bytes(), &id)?;
    Ok(Some((id, object)))
}

/// Refuses names and values that a header of HTTP cannot hold (RFC 6265, section 4.1.1).
fn check_cookie(view: View<'_>, name: &str, value: &str) -> Result<(), Error> {
    let inner = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
    let in_value = |c: char| c.is_ascii_graphic() && !"\",;\\".contains(c);
    let in_name = |c: char| in_value(c) && !"()<>@:/[]?={}".contains(c);
    let is_name = !name.is_empty() && name.chars().all(in_name);
    match inner {
        Some(inner) if is_name && inner.chars().all(in_value) => Ok(()),
        _ => Err(view.invalid("", "the name or the value has characters that no cookie has")),
    }
}
