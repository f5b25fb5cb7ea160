//! Connections of character devices that are made again.

use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Returns the seconds after which a connection is made again, 0 for never, from the element `<reconnect>` of a source.
pub(super) fn read(source: View<'_>) -> Result<Option<u32>, Error> {
    let place = "reconnect@timeout";
    match source.yes_no("reconnect@enabled")? {
        None => Ok(None),
        Some(false) => {
            source.ignore(&[place]);
            Ok(Some(0))
        }
        Some(true) => {
            source.require(place)?;
            source.number(place)
        }
    }
}

/// Sets the seconds. QEMU 9.2 and later take milliseconds.
pub(super) fn set(cx: &Context<'_>, seconds: Option<u32>, list: &mut List) {
    let Some(seconds) = seconds else { return };
    let path = "chardev-add/arg-type/backend/+socket/data/reconnect-ms";
    match cx.entry.schema().has(path).is_yes() {
        true => list.set("reconnect-ms", u64::from(seconds) * 1000),
        false => list.set("reconnect", seconds),
    }
}
