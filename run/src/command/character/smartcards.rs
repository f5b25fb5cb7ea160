//! Smart cards.

use std::path::Path;

use capscache_domain::{Address, ControllerType, Kind, SmartcardMode};

use super::chardev::{self, Chardev};
use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// The database of certificates of a card that names none.
const DATABASE: &str = "/etc/pki/nssdb";

/// Adds the smart card: QEMU has at most one.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut cards = cx.of(Kind::Smartcard);
    let Some(device) = cards.next() else { return Ok(()) };
    if let Some(second) = cards.next() {
        return Err(second.view.invalid("", "a guest has at most one smart card; remove it"));
    }
    let view = device.view;
    let is_first = matches!(
        device.address(),
        Some(Address::Ccid(address)) if address.controller == 0 && address.slot == 0
    );
    if !is_first {
        let what = "a smart card is in slot 0 of CCID controller 0; leave the address out";
        return Err(view.invalid("address", what));
    }
    let mut props = match view.word("@mode")? {
        Some(SmartcardMode::Host) => {
            cx.require_device(view, "ccid-card-emulated")?;
            Props::device("ccid-card-emulated").with("backend", "nss-emulated")
        }
        Some(SmartcardMode::HostCertificates) => certificates(cx, device)?,
        Some(SmartcardMode::Passthrough) => {
            cx.require_device(view, "ccid-card-passthru")?;
            let mut chardev = Chardev::new(device, view.require("@type")?);
            chardev.spicevmc = "smartcard";
            chardev::add(cx, args, &chardev)?;
            Props::device("ccid-card-passthru").with("chardev", chardev.id)
        }
        _ => return Err(view.invalid("", "the mode is missing; add it")),
    };
    let controller = cx.controller(ControllerType::Ccid, 0);
    let Some(controller) = controller else {
        return Err(view.invalid("address", "there is no such CCID controller; add it"));
    };
    props.set("id", device.alias());
    props.set("bus", format!("{}.0", controller.alias()));
    args.device(&props);
    Ok(())
}

fn certificates(cx: &Context<'_>, device: DeviceView<'_>) -> Result<Props, Error> {
    let view = device.view;
    cx.require_device(view, "ccid-card-emulated")?;
    let files: Vec<&str> =
        view.children("certificate").filter_map(|certificate| certificate.text("")).collect();
    let [first, second, third] = files.as_slice() else {
        return Err(view.invalid("", "it needs exactly three certificates"));
    };
    let database = view.text("database");
    if database.is_some_and(|path| !Path::new(path).is_absolute()) {
        return Err(view.invalid("database", "use an absolute path"));
    }
    Ok(Props::device("ccid-card-emulated")
        .with("backend", "certificates")
        .with("cert1", *first)
        .with("cert2", *second)
        .with("cert3", *third)
        .with("db", database.unwrap_or(DATABASE)))
}
