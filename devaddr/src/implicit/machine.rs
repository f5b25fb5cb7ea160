//! Devices that a machine has, or that a guest gets unless it says otherwise.

use capscache_domain::{
    Console, ConsoleType, Controller, ControllerModel, ControllerType, Device, DeviceKind, Input,
    InputBus, InputType, Iommu, IommuModel, Kind, Memballoon, MemballoonModel, Panic, PanicModel,
    Serial, Video, VideoModel, Watchdog, WatchdogModel, YesNo,
};

use super::given::first_port;
use super::models::{NEC, OHCI, PIIX3, XHCI};
use crate::error::Error;
use crate::explain::Why;
use crate::facts::Part;
use crate::machine::{Board, Family, Root};
use crate::plan::Plan;

/// The number of virtual CPUs from which a q35 guest needs an IOMMU with extended interrupts.
const VCPUS_WITHOUT_IOMMU: u32 = 255;

/// Adds what does not depend on the models of other devices.
pub(super) fn add_devices(plan: &mut Plan<'_>) -> Result<(), Error> {
    if plan.has_ps2 {
        add_input(plan, InputType::Mouse, InputBus::Ps2);
        add_input(plan, InputType::Keyboard, InputBus::Ps2);
    }
    add_usb(plan);
    if plan.machine.board == Board::Q35 {
        plan.ensure_controller(ControllerType::Sata, 0, None, Why::PartOfMachine);
    }
    add_root(plan)?;
    if has_balloon(plan) && plan.devices.of(Kind::Memballoon).is_empty() {
        let balloon = Memballoon { model: MemballoonModel::Virtio };
        plan.add(Device::new(balloon), Why::ByDefault);
    }
    add_usb_inputs(plan);
    add_panic(plan);
    if plan.machine.board == Board::Q35 {
        add_itco(plan);
        if plan.vcpus > VCPUS_WITHOUT_IOMMU && plan.devices.of(Kind::Iommu).is_empty() {
            let mut iommu = Device::new(Iommu { model: IommuModel::Intel });
            "iommu".clone_into(&mut iommu.element_mut().name);
            let driver = iommu.element_mut().child_or_new("driver");
            driver.set("intremap", "on");
            driver.set("eim", "on");
            plan.add(iommu, Why::ByDefault);
        }
    }
    Ok(())
}

/// Adds a video device to a guest with graphics, and makes the first one primary if none is.
pub(super) fn add_video(plan: &mut Plan<'_>) {
    let videos = plan.devices.of(Kind::Video);
    if videos.is_empty() && !plan.devices.of(Kind::Graphics).is_empty() {
        let model = super::models::video(plan);
        let video = Video { model, primary: Some(YesNo::Yes), ..Video::new() };
        plan.add(Device::new(video), Why::ByDefault);
        return;
    }
    let videos = plan.devices.ids(Kind::Video);
    let is_primary = |id: &_| match plan.kind(*id) {
        DeviceKind::Video(video) => video.primary == Some(YesNo::Yes),
        _ => false,
    };
    match videos.iter().position(is_primary) {
        Some(0) => {}
        // libvirt moves the primary one to the front.
        Some(primary) => plan.devices.move_to_front(Kind::Video, primary),
        None => {
            if let Some(id) = videos.first()
                && let DeviceKind::Video(video) = &mut plan.devices.get_mut(*id).device
                && video.model != Some(VideoModel::None)
            {
                video.primary = Some(YesNo::Yes);
            }
        }
    }
}

/// Makes the first console and the first serial port the same device, whichever of them is there.
pub(super) fn add_consoles(plan: &mut Plan<'_>) {
    match_console(plan);
    number_consoles(plan);
}

fn match_console(plan: &mut Plan<'_>) {
    let serial = plan.devices.of(Kind::Serial).first().copied();
    let console = plan.devices.of(Kind::Console).first().copied();
    let is_serial = |id| match plan.kind(id) {
        DeviceKind::Console(console) => {
            matches!(console.target_type, None | Some(ConsoleType::Serial))
        }
        _ => false,
    };
    match (serial, console) {
        (None, Some(console)) if is_serial(console) => {
            let device = plan.devices.get(console);
            let DeviceKind::Console(from) = &device.device else { return };
            let mut serial =
                Device::new(Serial { r#type: from.r#type.clone(), port: Some(0), ..Serial::new() });
            serial.address = device.address.clone();
            copy_element(device, &mut serial, "serial");
            let id = plan.add(serial, Why::NeededByDevice);
            super::models::serial(plan, id);
        }
        (Some(serial), None) => add_console(plan, serial),
        (Some(serial), Some(console)) if !is_serial(console) => {
            let before = plan.devices.of(Kind::Console).len();
            add_console(plan, serial);
            if plan.devices.of(Kind::Console).len() > before {
                plan.devices.move_to_front(Kind::Console, before);
            }
        }
        _ => {}
    }
}

/// Numbers consoles from 0; one that stands for a serial port has its number.
fn number_consoles(plan: &mut Plan<'_>) {
    let serial = plan.devices.of(Kind::Serial).first();
    let of_serial = serial.and_then(|id| match plan.kind(*id) {
        DeviceKind::Serial(serial) => serial.port,
        _ => None,
    });
    for (position, id) in plan.devices.ids(Kind::Console).into_iter().enumerate() {
        let DeviceKind::Console(console) = &mut plan.devices.get_mut(id).device else { continue };
        let is_first_serial = position == 0 && console.target_type == Some(ConsoleType::Serial);
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        console.port = of_serial.filter(|_| is_first_serial).or(Some(number));
    }
}

fn add_console(plan: &mut Plan<'_>, serial: crate::devices::Id) {
    let device = plan.devices.get(serial);
    let DeviceKind::Serial(from) = &device.device else { return };
    if !matches!(
        from.target_type,
        None | Some(
            capscache_domain::SerialType::IsaSerial
                | capscache_domain::SerialType::SpaprVioSerial
                | capscache_domain::SerialType::SystemSerial
                | capscache_domain::SerialType::SclpSerial
        )
    ) {
        return;
    }
    let mut console = Device::new(Console {
        r#type: from.r#type.clone(),
        target_type: Some(ConsoleType::Serial),
        port: Some(0),
    });
    copy_element(device, &mut console, "console");
    plan.add(console, Why::ByDefault);
}

/// Copies the host's side of a character device.
fn copy_element(from: &Device, to: &mut Device, name: &str) {
    if from.element().name.is_empty() {
        return;
    }
    let element = to.element_mut();
    from.element().clone_into(element);
    name.clone_into(&mut element.name);
    ["target", "address", "alias"].iter().for_each(|child| element.remove_children(child));
}

fn add_input(plan: &mut Plan<'_>, r#type: InputType, bus: InputBus) {
    let is_it = |id: &_| match plan.kind(*id) {
        // A mouse or keyboard without a bus gets this one.
        DeviceKind::Input(input) => {
            input.r#type == r#type && input.bus.is_none_or(|found| found == bus)
        }
        _ => false,
    };
    if !plan.devices.of(Kind::Input).iter().any(is_it) {
        plan.add(Device::new(Input { bus: Some(bus), ..Input::new(r#type) }), Why::PartOfMachine);
    }
}

fn add_usb(plan: &mut Plan<'_>) {
    let Some(model) = usb(plan) else { return };
    let is_added = plan.ensure_controller(ControllerType::Usb, 0, model, Why::ByDefault);
    if !is_added || model != Some(ControllerModel::Ich9Ehci1) {
        return;
    }
    let companions =
        [ControllerModel::Ich9Uhci1, ControllerModel::Ich9Uhci2, ControllerModel::Ich9Uhci3];
    for model in companions {
        let companion = Controller {
            index: Some(0),
            model: Some(model),
            master_startport: first_port(model),
            ..Controller::new(ControllerType::Usb)
        };
        plan.add(Device::new(companion), Why::ByDefault);
    }
}

/// Adds a keyboard and a mouse to a guest with graphics that has no other ones.
fn add_usb_inputs(plan: &mut Plan<'_>) {
    if plan.machine.family != Family::Ppc64 || plan.devices.of(Kind::Graphics).is_empty() {
        return;
    }
    add_input(plan, InputType::Keyboard, InputBus::Usb);
    let is_tablet = |id: &_| match plan.kind(*id) {
        DeviceKind::Input(input) => {
            input.r#type == InputType::Tablet && input.bus.is_none_or(|bus| bus == InputBus::Usb)
        }
        _ => false,
    };
    if !plan.devices.of(Kind::Input).iter().any(is_tablet) {
        add_input(plan, InputType::Mouse, InputBus::Usb);
    }
}

/// Returns the model of the USB controller that a guest gets; `None` if it gets none.
fn usb(plan: &Plan<'_>) -> Option<Option<ControllerModel>> {
    let first = |parts| plan.facts.first::<ControllerModel>(parts);
    let of_machine = || super::models::usb(plan, false);
    match (plan.machine.family, plan.machine.board) {
        (_, Board::Q35) => {
            first(&[XHCI, NEC, (Part::Ich9Ehci, ControllerModel::Ich9Ehci1)]).map(Some)
        }
        (Family::X86, Board::Isapc | Board::Microvm) => None,
        (Family::X86, _) => Some(first(&[PIIX3])),
        (Family::Arm, Board::ArmPci) => first(&[OHCI]).map(Some),
        (Family::Arm, _) if plan.machine.name.starts_with("realview") => first(&[OHCI]).map(Some),
        (Family::Ppc | Family::Ppc64, _) => Some(of_machine()),
        (Family::Other, _) if plan.machine.root.is_some() => Some(of_machine()),
        _ => None,
    }
}

fn add_root(plan: &mut Plan<'_>) -> Result<(), Error> {
    let model = match plan.machine.root {
        Some(Root::Pci) => ControllerModel::PciRoot,
        Some(Root::Pcie) => ControllerModel::PcieRoot,
        None => return Ok(()),
    };
    match plan.devices.find_controller(ControllerType::Pci, 0) {
        Some(id) => {
            let found = plan.devices.controller(id).and_then(|controller| controller.model);
            if found != Some(model) {
                let found = found.map_or("no model", ControllerModel::as_str);
                return Err(Error::Controller {
                    controller: plan.describe(id),
                    cause: format!(
                        "the first PCI controller of machine {} is a {model}, not {found}",
                        plan.machine.name
                    ),
                    remedy: format!("use {model}"),
                });
            }
        }
        None => {
            plan.add_controller(ControllerType::Pci, 0, Some(model), Why::PartOfMachine);
        }
    }
    Ok(())
}

fn has_balloon(plan: &Plan<'_>) -> bool {
    match plan.machine.family {
        Family::Arm | Family::Loongarch => false,
        Family::X86 | Family::Ppc | Family::Ppc64 | Family::S390 | Family::Riscv => true,
        Family::Other => plan.machine.root.is_some(),
    }
}

fn add_panic(plan: &mut Plan<'_>) {
    // That of x86 is a device of its own.
    let Some(model @ (PanicModel::Pseries | PanicModel::S390)) = super::models::panic(plan) else {
        return;
    };
    let is_it = |id: &_| match plan.kind(*id) {
        DeviceKind::Panic(panic) => panic.model.is_none_or(|found| found == model),
        _ => false,
    };
    if !plan.devices.of(Kind::Panic).iter().any(is_it) {
        plan.add(Device::new(Panic { model: Some(model) }), Why::PartOfMachine);
    }
}

/// Adds the watchdog of the chipset, with the action of the first other one.
fn add_itco(plan: &mut Plan<'_>) {
    let mut action = None;
    for id in plan.devices.of(Kind::Watchdog) {
        if let DeviceKind::Watchdog(watchdog) = plan.kind(*id) {
            if watchdog.model == WatchdogModel::Itco {
                return;
            }
            action = action.or(watchdog.action.clone());
        }
    }
    let action = Some(action.unwrap_or_else(|| "reset".to_owned()));
    plan.add(Device::new(Watchdog { action, model: WatchdogModel::Itco }), Why::PartOfMachine);
}
