//! Properties of devices and objects.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use capscache::format::{Properties, Property as View};

use crate::boundary::{call, read};
use crate::entry::Entry;
use crate::error::Error;
use crate::text::{Text, address, owned};

/// A property of a device or object: QAPI's `ObjectPropertyInfo`. Owned by its entry.
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct Property {
    name: CString,
    type_name: CString,
    description: Option<CString>,
    default_json: Option<CString>,
}

impl Property {
    fn new(view: View<'_>) -> Property {
        let json = |value| serde_json::to_string(&value).ok().map(|json| owned(&json));
        Property {
            name: owned(view.name()),
            type_name: owned(view.type_name()),
            description: view.description().map(owned),
            default_json: view.default_value().and_then(json),
        }
    }
}

/// The properties of a device or, if the type is not a device, of an object.
pub(crate) fn properties<'a>(entry: &'a Entry, name: &str) -> Result<Properties<'a>, Error> {
    Ok(match entry.caps.has_device(name).is_no() {
        true => entry.caps.object(name)?,
        false => entry.caps.device(name)?,
    })
}

/// A property of a device or object. Owned by the entry. NULL after an error: CAPSCACHE_CODE_ABSENT if there is none,
/// CAPSCACHE_CODE_NOT_PROBED without CAPSCACHE_GROUP_DEVICES or CAPSCACHE_GROUP_OBJECTS, except for what drivers query
/// at start-up.
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
        let view = properties(entry, owner)?.property(name)?;
        let key = (owner.to_owned(), name.to_owned());
        entry.properties.get(key, || Ok(Property::new(view))).map(Some)
    })
}

/// The name.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_property_name(property: Option<&Property>) -> *const c_char {
    read(property, |property| property.name.as_ptr())
}

/// QOM's name of the type, such as `uint16` or `link<bus>`.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_property_type_name(property: Option<&Property>) -> *const c_char {
    read(property, |property| property.type_name.as_ptr())
}

/// A description of its purpose; NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_property_description(property: Option<&Property>) -> *const c_char {
    read(property, |property| address(property.description.as_ref()))
}

/// The value if it is not set, as JSON; NULL if QEMU did not report it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_property_default_json(property: Option<&Property>) -> *const c_char {
    read(property, |property| address(property.default_json.as_ref()))
}
