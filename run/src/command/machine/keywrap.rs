//! Wrapping of keys on s390.

use capscache_devaddr::Family;

use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds the wrapping of keys.
pub(super) fn add(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let Some(keywrap) = cx.domain.child("keywrap") else { return Ok(()) };
    let (mut aes, mut dea) = (None, None);
    for cipher in keywrap.children("cipher") {
        let state = cipher.switch("@state")?;
        cipher.require("@name")?;
        let place = match cipher.one_of("@name", &["aes", "dea"])? {
            Some("aes") => &mut aes,
            _ => &mut dea,
        };
        if place.is_some() || state.is_none() {
            return Err(cipher.invalid("", "a cipher needs a state, and has only one"));
        }
        *place = state;
    }
    if cx.machine.family != Family::S390 {
        return Err(keywrap.invalid("", "only s390 wraps keys; remove the element"));
    }
    for (name, state) in [("aes-key-wrap", aes), ("dea-key-wrap", dea)] {
        if let Some(state) = state {
            list.set_switch(name, state);
        }
    }
    Ok(())
}
