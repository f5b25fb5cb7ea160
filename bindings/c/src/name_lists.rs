//! The lists of names that an entry has.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use capscache::format::{Array, CpuModel, FactKind, Machine, Property, Value};

use crate::boundary::call;
use crate::entry::Entry;
use crate::error::Error;
use crate::names::{List, Names};
use crate::text::Text;

fn list(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
    make: impl FnOnce(&Entry) -> Result<&Names, Error>,
) -> *const *const c_char {
    call(error, || Ok(make(entry.ok_or_else(|| Error::null("entry"))?)?.address()))
}

/// The names of a list of objects in QMP's own form.
fn named(entry: &Entry, kind: FactKind) -> Result<Names, Error> {
    let list = entry.caps.core(kind)?.as_array();
    let names = list.into_iter().flat_map(Array::iter);
    Ok(Names::of(names.filter_map(|one| one.get("name").and_then(Value::as_str))))
}

/// The names of the machine types under an accelerator, one of enum capscache_accelerator, in the order of `query-machines`.
/// The last element is NULL. Owned by the entry; NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_machines(
    entry: Option<&Entry>,
    accelerator: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        let under = entry.under(accelerator)?;
        entry.names.get(List::Machines(under.accelerator()), || {
            Ok(Names::of(under.machines().map(Machine::name)))
        })
    })
}

/// The names of the CPU models under an accelerator, one of enum capscache_accelerator, in the order of
/// `query-cpu-definitions`. The last element is NULL. Owned by the entry; NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_cpu_models(
    entry: Option<&Entry>,
    accelerator: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        let under = entry.under(accelerator)?;
        entry.names.get(List::CpuModels(under.accelerator()), || {
            Ok(Names::of(under.cpu_models().map(CpuModel::name)))
        })
    })
}

/// The names of the concrete QOM types, in the order of `qom-list-types`. The last element is NULL. Owned by the entry; NULL
/// after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_types(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| entry.names.get(List::Types, || named(entry, FactKind::Types)))
}

/// The names of the devices that `device_add` can create, in QEMU's order. The last element is NULL. Owned by the entry; NULL
/// after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_devices(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        entry.names.get(List::Devices, || named(entry, FactKind::DeviceTypes))
    })
}

/// The names of the objects that `object_add` can create, in QEMU's order. The last element is NULL. Owned by the entry; NULL
/// after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_objects(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        entry.names.get(List::Objects, || named(entry, FactKind::ObjectTypes))
    })
}

/// The names of the QMP commands, in the order of `query-commands`. The last element is NULL. Owned by the entry; NULL after
/// an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_commands(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        entry.names.get(List::Commands, || Ok(Names::of(entry.caps.commands())))
    })
}

/// The names of the QMP events, in the order of `query-qmp-schema`. The last element is NULL. Owned by the entry; NULL after
/// an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_events(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        entry.names.get(List::Events, || Ok(Names::of(entry.caps.schema().names("event"))))
    })
}

/// The names of the accelerators that QEMU was built with, whether or not they work here:
/// capscache_entry_has_accelerator() has that. The last element is NULL. Owned by the entry; NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_accelerators_present(
    entry: Option<&Entry>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        let make = || Ok(Names::of(entry.caps.accelerators_present()));
        entry.names.get(List::Accelerators, make)
    })
}

/// The names of the properties of a device or object, in QEMU's order. The last element is NULL. Owned by the entry; NULL
/// after an error: CAPSCACHE_CODE_NOT_PROBED without CAPSCACHE_GROUP_DEVICES or CAPSCACHE_GROUP_OBJECTS, except for
/// what drivers query at start-up.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_properties(
    entry: Option<&Entry>,
    type_name: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> *const *const c_char {
    list(entry, error, |entry| {
        let name = type_name.utf8("type_name")?;
        entry.names.get(List::Properties(name.to_owned()), || {
            Ok(Names::of(entry.properties(name)?.iter().map(Property::name)))
        })
    })
}
