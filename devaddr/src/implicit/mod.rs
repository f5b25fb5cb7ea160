//! Devices and models that a guest has without saying so.

mod controllers;
mod given;
mod machine;
mod models;
mod pci_controllers;
mod validate;

use crate::error::Error;
use crate::plan::Plan;

/// Completes the models of devices and adds implicit devices.
pub(crate) fn complete(plan: &mut Plan<'_>) -> Result<(), Error> {
    given::complete_buses(plan);
    validate::check_nodes(plan)?;
    given::check_disabled(plan)?;
    controllers::number(plan)?;
    machine::add_devices(plan)?;
    models::complete(plan)?;
    given::check(plan)?;
    validate::check(plan)?;
    machine::add_video(plan);
    machine::add_consoles(plan);
    controllers::add_needed(plan)?;
    models::complete_controllers(plan)?;
    Ok(())
}

pub(crate) use controllers::is_usb2;
pub(crate) use given::prepare;
pub(crate) use pci_controllers::device_names;
