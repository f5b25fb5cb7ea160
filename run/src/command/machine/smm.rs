//! The system management mode.

use crate::context::Context;
use crate::error::Error;

/// Returns whether the guest switches the mode on or off.
pub(super) fn own_state(cx: &Context<'_>) -> Result<Option<bool>, Error> {
    let Some(smm) = cx.domain.child("features").and_then(|features| features.child("smm")) else {
        return Ok(None);
    };
    Ok(Some(smm.switch("@state")?.unwrap_or(true)))
}
