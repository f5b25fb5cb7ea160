//! The lists of names that an entry has.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use capscache::format::NameList;

use crate::boundary::call;
use crate::entry::Entry;
use crate::error::Error;
use crate::names::Names;
use crate::text::Text;

/// Returns the addresses of a list of names, which the entry keeps.
fn list(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
    which: impl FnOnce(&Entry) -> Result<NameList, Error>,
) -> *const *const c_char {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let list = which(entry)?;
        let make = || Ok::<_, Error>(Names::of(entry.caps.names(&list)?));
        Ok(entry.names.get(list.clone(), make)?.address())
    })
}

/// The names of the machine types under an accelerator, one of enum capscache_accelerator, in the order of `query-machines`.
/// The last element is NULL. Owned by the entry; NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_machines(
    entry: Option<&Entry>,
    accelerator: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| Ok(NameList::Machines(entry.under(accelerator)?.accelerator())))
}

/// The names of the CPU models under an accelerator, one of enum capscache_accelerator, in the order of
/// `query-cpu-definitions`. The last element is NULL. Owned by the entry; NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_cpu_models(
    entry: Option<&Entry>,
    accelerator: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| Ok(NameList::CpuModels(entry.under(accelerator)?.accelerator())))
}

/// The names of the concrete QOM types, in the order of `qom-list-types`. The last element is NULL. Owned by the entry; NULL
/// after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_types(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::Types))
}

/// The names of the devices that `device_add` can create, in QEMU's order. The last element is NULL. Owned by the entry; NULL
/// after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_devices(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::Devices))
}

/// The names of the objects that `object_add` can create, in QEMU's order. The last element is NULL. Owned by the entry; NULL
/// after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_objects(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::Objects))
}

/// The names of the QMP commands, in the order of `query-commands`. The last element is NULL. Owned by the entry; NULL after
/// an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_commands(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::Commands))
}

/// The names of the QMP events, in the order of `query-qmp-schema`. The last element is NULL. Owned by the entry; NULL after
/// an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_events(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::Events))
}

/// The names of the accelerators that QEMU was built with, whether or not they work here:
/// capscache_entry_has_accelerator() has that. The last element is NULL. Owned by the entry; NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_accelerators_present(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::AcceleratorsPresent))
}

/// The names of the properties of a type as a device, else as an object, in QEMU's order. The last element is NULL. Owned by
/// the entry; NULL after an error: CAPSCACHE_CODE_NOT_PROBED without CAPSCACHE_GROUP_DEVICES or CAPSCACHE_GROUP_OBJECTS,
/// except for what drivers query at start-up.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_properties(
    entry: Option<&Entry>,
    type_name: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |_| Ok(NameList::Properties(type_name.utf8("type_name")?.to_owned())))
}
