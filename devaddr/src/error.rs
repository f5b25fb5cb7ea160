//! Errors of assigning addresses.

/// The remedy where a device cannot be plugged.
pub(crate) const PLUG_REMEDY: &str = "keep spare slots, or add it while the guest does not run";

/// Error of a guest whose devices cannot all have addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another device has the address.
    #[error("cannot place {device} at {address}: {occupant} is there already; {}", fits(free))]
    AddressInUse {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
        /// The device that has it.
        occupant: String,
        /// An address that would fit.
        free: Option<Box<str>>,
    },
    /// The bus accepts devices of other kinds only.
    #[error(
        "cannot place {device} at {address}: {controller} accepts {}, and the device requires \
         {requires}; {}",
        list(accepts),
        fits(free)
    )]
    WrongBus {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
        /// The controller that provides the bus.
        controller: String,
        /// The kinds of devices that its bus accepts.
        accepts: Box<[&'static str]>,
        /// The kind of slot that the device requires.
        requires: &'static str,
        /// An address that would fit.
        free: Option<Box<str>>,
    },
    /// The address is outside of the bus.
    #[error("cannot place {device} at {address}: {controller} has {range}; {}", fits(free))]
    OutOfRange {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
        /// The controller that provides the bus.
        controller: String,
        /// The places that it has.
        range: String,
        /// An address that would fit.
        free: Option<Box<str>>,
    },
    /// A built-in device has its place on the board.
    #[error(
        "cannot place {device} at {address}: on this machine it is always at {required}; use that"
    )]
    FixedPlace {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
        /// The only valid one.
        required: String,
    },
    /// The slot has devices on other functions only.
    #[error(
        "cannot place {device} at {address}: no device is on function 0 of the slot, without which a guest does \
         not find it; place one there"
    )]
    FunctionZeroMissing {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
    },
    /// All places that the device could have are taken.
    #[error("cannot place {device}: there is no free {place}; {remedy}")]
    NoFreeSlot {
        /// The device.
        device: String,
        /// The kind of place.
        place: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// The guest has no place for the spare slots of the policy.
    #[error(
        "cannot keep {count} slots spare: the guest has no place for so many spare slots; use a smaller number"
    )]
    TooManySpare {
        /// The number that the policy has.
        count: u32,
    },
    /// No controller provides the bus of an address.
    #[error("cannot place {device} at {address}: there is no {bus}; {remedy}")]
    UnknownController {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
        /// The bus or controller.
        bus: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// The address is of a type that the device cannot have.
    #[error(
        "cannot place {device} at {address}: such a device takes {expected}; use that, or leave the address out"
    )]
    WrongAddressType {
        /// The device.
        device: String,
        /// The address that was given.
        address: String,
        /// The types of addresses that it can have.
        expected: &'static str,
    },
    /// Two controllers have the same type and index.
    #[error(
        "cannot number {controller}: another one of the type has index {index}; use a free index"
    )]
    DuplicateController {
        /// The controller.
        controller: String,
        /// The index.
        index: u32,
    },
    /// Two devices have an identity that must be unique.
    #[error("cannot add {device}: {what} is used by another device; use another one")]
    Duplicate {
        /// The device.
        device: String,
        /// The part that both have.
        what: String,
    },
    /// A controller has a model, index or option that the machine does not permit.
    #[error("cannot use {controller}: {cause}; {remedy}")]
    Controller {
        /// The controller.
        controller: String,
        /// The cause.
        cause: String,
        /// The remedy.
        remedy: String,
    },
    /// A part of an address is not a valid number.
    #[error(
        "cannot place {device} at {address}: {part} {found} is not from 0 to {max}; use a smaller one"
    )]
    NotAnAddress {
        /// The device.
        device: String,
        /// The address.
        address: String,
        /// The name of the part.
        part: &'static str,
        /// The value.
        found: u32,
        /// The largest value.
        max: u32,
    },
    /// The facts are those of an emulator for another architecture.
    #[error(
        "cannot use facts about {facts} for a guest of {guest}: use those of an emulator for {guest}, or none"
    )]
    OtherArchitecture {
        /// The architecture of the guest.
        guest: String,
        /// The architecture of the emulator.
        facts: String,
    },
    /// The machine has no bus for the device.
    #[error("cannot place {device}: machine {machine} has no {bus}; {remedy}")]
    NoBus {
        /// The device.
        device: String,
        /// The machine type.
        machine: String,
        /// The bus.
        bus: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// The name of a disk gives no place on its controller.
    #[error(
        "cannot place {device}: its name does not give a place on a controller; use a name like sda, or an address"
    )]
    DiskName {
        /// The device.
        device: String,
    },
    /// The model is not known and the machine has no default.
    #[error("cannot choose a model for {device}: machine {machine} has no default; name one")]
    NoDefaultModel {
        /// The device.
        device: String,
        /// The machine type.
        machine: String,
    },
    /// The description of the guest contradicts itself.
    #[error("cannot use {device}: {cause}; {remedy}")]
    Conflict {
        /// The device.
        device: String,
        /// The cause.
        cause: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// The policy names a device that is not there.
    #[error(
        "cannot apply the policy: there is no device {name:?}; use an alias, a disk's name, a MAC address, or a kind and a position such as hostdev/0"
    )]
    UnknownDevice {
        /// The name.
        name: String,
    },
    /// The policy has two rules for one device.
    #[error(
        "cannot apply the policy: its rules for {first:?} and {second:?} are both for {device}; use one rule"
    )]
    DuplicateRule {
        /// The device.
        device: String,
        /// The name that the first rule has for it.
        first: String,
        /// The name that the second rule has for it.
        second: String,
    },
    /// The policy names a NUMA node that the guest does not have.
    #[error(
        "cannot place {device} near NUMA node {node}: the guest has {}; add the node, or use another one",
        list_nodes(nodes)
    )]
    UnknownNode {
        /// The device.
        device: String,
        /// The node.
        node: u32,
        /// The nodes that the guest has.
        nodes: Box<[u32]>,
    },
    /// Two NUMA cells of the guest have the same id.
    #[error("cannot number NUMA nodes: two cells have the id {node}; use another id for one")]
    DuplicateNode {
        /// The id.
        node: u32,
    },
    /// Other devices need the one that is to be removed.
    #[error("cannot remove {device}: {dependent} needs it; remove that first")]
    InUse {
        /// The device.
        device: String,
        /// A device that needs it.
        dependent: String,
    },
    /// There is no device at a position.
    #[error(
        "cannot remove device {position}: the guest has {count} devices; use a smaller position"
    )]
    NoDevice {
        /// The position.
        position: usize,
        /// The number of devices.
        count: usize,
    },
    /// The guest does not say for which machine it is.
    #[error(
        "cannot assign addresses: the guest names no machine type, and {arch} has no default; name one"
    )]
    NoMachine {
        /// The architecture.
        arch: String,
    },
    /// A number of a device is greater than can be.
    #[error("cannot use {device}: {what} is {value}, and the limit is {limit}; use a smaller one")]
    TooGreat {
        /// The device.
        device: String,
        /// The number that is too great.
        what: &'static str,
        /// Its value.
        value: u32,
        /// The limit.
        limit: u32,
    },
    /// The guest has more than can be numbered.
    #[error(
        "cannot assign addresses: {what} is {found}, and the limit is {limit}; use a smaller one"
    )]
    TooMany {
        /// The thing that is too great.
        what: &'static str,
        /// The number that the guest has.
        found: usize,
        /// The limit.
        limit: u32,
    },
}

fn fits(free: &Option<Box<str>>) -> String {
    match free {
        Some(free) => format!("{free} would fit; use that, or leave the address out"),
        None => "leave the address out".to_owned(),
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Lists NUMA nodes.
pub(crate) fn list_nodes(ids: &[u32]) -> String {
    match ids {
        [] => "no NUMA nodes".to_owned(),
        [id] => format!("node {id} only"),
        [ids @ .., last] => {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            format!("nodes {} and {last}", ids.join(", "))
        }
    }
}
