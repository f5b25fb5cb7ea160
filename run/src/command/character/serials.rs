//! Serial ports.

use std::collections::HashSet;

use capscache_devaddr::{Board, Family};
use capscache_domain::{Address, DeviceKind, Kind, Serial, SerialType};

use super::chardev::{self, Chardev};
use crate::command::address;
use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;

/// The number of ISA serial ports that a machine can have.
const MAX_ISA_PORTS: u32 = 4;

/// Adds serial ports.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut isa_ports = HashSet::new();
    for device in cx.of(Kind::Serial) {
        let DeviceKind::Serial(serial) = device.kind() else { continue };
        if serial.target_type == Some(SerialType::IsaSerial) {
            let port = device.view.number("target@port")?.unwrap_or(0);
            if port >= MAX_ISA_PORTS || !isa_ports.insert(port) {
                let what = "use a port from 0 to 3 that no other ISA serial port has";
                return Err(device.view.invalid("target@port", what));
            }
        }
        add_port(cx, args, device, serial)?;
    }
    Ok(())
}

fn add_port(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    serial: &Serial,
) -> Result<(), Error> {
    let view = device.view;
    let backend = view.text("@type").unwrap_or("pty");
    if backend == "spicevmc" {
        return Err(view.invalid("@type", "only channels can be of this type"));
    }
    view.ignore(&["@tty", "target@port"]);
    let r#type = view.word("target@type")?;
    let model = view.text("target/model@name");
    check_target(device, r#type, model)?;
    check_machine(cx, device, r#type, model)?;
    let chardev = Chardev::new(device, backend);
    chardev::add(cx, args, &chardev)?;
    let is_of_machine = matches!(r#type, None | Some(SerialType::SystemSerial));
    let Some(model) = model.filter(|_| !is_of_machine) else {
        if model == Some("pl011") {
            cx.require_device(view, "pl011")?;
        }
        args.option("-serial", format_args!("chardev:{}", chardev.id));
        return Ok(());
    };
    if model != "isa-debugcon" {
        cx.require_device(view, model)?;
    }
    let mut props =
        Props::device(model).with("chardev", chardev.id.as_str()).with("id", device.alias());
    if model == "isa-serial" {
        props.set_some("index", serial.port);
    }
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}

/// Checks that the model and the address are those of a type.
fn check_target(
    device: DeviceView<'_>,
    r#type: Option<SerialType>,
    model: Option<&str>,
) -> Result<(), Error> {
    let is_address = match (r#type, device.address()) {
        (_, None) => true,
        (Some(SerialType::IsaSerial | SerialType::IsaDebug), Some(address)) => {
            matches!(address, Address::Isa(_))
        }
        (Some(SerialType::UsbSerial), Some(address)) => matches!(address, Address::Usb(_)),
        (Some(SerialType::PciSerial), Some(address)) => matches!(address, Address::Pci(_)),
        (Some(SerialType::SpaprVioSerial), Some(address)) => {
            matches!(address, Address::SpaprVio(_))
        }
        _ => false,
    };
    if !is_address {
        return Err(device.view.invalid("address", "its type does not suit the type of the port"));
    }
    let models: &[&str] = match r#type {
        Some(SerialType::IsaSerial) => &["isa-serial"],
        Some(SerialType::UsbSerial) => &["usb-serial"],
        Some(SerialType::PciSerial) => &["pci-serial"],
        Some(SerialType::SpaprVioSerial) => &["spapr-vty"],
        Some(SerialType::SystemSerial) => &["pl011", "16550a"],
        Some(SerialType::SclpSerial) => &["sclpconsole", "sclplmconsole"],
        Some(SerialType::IsaDebug) => &["isa-debugcon"],
        _ => &[],
    };
    match model {
        Some(model) if !models.contains(&model) => {
            Err(device.view.invalid("target/model", "the model does not suit the type of the port"))
        }
        _ => Ok(()),
    }
}

/// Checks that the machine can have a port.
fn check_machine(
    cx: &Context<'_>,
    device: DeviceView<'_>,
    r#type: Option<SerialType>,
    model: Option<&str>,
) -> Result<(), Error> {
    let (family, board) = (cx.machine.family, cx.machine.board);
    let can = match (r#type, model) {
        (Some(SerialType::SystemSerial), Some("pl011")) => {
            (family, board) == (Family::Arm, Board::Virt)
        }
        (Some(SerialType::SystemSerial), Some("16550a")) => {
            matches!(family, Family::Riscv | Family::Loongarch) && board == Board::Virt
        }
        (Some(SerialType::SystemSerial), _) => false,
        (Some(SerialType::SpaprVioSerial), _) => board == Board::Pseries,
        (Some(SerialType::SclpSerial), _) => family == Family::S390,
        (Some(SerialType::IsaDebug), _) => family == Family::X86,
        _ => true,
    };
    match can {
        true => Ok(()),
        false => Err(device.view.invalid("target", "the machine cannot have such a serial port")),
    }
}
