//! Redirected USB devices.

use capscache_domain::{ControllerModel, ControllerType, Kind};

use super::chardev::{self, Chardev};
use crate::command::address;
use crate::command::args::Args;
use crate::command::boot_order;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// Adds redirected devices.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let filter = filter(cx)?;
    for device in cx.of(Kind::Redirdev) {
        add_device(cx, args, device, filter.as_deref())?;
    }
    Ok(())
}

fn add_device(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    filter: Option<&str>,
) -> Result<(), Error> {
    let view = device.view;
    view.one_of("@bus", &["usb"])?;
    let r#type = view.require("@type")?;
    let usb = cx.controller(ControllerType::Usb, 0).and_then(|usb| usb.typed.controller());
    if usb.is_some_and(|usb| usb.model == Some(ControllerModel::None)) {
        return Err(view.invalid("", "the guest has no USB; remove it"));
    }
    let is_file = r#type == "file" || view.has("log");
    if is_file && cx.of(Kind::Rng).next().is_some() {
        // libvirt numbers the descriptors of sources of random numbers before these.
        return Err(view.unsupported("", "a file is not supported beside an <rng>"));
    }
    cx.require_device(view, "usb-redir")?;
    let mut chardev = Chardev::new(device, r#type);
    chardev.spicevmc = "usbredir";
    chardev.dbus = Some("org.qemu.usbredir");
    chardev::add(cx, args, &chardev)?;
    let mut props = Props::device("usb-redir")
        .with("chardev", chardev.id)
        .with("id", device.alias())
        .with_some("filter", filter)
        .with_some("bootindex", boot_order::index(cx, device)?);
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}

/// Returns the filter of devices: rules of class, vendor, product, version and permission.
fn filter(cx: &Context<'_>) -> Result<Option<String>, Error> {
    let mut filters = cx.of(Kind::Redirfilter);
    let Some(filter) = filters.next() else { return Ok(None) };
    if let Some(second) = filters.next() {
        return Err(second.view.invalid("", "a guest has at most one filter; remove it"));
    }
    let rules: Result<Vec<String>, Error> = filter.view.children("usbdev").map(rule).collect();
    let rules = rules?;
    let has_filter = cx.has_property("usb-redir", "filter");
    if !rules.is_empty() && !has_filter && cx.of(Kind::Redirdev).next().is_some() {
        return Err(filter.view.lacks("", "filters of redirected devices"));
    }
    Ok((!rules.is_empty()).then(|| rules.join("|")))
}

fn rule(view: View<'_>) -> Result<String, Error> {
    let class = match id(view, "@class", 0xff)? {
        Some(class) => format!("0x{class:02X}"),
        None => "-1".to_owned(),
    };
    let word = |number: Option<u32>| match number {
        Some(number) => format!("0x{number:04X}"),
        None => "-1".to_owned(),
    };
    let vendor = word(id(view, "@vendor", u32::MAX)?);
    let product = word(id(view, "@product", u32::MAX)?);
    let version = word(version(view)?);
    view.require("@allow")?;
    let allow = u8::from(view.yes_no("@allow")? == Some(true));
    Ok(format!("{class}:{vendor}:{product}:{version}:{allow}"))
}

/// Returns a number of a device, `None` if any will do.
fn id(view: View<'_>, place: &str, max: u32) -> Result<Option<u32>, Error> {
    if view.text(place) == Some("-1") {
        return Ok(None);
    }
    match view.any_number(place)? {
        Some(number) if number > max.min(0x7fff_ffff) => {
            Err(view.invalid(place, "the number is too large"))
        }
        number => Ok(number),
    }
}

/// Returns the version of a device as binary-coded decimals, `None` if any will do.
fn version(view: View<'_>) -> Result<Option<u32>, Error> {
    let Some(text) = view.text("@version").filter(|text| *text != "-1") else { return Ok(None) };
    let wrong = || view.invalid("@version", "it is not a version such as 2.0 or 1.10");
    let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
    let digits = |text: &str| {
        let is_valid = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_valid.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    let (high, low) = (digits(major).ok_or_else(wrong)?, digits(minor).ok_or_else(wrong)?);
    // 2.1 is 2.10.
    let low = if minor.len() == 1 { low << 4 } else { low };
    Ok(Some(high << 8 | low))
}

#[cfg(test)]
mod tests {
    use capscache_domain::Guest;

    use super::*;
    use crate::view::Reader;

    #[test]
    fn a_version_is_in_decimals_and_its_second_part_is_filled_from_the_right() {
        let read = |text: &str| {
            let guest = format!(
                "<domain type='kvm'><os><type>hvm</type></os><devices><redirfilter>
                 <usbdev version='{text}' allow='yes'/></redirfilter></devices></domain>"
            );
            let guest = Guest::from_xml(&guest).unwrap();
            let root = guest.to_element();
            let reader = Reader::new(&root, &guest);
            let filter = reader.root().child("devices").unwrap().child("redirfilter").unwrap();
            version(filter.child("usbdev").unwrap())
        };
        assert_eq!(read("2.0"), Ok(Some(0x0200)));
        assert_eq!(read("1.1"), Ok(Some(0x0110)));
        assert_eq!(read("12.07"), Ok(Some(0x1207)));
        assert_eq!(read("-1"), Ok(None));
        assert!(matches!(read("1.123"), Err(Error::Invalid { .. })));
    }
}
