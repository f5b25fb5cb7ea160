//! Machines, CPU models and properties of an entry by name.

use std::mem::MaybeUninit;

use crate::boundary::call;
use crate::cpu_model::CpuModel;
use crate::entry::Entry;
use crate::error::Error;
use crate::machine::Machine;
use crate::property::Property;
use crate::text::Text;

/// The machine type whose name or, if there is none, whose alias is `name`, under an accelerator, one of enum
/// capscache_accelerator. Owned by the entry. NULL after an error: CAPSCACHE_CODE_ABSENT if the emulator does not have
/// it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_machine<'a>(
    entry: Option<&'a Entry>,
    accelerator: u32,
    name: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<&'a Machine> {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let under = entry.under(accelerator)?;
        let view = under.machine(name.utf8("name")?)?;
        let key = (under.accelerator(), view.name().to_owned());
        entry.machines.get(key, || Ok(Machine::new(view))).map(Some)
    })
}

/// The machine type that QEMU uses by default under an accelerator, one of enum capscache_accelerator. Owned by the entry.
/// NULL after an error: CAPSCACHE_CODE_ABSENT if there is none, as for ARM; CAPSCACHE_CODE_UNKNOWN if the emulator did not
/// report its machine types.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_default_machine<'a>(
    entry: Option<&'a Entry>,
    accelerator: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<&'a Machine> {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let under = entry.under(accelerator)?;
        let view = under.default_machine()?;
        let key = (under.accelerator(), view.name().to_owned());
        entry.machines.get(key, || Ok(Machine::new(view))).map(Some)
    })
}

/// The CPU model of a name under an accelerator, one of enum capscache_accelerator. Owned by the entry. NULL after an error:
/// CAPSCACHE_CODE_ABSENT if the emulator does not have it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_cpu_model<'a>(
    entry: Option<&'a Entry>,
    accelerator: u32,
    name: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<&'a CpuModel> {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let under = entry.under(accelerator)?;
        let view = under.cpu_model(name.utf8("name")?)?;
        let key = (under.accelerator(), view.name().to_owned());
        entry.cpu_models.get(key, || Ok(CpuModel::new(view))).map(Some)
    })
}

/// A property of a type: as a device, else as an object. Owned by the entry. NULL after an error: CAPSCACHE_CODE_ABSENT if
/// there is none, CAPSCACHE_CODE_NOT_PROBED without CAPSCACHE_GROUP_DEVICES or CAPSCACHE_GROUP_OBJECTS, except for what
/// drivers query at start-up.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_property<'a>(
    entry: Option<&'a Entry>,
    type_name: Text<'_>,
    name: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<&'a Property> {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let (owner, name) = (type_name.utf8("type_name")?, name.utf8("name")?);
        let view = entry.caps.property(owner, name)?;
        let key = (owner.to_owned(), name.to_owned());
        entry.properties.get(key, || Ok(Property::new(view))).map(Some)
    })
}
