//! Numbers of the interface. Numbers that C passes are parameters of an integer type: a C `enum` holds any number.

use capscache::{Accelerator, Groups, Status, Validation};

use crate::error::Error;

/// An answer. What an emulator did not report is *unknown*, never *no*; a call that fails returns *unknown* as well.
///
/// Compare with CAPSCACHE_TRI_YES: as a condition of C, *unknown* is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Tri {
    /// Absent or not supported.
    No = 0,
    /// Present or supported.
    Yes = 1,
    /// Not reported.
    Unknown = 2,
}

impl From<capscache::Tri> for Tri {
    fn from(answer: capscache::Tri) -> Tri {
        match answer {
            capscache::Tri::Yes => Tri::Yes,
            capscache::Tri::No => Tri::No,
            capscache::Tri::Unknown => Tri::Unknown,
        }
    }
}

impl From<Option<bool>> for Tri {
    fn from(answer: Option<bool>) -> Tri {
        answer.map_or(Tri::Unknown, |answer| capscache::Tri::from(answer).into())
    }
}

/// The state of an emulator's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum State {
    /// There is no entry.
    Missing = 0,
    /// The entry answers for its emulator.
    Valid = 1,
    /// An input changed.
    Stale = 2,
    /// The file of the entry is damaged.
    Damaged = 3,
    /// The file of the entry cannot be read.
    Unreadable = 4,
    /// There is no valid entry, and the last probe failed.
    Failed = 5,
}

impl From<&Status> for State {
    fn from(status: &Status) -> State {
        match status {
            Status::Missing => State::Missing,
            Status::Valid => State::Valid,
            Status::Stale { .. } => State::Stale,
            Status::Damaged { .. } => State::Damaged,
            Status::Failed { .. } => State::Failed,
            _ => State::Unreadable,
        }
    }
}

/// An accelerator, which runs the guest's instructions: QEMU's `-accel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum AcceleratorNumber {
    /// The best one that the emulator ran under: KVM before TCG.
    Best = 0,
    /// Linux's Kernel-based Virtual Machine.
    Kvm = 1,
    /// The hypervisor framework of macOS.
    Hvf = 2,
    /// QEMU's own translator, which needs no hardware support.
    Tcg = 3,
    /// Runs no instructions.
    Qtest = 4,
}

/// Returns the accelerator of a number; `None` for the best one.
pub(crate) fn accelerator(number: u32) -> Result<Option<Accelerator>, Error> {
    if number == AcceleratorNumber::Best as u32 {
        return Ok(None);
    }
    let known = u8::try_from(number).ok().and_then(Accelerator::from_number);
    known.map(Some).ok_or_else(|| Error::invalid(&format!("{number} is not an accelerator")))
}

/// Parts of an entry that are probed when they are first needed, as bits of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Group {
    /// All that drivers query at start-up; every entry has it.
    Core = 0,
    /// The properties of every concrete device.
    Devices = 1,
    /// The properties of every user-creatable object.
    Objects = 2,
    /// The static and full expansion of every CPU model.
    CpuModels = 4,
    /// All of them.
    All = 7,
}

/// Each group with its bit.
const BITS: [(Group, Groups); 3] = [
    (Group::Devices, Groups::DEVICES),
    (Group::Objects, Groups::OBJECTS),
    (Group::CpuModels, Groups::CPU_MODELS),
];

/// Returns the set of groups with these bits.
pub(crate) fn groups(bits: u32) -> Result<Groups, Error> {
    if bits & !(Group::All as u32) != 0 {
        return Err(Error::invalid(&format!("{bits} is not a set of groups")));
    }
    let set = BITS.iter().filter(|(bit, _)| bits & (*bit as u32) != 0);
    Ok(set.fold(Groups::CORE, |all, (_, group)| all | *group))
}

/// Returns the bits of a set of groups.
pub(crate) fn bits(groups: Groups) -> u32 {
    let set = BITS.iter().filter(|(_, group)| group.without(groups).is_core());
    set.fold(0, |all, (bit, _)| all | *bit as u32)
}

/// The checks of an entry before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ValidationNumber {
    /// A few system calls; values are compared only where one of them shows a change.
    Fast = 0,
    /// The values of all inputs: every module file and every shared object that the emulator had mapped.
    Thorough = 1,
    /// The checks of *thorough*, and a start of a wrapper until its emulator greets.
    Start = 2,
}

/// Returns the checks with a number.
pub(crate) fn validation(number: u32) -> Result<Validation, Error> {
    match number {
        0 => Ok(Validation::Fast),
        1 => Ok(Validation::Thorough),
        #[cfg(feature = "probe")]
        2 => Ok(Validation::Start),
        #[cfg(not(feature = "probe"))]
        2 => Err(Error::unsupported()),
        other => Err(Error::invalid(&format!("{other} is not a validation"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::ErrorCode;

    #[test]
    fn every_set_of_groups_has_its_bits() {
        for set in 0..=7 {
            assert_eq!(bits(groups(set).unwrap()), set);
        }
        assert_eq!(groups(8).unwrap_err().code, ErrorCode::InvalidArgument);
    }

    #[test]
    fn an_accelerator_has_the_number_of_the_file_format() {
        let all = [
            (AcceleratorNumber::Kvm, Accelerator::Kvm),
            (AcceleratorNumber::Hvf, Accelerator::Hvf),
            (AcceleratorNumber::Tcg, Accelerator::Tcg),
            (AcceleratorNumber::Qtest, Accelerator::Qtest),
        ];
        assert_eq!(all.map(|(_, one)| one), *Accelerator::ALL);
        for (number, one) in all {
            assert_eq!(number as u32, u32::from(one.number()));
            assert_eq!(accelerator(number as u32).unwrap(), Some(one));
        }
        assert_eq!(accelerator(0).unwrap(), None);
        assert_eq!(accelerator(259).unwrap_err().code, ErrorCode::InvalidArgument);
    }
}
