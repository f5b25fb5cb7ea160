//! Persistent reservations of SCSI devices that are passed through.

use super::StorageSettings;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// The id of the manager that is started with the guest.
pub(in crate::command::disk) const MANAGED: &str = "pr-helper0";

/// The manager of the reservations of a device.
pub(super) struct Manager {
    pub(super) id: String,
    /// The object, unless it is the one that is started with the guest.
    pub(super) object: Option<Props>,
}

/// Reads the manager of a source.
pub(super) fn read(
    source: View<'_>,
    settings: &StorageSettings<'_>,
) -> Result<Option<Manager>, Error> {
    let Some(view) = source.child("reservations") else { return Ok(None) };
    if !settings.is_lun {
        return Err(view.invalid("", "only a device that is passed through has reservations"));
    }
    view.require("@managed")?;
    let is_managed = view.yes_no("@managed")? == Some(true);
    view.one_of("source@type", &["unix"])?;
    view.one_of("source@mode", &["client"])?;
    let path = view.text("source@path");
    if is_managed {
        return Ok(Some(Manager { id: MANAGED.to_owned(), object: None }));
    }
    for place in ["source@type", "source@mode", "source@path"] {
        view.require(place)?;
    }
    let id = format!("pr-helper-{}", settings.node);
    let object = Props::object("pr-manager-helper", id.as_str()).with_some("path", path);
    Ok(Some(Manager { id, object: Some(object) }))
}
