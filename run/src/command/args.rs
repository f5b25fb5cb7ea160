//! The command line while it is built.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;

use capscache_domain::Address;
use serde_json::Value;

use crate::command::{Command, Setup};
use crate::context::{Context, DeviceView};
use crate::host::{Assigned, Descriptor, Helper};
use crate::props::Props;

/// The greatest number of descriptors that a guest can have: that of libvirt's daemon, which opens them for QEMU
/// (`LimitNOFILE` of its unit).
const MAX_DESCRIPTORS: usize = 8192;

/// Options of QEMU, in order.
pub(super) struct Args {
    command: Command,
    /// Returns the number of a descriptor.
    number: fn(&Descriptor, usize) -> i32,
    next_set: u32,
    /// Properties of devices, by their aliases, with values that the guest sets itself, or without for removed ones.
    overrides: HashMap<String, Vec<(String, Option<Value>)>>,
    /// The positions of variables.
    variables: HashMap<String, usize>,
    /// True if devices are described in JSON. QEMU before 7.0 cannot unplug such ones.
    has_json_devices: bool,
    /// The next set of a character device: libvirt numbers these before others.
    next_character_set: u32,
}

impl Args {
    /// Starts a command line; the first sets of descriptors are those of character devices.
    pub(super) fn new(cx: &Context<'_>, character_sets: u32) -> Args {
        let host = cx.host;
        let has_json_devices = cx.has_flag("device.json+hotplug");
        let names = host.environment.iter().enumerate().rev();
        let variables = names.map(|(position, (name, _))| (name.clone(), position)).collect();
        let command = Command { environment: host.environment.clone(), ..Command::default() };
        Args {
            command,
            number: host.number,
            next_set: character_sets,
            overrides: HashMap::new(),
            variables,
            has_json_devices,
            next_character_set: 0,
        }
    }

    /// Sets the emulator.
    pub(super) fn program(&mut self, path: impl Into<PathBuf>) {
        self.command.program = path.into();
    }

    /// Adds a variable of the environment, or replaces its value.
    pub(super) fn variable(&mut self, name: &str, value: impl Display) {
        let environment = &mut self.command.environment;
        let position = *self.variables.entry(name.to_owned()).or_insert(environment.len());
        match environment.get_mut(position) {
            Some((_, found)) => *found = value.to_string(),
            None => environment.push((name.to_owned(), value.to_string())),
        }
    }

    /// Adds an argument.
    pub(super) fn flag(&mut self, name: &str) {
        self.command.args.push(name.to_owned());
    }

    /// Adds an option with its value.
    pub(super) fn option(&mut self, name: &str, value: impl Display) {
        self.command.args.extend([name.to_owned(), value.to_string()]);
    }

    /// Adds a device.
    pub(super) fn device(&mut self, props: &Props) {
        let mut props = props.clone();
        let overrides = props.text("id").and_then(|alias| self.overrides.get(alias));
        for (name, value) in overrides.into_iter().flatten() {
            props.replace(name, value.clone());
        }
        match self.has_json_devices {
            true => self.option("-device", props),
            false => self.option("-device", props.to_list("driver")),
        }
    }

    /// Sets a property of a device that is added later, or removes it.
    pub(super) fn override_property(&mut self, alias: &str, name: &str, value: Option<Value>) {
        self.overrides.entry(alias.to_owned()).or_default().push((name.to_owned(), value));
    }

    /// Adds a device that may be on PCI: the identifiers that PCI has on s390 are a device of their own, before it.
    pub(super) fn pci_device(&mut self, device: DeviceView<'_>, props: &Props) {
        if let Some(Address::Pci(pci)) = device.address()
            && let Some(zpci) = &pci.zpci
        {
            let (uid, fid) = (zpci.uid.unwrap_or(0), zpci.fid.unwrap_or(0));
            let props = Props::device("zpci")
                .with("uid", uid)
                .with("fid", fid)
                .with("target", device.alias())
                .with("id", format!("zpci{uid}"));
            self.device(&props);
        }
        self.device(props);
    }

    /// Adds a block node.
    pub(super) fn blockdev(&mut self, props: &Props) {
        self.option("-blockdev", props);
    }

    /// Adds an object.
    pub(super) fn object(&mut self, props: &Props) {
        self.option("-object", props);
    }

    /// Adds a network backend. A QEMU before 7.2 does not take JSON.
    pub(super) fn netdev(&mut self, cx: &Context<'_>, props: &Props) {
        let takes_json = cx.entry.schema().has("netdev_add/arg-type/type/^dgram").is_yes();
        match takes_json {
            true => self.option("-netdev", props),
            false => self.option("-netdev", props.to_list("type")),
        }
    }

    /// Returns whether so many more descriptors can be passed.
    pub(super) fn has_room_for_descriptors(&self, count: usize) -> bool {
        count <= MAX_DESCRIPTORS.saturating_sub(self.command.descriptors.len())
    }

    /// Returns the number that a descriptor will have in the process.
    pub(super) fn descriptor(&mut self, descriptor: Descriptor) -> i32 {
        let number = (self.number)(&descriptor, self.command.descriptors.len());
        self.command.descriptors.push((number, descriptor));
        number
    }

    /// Adds a set with one descriptor, and returns the path by which QEMU opens it.
    pub(super) fn descriptor_set(&mut self, descriptor: Descriptor, opaque: &str) -> String {
        let set = self.next_set;
        self.next_set += 1;
        self.add_set(set, descriptor, opaque)
    }

    /// Adds a set with the descriptor of a character device, and returns the path by which QEMU opens it.
    pub(super) fn character_set(&mut self, descriptor: Descriptor, opaque: &str) -> String {
        let set = self.next_character_set;
        self.next_character_set += 1;
        self.add_set(set, descriptor, opaque)
    }

    fn add_set(&mut self, set: u32, descriptor: Descriptor, opaque: &str) -> String {
        let fd = self.descriptor(descriptor);
        self.option("-add-fd", format_args!("set={set},fd={fd},opaque={opaque}"));
        format!("/dev/fdset/{set}")
    }

    /// Adds a setting that is not an option, once.
    pub(super) fn setup(&mut self, setup: Setup) {
        if !self.command.setup.contains(&setup) {
            self.command.setup.push(setup);
        }
    }

    /// Adds a process that serves a device.
    pub(super) fn helper(&mut self, helper: Helper) {
        self.command.helpers.push(helper);
    }

    /// Adds a PCI device of the host that the guest uses.
    pub(super) fn assigned(&mut self, assigned: Assigned) {
        // Several disks can be on one device.
        if !self.command.assigned.contains(&assigned) {
            self.command.assigned.push(assigned);
        }
    }

    pub(super) fn finish(self) -> Command {
        self.command
    }
}
