//! Consoles.

use capscache_domain::{Address, ConsoleType, Kind};

use super::chardev::{self, Chardev};
use crate::command::address;
use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// The types of the host's side of a serial port, in libvirt's words.
const TYPES: &[&str] = &[
    "null",
    "vc",
    "pty",
    "dev",
    "file",
    "pipe",
    "stdio",
    "udp",
    "tcp",
    "unix",
    "spiceport",
    "qemu-vdagent",
    "dbus",
];

/// Adds consoles that are devices of their own; the first serial port is one, too.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for (position, device) in cx.of(Kind::Console).enumerate() {
        let view = device.view;
        view.ignore(&["@tty"]);
        view.number::<u32>("target@port")?;
        let driver = match view.word("target@type")? {
            Some(ConsoleType::Serial) if position == 0 => {
                ignore_serial(device)?;
                continue;
            }
            Some(ConsoleType::Serial) => {
                let what = "only the first console can be a serial port; use another type";
                return Err(view.invalid("target@type", what));
            }
            Some(ConsoleType::Virtio) => "virtconsole",
            Some(ConsoleType::Sclp) => "sclpconsole",
            Some(ConsoleType::Sclplm) => "sclplmconsole",
            _ => return Err(view.invalid("target@type", "QEMU has no such console; use virtio")),
        };
        add_console(cx, args, device, driver)?;
    }
    Ok(())
}

/// Ignores the settings of a console that stands for the first serial port.
fn ignore_serial(device: DeviceView<'_>) -> Result<(), Error> {
    let view = device.view;
    view.one_of("@type", TYPES)?;
    view.ignore(&["target/model@name"]);
    for source in view.children("source") {
        source.one_of("@mode", &["bind", "connect", "client", "server"])?;
    }
    ["source", "log", "protocol"].iter().for_each(|child| view.ignore_children(child));
    Ok(())
}

fn add_console(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    driver: &str,
) -> Result<(), Error> {
    let view = device.view;
    let r#type = view.text("@type").unwrap_or("pty");
    if r#type == "spicevmc" {
        return Err(view.invalid("@type", "only channels can be of this type"));
    }
    let chardev = Chardev::new(device, r#type);
    chardev::add(cx, args, &chardev)?;
    let mut props = Props::device(driver);
    match (driver, device.address()) {
        ("virtconsole", None) => {}
        ("virtconsole", Some(Address::VirtioSerial(_))) => {
            address::add(cx, device, &mut props)?;
        }
        ("virtconsole", _) => {
            return Err(view.invalid("address", "a console has an address of type virtio-serial"));
        }
        (_, None) => cx.require_device(view, driver)?,
        (_, Some(_)) => return Err(view.unsupported("address", "such a console has no address")),
    }
    props.set("chardev", chardev.id);
    props.set("id", device.alias());
    args.device(&props);
    Ok(())
}
