//! Properties of devices and objects.

use std::ffi::{CString, c_char};

use capscache::format::Property as View;

use crate::boundary::read;
use crate::string::{address, owned};

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
    pub(crate) fn new(view: View<'_>) -> Property {
        let json = |value| serde_json::to_string(&value).ok().map(|json| owned(&json));
        Property {
            name: owned(view.name()),
            type_name: owned(view.type_name()),
            description: view.description().map(owned),
            default_json: view.default_value().and_then(json),
        }
    }
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
