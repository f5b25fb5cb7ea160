//! Secrets as objects of QEMU.

use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::secret::{Encrypted, SecretId, SecretUsage};
use crate::view::View;

/// Returns the object of the secret that an element `<secret>` names.
pub(super) fn object(
    cx: &Context<'_>,
    view: View<'_>,
    usage: SecretUsage,
    id: &str,
) -> Result<Props, Error> {
    let secret = match (view.text("@uuid"), view.text("@usage")) {
        (Some(uuid), None) => SecretId::Uuid(uuid),
        (None, Some(usage)) => SecretId::Usage(usage),
        _ => return Err(view.invalid("", "it must name its secret by either uuid or usage")),
    };
    let encrypted = cx.secrets.secret(usage, secret).map_err(|cause| view.no_secret("", cause))?;
    Ok(props(id, encrypted))
}

/// Returns the object of a value that an element contains.
pub(super) fn object_of(
    cx: &Context<'_>,
    view: View<'_>,
    value: &[u8],
    id: &str,
) -> Result<Props, Error> {
    let encrypted = cx.secrets.encrypt(value).map_err(|cause| view.no_secret("", cause))?;
    Ok(props(id, encrypted))
}

/// Returns the object of an encrypted value.
fn props(id: &str, encrypted: Encrypted) -> Props {
    Props::object("secret", id)
        .with("data", encrypted.data)
        .with("keyid", "masterKey0")
        .with("iv", encrypted.iv)
        .with("format", "base64")
}

/// Returns the object of the secret of a private key, which the host names.
pub(super) fn of_host(
    cx: &Context<'_>,
    view: View<'_>,
    uuid: &str,
    id: &str,
) -> Result<Props, Error> {
    let secret = cx.secrets.secret(SecretUsage::Tls, SecretId::Uuid(uuid));
    Ok(props(id, secret.map_err(|cause| view.no_secret("", cause))?))
}
