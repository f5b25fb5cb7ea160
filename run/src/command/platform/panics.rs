//! Panic notifiers.

use capscache_domain::{Address, DeviceKind, Kind, PanicModel};

use crate::command::address;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Adds panic notifiers that are devices; others are a property of the machine or of the CPU.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut models = Vec::new();
    for device in cx.of(Kind::Panic) {
        let view = device.view;
        view.ignore(&["@model", "alias@name"]);
        let DeviceKind::Panic(panic) = device.kind() else { continue };
        if models.contains(&panic.model) {
            return Err(view.invalid("", "another panic notifier has its model; remove it"));
        }
        models.push(panic.model);
        match panic.model {
            Some(PanicModel::Isa) => {
                cx.require_device(view, "pvpanic")?;
                let mut props = Props::device("pvpanic");
                if let Some(Address::Isa(isa)) = device.address() {
                    props.set("ioport", isa.iobase.unwrap_or(0));
                }
                args.device(&props);
            }
            Some(PanicModel::Pvpanic) => {
                cx.require_device(view, "pvpanic-pci")?;
                let mut props = Props::device("pvpanic-pci");
                address::add(cx, device, &mut props)?;
                args.device(&props);
            }
            Some(PanicModel::S390 | PanicModel::Hyperv | PanicModel::Pseries) => {}
            _ => return Err(view.invalid("", "the machine has no default model; name one")),
        }
    }
    Ok(())
}
