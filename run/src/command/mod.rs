//! A guest to the command line of QEMU: that which libvirt 11.3 writes.

mod address;
mod args;
mod basics;
mod boot_order;
mod bus;
mod character;
mod disk;
mod display;
mod host;
mod machine;
mod memory;
mod order;
mod pci_address;
mod platform;
mod reconnect;
mod secrets;
mod setup;
mod shell;
mod verify;
mod virtio;

use std::cell::OnceCell;
use std::path::PathBuf;

use capscache_devaddr::{Definition, Facts, Machine, Policy, assign};
use capscache_domain::{ControllerType, Guest};
use capscache_format::Entry;

use crate::alias;
use crate::context::{self, Context, DeviceView};
use crate::error::Error;
use crate::host::{Assigned, Descriptor, Helper, Host};
use crate::secret::Secrets;
use crate::view::{Reader, View};
use args::Args;
pub use setup::{NodePolicy, Password, Setup, Swtpm, Thread, VideoProcess};

/// The process of a guest: program, arguments, environment, and the descriptors that it inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The emulator.
    pub program: PathBuf,
    /// The arguments.
    pub args: Vec<String>,
    /// The environment, which is all that the process gets.
    pub environment: Vec<(String, String)>,
    /// The descriptors by their numbers in the process.
    pub descriptors: Vec<(i32, Descriptor)>,
    /// Settings that are not options.
    pub setup: Vec<Setup>,
    /// The processes that serve devices.
    pub helpers: Vec<Helper>,
    /// The PCI devices of the host that the guest uses.
    pub assigned: Vec<Assigned>,
}

/// A guest with the machine type of QEMU that is meant, devices that it has without naming them, addresses and aliases.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) guest: Guest,
    machine: Machine,
    /// True for a guest that is defined anew.
    is_new: bool,
}

/// Completes a guest as libvirt does.
///
/// # Errors
/// [`Error`].
pub(crate) fn complete<B: AsRef<[u8]>>(
    guest: &Guest,
    entry: &Entry<B>,
    policy: &Policy,
) -> Result<Completed, Error> {
    let facts = Facts::from_entry(entry);
    let mut guest = guest.clone();
    basics::name_machine(&mut guest, entry);
    verify::machine(&guest, &facts, entry)?;
    memory::complete::complete(&mut guest, policy);
    let read = guest.clone();
    assign(&mut guest, &facts, policy)?;
    // A guest that was defined before gets what is missing of its USB addresses when it starts. A USB controller without a
    // model is refused later, and must not get that of a new guest.
    let no_model = |device: &capscache_domain::Device| {
        device.controller().is_some_and(|c| c.r#type == ControllerType::Usb && c.model.is_none())
    };
    if policy.definition == Definition::Existing && !guest.devices.iter().any(no_model) {
        let policy = Policy { definition: Definition::New, ..policy.clone() };
        assign(&mut guest, &facts, &policy)?;
    }
    order::restore(&read, &mut guest);
    if read.os.machine.is_none() {
        // The default is an alias, too, and the emulator may lack it.
        basics::name_machine(&mut guest, entry);
        verify::machine(&guest, &facts, entry)?;
    }
    let arch = guest.os.arch.as_deref().unwrap_or_default();
    let machine = Machine::new(arch, guest.os.machine.as_deref().unwrap_or_default(), &facts);
    bus::iommu::complete(&mut guest, &machine, policy);
    alias::assign(&mut guest, &machine);
    Ok(Completed { guest, machine, is_new: policy.definition == Definition::New })
}

/// Returns the command line of a guest.
///
/// # Errors
/// [`Error`], for what is not supported too.
pub fn command<B: AsRef<[u8]>>(
    guest: &Guest,
    entry: &Entry<B>,
    policy: &Policy,
    host: &Host,
    secrets: &dyn Secrets,
) -> Result<Command, Error> {
    command_of(&complete(guest, entry, policy)?, entry, host, secrets)
}

/// Returns the command line of a guest that is completed already.
pub(crate) fn command_of<B: AsRef<[u8]>>(
    completed: &Completed,
    entry: &Entry<B>,
    host: &Host,
    secrets: &dyn Secrets,
) -> Result<Command, Error> {
    let Completed { guest, machine, is_new } = completed;
    let root = guest.to_element();
    let reader = Reader::new(&root, guest);
    let domain = reader.root();
    let elements = domain.child("devices").map(View::elements).into_iter().flatten();
    let devices = guest.devices.iter().zip(elements);
    let devices: Vec<_> = devices.map(|(typed, view)| DeviceView { typed, view }).collect();
    let controllers = context::controllers(&devices);
    let entry = &entry.as_ref();
    let (firmware, iothreads) = (OnceCell::new(), OnceCell::new());
    let cx = Context {
        guest,
        domain,
        devices,
        controllers,
        machine,
        entry,
        host,
        firmware,
        iothreads,
        is_new: *is_new,
        secrets,
    };
    let mut args = Args::new(&cx, character::count_sets(&cx));
    PARTS.iter().try_for_each(|add| add(&cx, &mut args))?;
    reader.check()?;
    let command = args.finish();
    verify::devices(&cx, &command)?;
    Ok(command)
}

/// Adds options to a command line.
type Add = fn(&Context<'_>, &mut Args) -> Result<(), Error>;

/// The parts of a command line, in libvirt's order.
const PARTS: &[Add] = &[
    verify::aliases,
    basics::start,
    disk::managers::add,
    machine::firmware::add_flash,
    machine::add_machine,
    machine::accel::add,
    machine::tseg::add,
    machine::cpu::add,
    machine::firmware::add_loader,
    memory::ram::add,
    memory::smp::add,
    memory::iothreads::add,
    memory::pinning::add,
    disk::throttle::add,
    memory::numa::add,
    basics::identity,
    machine::smbios::add,
    machine::genid::add,
    basics::monitor,
    machine::clock::add,
    machine::power::add,
    machine::boot::add,
    bus::iommu::add,
    bus::controllers::add_globals,
    bus::controllers::add,
    memory::modules::add,
    bus::hubs::add,
    bus::controllers::add_ccid,
    disk::add,
    host::filesystems::add,
    host::interfaces::add,
    character::smartcards::add,
    character::serials::add,
    character::parallels::add,
    character::channels::add,
    character::consoles::add,
    character::tpm::add,
    display::input::add,
    display::audio::add,
    display::graphics::add,
    display::video::add,
    display::sound::add,
    platform::watchdogs::add,
    character::redirdevs::add,
    host::hostdevs::add,
    platform::balloon::add,
    platform::rngs::add,
    platform::nvram::add,
    machine::coreinfo::add,
    machine::security::add,
    machine::passthrough::add,
    basics::sandbox,
    platform::panics::add,
    platform::shmem::add,
    platform::vsock::add,
    platform::crypto::add,
    platform::pstore::add,
    machine::teardown::add,
    basics::end,
];
