use std::collections::BTreeMap;

use capscache_domain::*;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::{svg, tree};

fn pci(bus: u32, slot: u32, function: u32) -> Address {
    Address::Pci(PciAddress { function, ..PciAddress::new(bus, slot) })
}

fn usb(bus: u32, port: &str) -> Address {
    Address::Usb(UsbAddress { bus, port: UsbPort::parse(port).unwrap() })
}

fn drive(controller: u32, unit: u32) -> Address {
    Address::Drive(DriveAddress { controller, unit, ..DriveAddress::default() })
}

fn controller(r#type: ControllerType, index: u32, model: Option<ControllerModel>) -> Controller {
    Controller { index: Some(index), model, ..Controller::new(r#type) }
}

fn bridge(index: u32, model: ControllerModel) -> Controller {
    controller(ControllerType::Pci, index, Some(model))
}

fn root_port(index: u32, port: u32) -> Controller {
    let port = Some(Hex(port));
    Controller { chassis: Some(index), port, ..bridge(index, ControllerModel::PcieRootPort) }
}

fn interface(mac: &str, model: &str) -> Interface {
    let mac = Some(mac.to_owned());
    Interface { mac, model: Some(model.to_owned()), ..Interface::new(InterfaceType::User) }
}

fn disk(dev: &str, bus: DiskBus) -> Disk {
    Disk { bus: Some(bus), ..Disk::new(dev.to_owned()) }
}

/// Adds devices with addresses.
fn place<K: Into<DeviceKind>>(guest: &mut Guest, address: Address, kind: K) {
    guest.devices.push(Device::with_address(kind, address));
}

fn q35() -> Guest {
    let mut guest = Guest::new("x86_64", "pc-q35-7.2");
    guest.name = Some("web".to_owned());
    guest.add(bridge(0, ControllerModel::PcieRoot));
    let first = PciAddress { multifunction: Some(Switch::On), ..PciAddress::new(0, 2) };
    place(&mut guest, Address::Pci(first), root_port(1, 0x10));
    place(&mut guest, pci(0, 2, 1), root_port(2, 0x11));
    let fixed = Controller { hotplug: Some(Switch::Off), ..root_port(3, 0x12) };
    place(&mut guest, pci(0, 2, 2), fixed);
    place(&mut guest, pci(0, 0x1f, 2), controller(ControllerType::Sata, 0, None));
    let xhci = controller(ControllerType::Usb, 0, Some(ControllerModel::QemuXhci));
    place(&mut guest, pci(2, 0, 0), xhci);
    let cdrom = Disk { device: Some(DiskDevice::Cdrom), ..disk("sda", DiskBus::Sata) };
    place(&mut guest, drive(0, 0), cdrom);
    place(&mut guest, pci(1, 0, 0), interface("52:54:00:12:34:56", "virtio"));
    let tablet = Input { bus: Some(InputBus::Usb), ..Input::new(InputType::Tablet) };
    place(&mut guest, usb(0, "1"), tablet);
    place(&mut guest, pci(0, 1, 0), Video { model: Some(VideoModel::Vga), ..Video::new() });
    guest.add(Input { bus: Some(InputBus::Ps2), ..Input::new(InputType::Mouse) });
    guest.add(Graphics::new(GraphicsType::Vnc));
    guest.add(Memballoon::new(MemballoonModel::None));
    guest
}

fn pc() -> Guest {
    let mut guest = Guest::new("x86_64", "pc");
    guest.add(bridge(0, ControllerModel::PciRoot));
    let usb_controller = controller(ControllerType::Usb, 0, Some(ControllerModel::Piix3Uhci));
    place(&mut guest, pci(0, 1, 2), usb_controller);
    let chassis_nr = Some(1);
    let first = Controller { chassis_nr, ..bridge(1, ControllerModel::PciBridge) };
    place(&mut guest, pci(0, 3, 0), first);
    place(&mut guest, pci(1, 1, 0), bridge(2, ControllerModel::PciBridge));
    guest.add(controller(ControllerType::Fdc, 0, None));
    let scsi = controller(ControllerType::Scsi, 0, Some(ControllerModel::Lsilogic));
    place(&mut guest, pci(1, 0x1f, 0), scsi);
    place(&mut guest, pci(2, 4, 0), interface("52:54:00:12:34:57", "e1000"));
    place(&mut guest, pci(0, 4, 0), disk("vda", DiskBus::Virtio));
    place(&mut guest, drive(0, 10), disk("sdb", DiskBus::Scsi));
    place(&mut guest, drive(0, 2), disk("sda", DiskBus::Scsi));
    place(&mut guest, drive(0, 0), disk("fda", DiskBus::Fdc));
    place(&mut guest, usb(0, "1"), Hub::new(HubType::Usb));
    place(&mut guest, usb(0, "1.2"), Hub::new(HubType::Usb));
    place(&mut guest, usb(0, "1.2.1"), disk("sdc", DiskBus::Usb));
    place(&mut guest, usb(0, "2"), Redirdev::new());
    let channel = Channel { name: Some("agent".to_owned()), ..Channel::new() };
    let port = VirtioSerialAddress { controller: 1, bus: 0, port: 3 };
    place(&mut guest, Address::VirtioSerial(port), channel);
    let panic = Panic { model: Some(PanicModel::Isa) };
    let iobase = Some(0x505);
    place(&mut guest, Address::Isa(IsaAddress { iobase, irq: None }), panic);
    let dimm = Memory { size: Some(512), ..Memory::new(MemoryModel::Dimm) };
    place(&mut guest, Address::Dimm(DimmAddress { slot: Some(0), base: None }), dimm);
    guest
}

#[test]
fn the_tree_of_a_q35_guest_shows_each_port_with_its_device() {
    let expected = "\
web  (x86_64 pc-q35-7.2)
├─ controller pcie-root 0
│  ├─ 00:01.0  video vga
│  ├─ 00:02.0  controller pcie-root-port 1  (chassis 1, port 0x10, hotplug, multifunction)
│  │  └─ 01:00.0  interface 52:54:00:12:34:56 virtio-net
│  ├─ 00:02.1  controller pcie-root-port 2  (chassis 2, port 0x11, hotplug)
│  │  └─ 02:00.0  controller usb 0 qemu-xhci
│  │     └─ 0-1  input tablet usb
│  ├─ 00:02.2  controller pcie-root-port 3  (chassis 3, port 0x12, no hotplug, free)
│  └─ 00:1f.2  controller sata 0
│     └─ 0:0:0:0  cdrom sda sata
└─ no address
   └─ input mouse ps2
";
    assert_eq!(tree(&q35()), expected);
}

#[test]
fn the_tree_of_a_pc_guest_shows_bridges_hubs_and_buses_without_a_controller() {
    let expected = "\
guest  (x86_64 pc)
├─ controller pci-root 0
│  ├─ 00:01.2  controller usb 0 piix3-uhci
│  │  ├─ 0-1  hub usb
│  │  │  └─ 0-1.2  hub usb
│  │  │     └─ 0-1.2.1  disk sdc usb
│  │  └─ 0-2  redirdev
│  ├─ 00:03.0  controller pci-bridge 1  (chassis 1)
│  │  ├─ 01:01.0  controller pci-bridge 2
│  │  │  └─ 02:04.0  interface 52:54:00:12:34:57 e1000
│  │  └─ 01:1f.0  controller scsi 0 lsilogic
│  │     ├─ 0:0:0:2   disk sda scsi
│  │     └─ 0:0:0:10  disk sdb scsi
│  └─ 00:04.0  disk vda virtio
├─ ISA
│  └─ 0x505  panic isa
├─ memory slots
│  └─ 0  memory dimm 512 KiB
├─ controller fdc 0
│  └─ 0:0:0:0  disk fda fdc
└─ virtio-serial 1  (no controller)
   └─ 1.3  channel agent
";
    assert_eq!(tree(&pc()), expected);
}

/// Reads a drawing: the text of each element, by the class of the element.
fn texts(drawing: &str) -> BTreeMap<String, Vec<String>> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut reader = Reader::from_str(drawing);
    reader.config_mut().enable_all_checks(true);
    let mut open: Vec<String> = Vec::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => {
                let class = start.try_get_attribute("class").unwrap();
                let class = class.map(|class| class.value.into_owned());
                open.push(class.unwrap_or_default());
                let name = start.name();
                assert!(!matches!(name.as_ref(), "script" | "image" | "use" | "foreignObject"));
            }
            Event::End(_) => _ = open.pop(),
            Event::Text(text) => {
                let class = open.last().cloned().unwrap_or_default();
                texts.entry(class).or_default().push((*text).to_owned());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty());
    texts
}

/// The numbers of an attribute, in the order of its elements.
fn numbers(line: &str, name: &str) -> i64 {
    let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
    rest.split_once('"').unwrap().0.parse().unwrap()
}

#[test]
fn a_drawing_has_each_address_once() {
    for guest in [q35(), pc()] {
        let drawing = svg(&guest);
        let mut drawn = texts(&drawing)["address"].clone();
        let mut expected: Vec<String> = tree(&guest)
            .lines()
            .map(|line| line.trim_start_matches(['│', '├', '└', '─', ' ']))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
            .map(|line| line.split_once(' ').unwrap().0.to_owned())
            .collect();
        drawn.sort();
        expected.sort();
        assert_eq!(drawn, expected);
    }
}

#[test]
fn the_boxes_of_a_drawing_lie_inside_of_it_and_do_not_overlap() {
    for guest in [q35(), pc()] {
        let drawing = svg(&guest);
        let page = drawing.lines().next().unwrap();
        let boxes: Vec<[i64; 4]> = drawing
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .map(|line| ["x", "y", "width", "height"].map(|name| numbers(line, name)))
            .collect();
        assert!(boxes.len() > 4);
        for (at, [x, y, width, height]) in boxes.iter().enumerate() {
            assert!(x + width < numbers(page, "width") && y + height < numbers(page, "height"));
            for [x2, y2, width2, height2] in &boxes[at + 1..] {
                let is_apart = x + width <= *x2
                    || x2 + width2 <= *x
                    || y + height <= *y2
                    || y2 + height2 <= *y;
                assert!(is_apart, "{boxes:?}");
            }
        }
    }
}

#[test]
fn texts_of_a_guest_are_escaped() {
    let mut guest = Guest::new("x86_64", "q<35>&'\"");
    guest.name = Some("\u{1b}[31m\n</title><script>".to_owned());
    place(&mut guest, pci(0, 3, 0), interface("\u{202e}\0]]>", "<b>\u{7}"));
    assert_eq!(
        tree(&guest),
        r#"\x1b[31m\n</title><script>  (x86_64 q<35>&'")
└─ PCI bus 0  (no controller)
   └─ 00:03.0  interface \u{202e}\x00]]> <b>\x07
"#
    );
    let drawing = svg(&guest);
    texts(&drawing);
    assert!(!drawing.contains("<script") && !drawing.contains('\u{1b}'));
}

#[test]
fn a_long_name_is_shortened_in_a_drawing_but_for_the_tooltip() {
    let mut guest = Guest::new("x86_64", "pc");
    let name = "日本".repeat(50);
    place(&mut guest, pci(0, 3, 0), Shmem { name: Some(name.clone()), ..Shmem::new() });
    let drawing = svg(&guest);
    assert_eq!(drawing.matches(&name).count(), 1);
    assert!(drawing.contains("本…</text>"), "{drawing}");
}

#[test]
fn bridges_behind_themselves_are_shown_once() {
    let mut guest = Guest::new("x86_64", "pc");
    place(&mut guest, pci(1, 1, 0), bridge(1, ControllerModel::PciBridge));
    place(&mut guest, pci(3, 1, 0), bridge(2, ControllerModel::PciBridge));
    place(&mut guest, pci(2, 1, 0), bridge(3, ControllerModel::PciBridge));
    place(&mut guest, pci(3, 2, 0), disk("vda", DiskBus::Virtio));
    assert_eq!(
        tree(&guest),
        "\
guest  (x86_64 pc)
├─ 01:01.0  controller pci-bridge 1  (on a bus behind itself)
└─ 02:01.0  controller pci-bridge 3  (on a bus behind itself)
   ├─ 03:01.0  controller pci-bridge 2
   └─ 03:02.0  disk vda virtio
"
    );
    texts(&svg(&guest));
}

#[test]
fn a_chain_of_bridges_takes_space_in_proportion() {
    let mut guest = Guest::new("x86_64", "pc");
    for index in 0..20_000 {
        place(&mut guest, pci(index + 1, 1, 0), bridge(index, ControllerModel::PciBridge));
    }
    let text = tree(&guest);
    assert!(text.len() < 20_000 * 120, "{}", text.len());
    assert_eq!(text.matches("pci-bridge").count(), 20_000);
    let drawing = svg(&guest);
    assert!(drawing.len() < 20_000 * 2000, "{}", drawing.len());
}

#[test]
fn a_guest_without_devices_has_a_picture() {
    let guest = Guest::new("x86_64", "pc");
    assert_eq!(tree(&guest), "guest  (x86_64 pc)\n");
    texts(&svg(&guest));
}

#[test]
fn the_same_guest_has_the_same_picture_in_any_order() {
    let guest = q35();
    let mut reversed = guest.clone();
    reversed.devices.reverse();
    assert_eq!(tree(&guest), tree(&reversed));
    assert_eq!(svg(&guest), svg(&reversed));
}
