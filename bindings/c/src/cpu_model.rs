//! CPU models.

use std::ffi::{CString, c_char};

use capscache::format::CpuModel as View;

use crate::boundary::read;
use crate::names::Names;
use crate::numbers::Tri;
use crate::string::{address, owned};

/// A CPU model: QAPI's `CpuDefinitionInfo`. Owned by its entry.
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct CpuModel {
    name: CString,
    type_name: Option<CString>,
    alias_of: Option<CString>,
    is_static: bool,
    is_migration_safe: Tri,
    is_deprecated: bool,
    usable: Tri,
    unavailable_features: Option<Names>,
}

impl CpuModel {
    pub(crate) fn new(view: View<'_>) -> CpuModel {
        let features = view.unavailable_features();
        CpuModel {
            name: owned(view.name()),
            type_name: view.typename().map(owned),
            alias_of: view.alias_of().map(owned),
            is_static: view.is_static(),
            is_migration_safe: view.migration_safe().into(),
            is_deprecated: view.deprecated(),
            usable: view.usable().into(),
            unavailable_features: features.map(Names::of),
        }
    }
}

/// The name, such as `EPYC`.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_name(model: Option<&CpuModel>) -> *const c_char {
    read(model, |model| model.name.as_ptr())
}

/// Returns whether it runs on this host under its accelerator.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_is_usable(model: Option<&CpuModel>) -> Tri {
    read(model, |model| model.usable)
}

/// The features that keep it from running on this host. The last element is NULL. NULL if QEMU did not report them.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_unavailable_features(
    model: Option<&CpuModel>,
) -> *const *const c_char {
    read(model, |model| match &model.unavailable_features {
        Some(features) => features.address(),
        None => std::ptr::null(),
    })
}

/// The QOM type; NULL if QEMU did not report it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_type_name(model: Option<&CpuModel>) -> *const c_char {
    read(model, |model| address(model.type_name.as_ref()))
}

/// The versioned model that it is an alias of; NULL if it is not an alias.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_alias_of(model: Option<&CpuModel>) -> *const c_char {
    read(model, |model| address(model.alias_of.as_ref()))
}

/// Returns true if it is the same on every host and version of QEMU.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_is_static(model: Option<&CpuModel>) -> bool {
    read(model, |model| model.is_static)
}

/// Returns whether a guest that uses it can be migrated.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_is_migration_safe(model: Option<&CpuModel>) -> Tri {
    read(model, |model| model.is_migration_safe)
}

/// Returns true if QEMU will remove it.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_cpu_model_is_deprecated(model: Option<&CpuModel>) -> bool {
    read(model, |model| model.is_deprecated)
}
