//! A controller as the options read it.

use capscache_domain::{ControllerModel, ControllerType};

use crate::context::DeviceView;

/// A controller: its element, and the facts about it.
#[derive(Clone, Copy)]
pub(super) struct Controller<'a> {
    pub(super) device: DeviceView<'a>,
    pub(super) r#type: ControllerType,
    pub(super) index: u32,
    pub(super) model: Option<ControllerModel>,
}

impl<'a> Controller<'a> {
    /// Reads a controller.
    pub(super) fn of(device: DeviceView<'a>) -> Option<Controller<'a>> {
        let typed = device.typed.controller()?;
        device.view.ignore(&["@type", "@index", "@model"]);
        // A controller that is part of the machine has an alias that is not passed to QEMU.
        let _ = device.alias();
        let index = typed.index.unwrap_or(0);
        Some(Controller { device, r#type: typed.r#type, index, model: typed.model })
    }
}
