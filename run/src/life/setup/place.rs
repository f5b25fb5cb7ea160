//! The element that a setting comes from, for errors.

use capscache_domain::Guest;

use crate::command::{Setup, Thread};
use crate::error::{Error, Place};
use crate::resources::ResourceError;
use crate::view::{Reader, View};

/// Adds the place of a setting to an error.
pub(super) fn of_setup(guest: &Guest, setup: &Setup, error: ResourceError) -> ResourceError {
    add(guest, |root| element(root, setup), error)
}

/// Adds the place of a device to an error, if the guest has only one of its kind.
pub(super) fn of_only(guest: &Guest, name: &str, error: ResourceError) -> ResourceError {
    add(guest, |root| only(root.child("devices")?, name), error)
}

fn add(
    guest: &Guest,
    find: impl FnOnce(View<'_>) -> Option<View<'_>>,
    error: ResourceError,
) -> ResourceError {
    let tree = guest.to_element();
    let reader = Reader::new(&tree, guest);
    match find(reader.root()).and_then(place) {
        Some(place) => error.at(&place),
        None => error,
    }
}

fn place(view: View<'_>) -> Option<Place> {
    match view.unsupported("", "") {
        Error::Unsupported { place, .. } => Some(place),
        _ => None,
    }
}

/// Returns the element that a setting comes from.
fn element<'a>(root: View<'a>, setup: &Setup) -> Option<View<'a>> {
    let devices = root.child("devices");
    let device = |name: &'static str, place: &str, value: &str| {
        devices?.children(name).find(|device| device.text(place) == Some(value))
    };
    match setup {
        Setup::Cpus(_) | Setup::CpusOfNodes(_) | Setup::PlugCpus(_) => root.child("vcpu"),
        Setup::Pin { thread, .. } => {
            let (name, place, number) = match thread {
                Thread::Emulator => return root.child("cputune")?.child("emulatorpin"),
                Thread::Vcpu(number) => ("vcpupin", "@vcpu", number),
                Thread::IoThread(number) => ("iothreadpin", "@iothread", number),
            };
            let number = number.to_string();
            root.child("cputune")?.children(name).find(|pin| pin.text(place) == Some(&*number))
        }
        Setup::MemoryNodes { .. } => root.child("numatune")?.child("memory"),
        Setup::LockedMemory => root.child("memoryBacking")?.child("locked"),
        Setup::Variables { .. } => {
            let os = root.child("os")?;
            os.child("nvram").or(os.child("loader")).or(Some(os))
        }
        Setup::RawIo => {
            device("disk", "@rawio", "yes").or_else(|| device("hostdev", "@rawio", "yes"))
        }
        Setup::Tpm(_) => only(devices?, "tpm"),
        Setup::Bus { .. } => device("graphics", "@type", "dbus"),
        Setup::Video(_) => device("video", "driver@name", "vhostuser"),
        Setup::Password(password) => device("graphics", "@type", password.protocol),
        Setup::Store { .. }
        | Setup::ThreadContext { .. }
        | Setup::Directory { .. }
        | Setup::Balloon { .. }
        | Setup::BalloonStatistics { .. }
        | Setup::NoLink { .. }
        | Setup::DiskLimits { .. } => None,
    }
}

fn only<'a>(devices: View<'a>, name: &str) -> Option<View<'a>> {
    let mut found = devices.elements().filter(|device| device.name() == name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
