//! The emulators of this host.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use capscache::discovery::find_emulators;

use crate::boundary::{call, free, read};
use crate::error::Error;
use crate::names::Names;
use crate::string::owned_path;

/// The emulators of this host. Owned by the caller, who frees it with capscache_emulators_free().
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct Emulators(Names);

/// Finds the emulators in the directories of PATH and in `/usr/libexec`: executable files that are called `qemu-system-*` or
/// `qemu-kvm`. NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_emulators_find(
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Emulators>> {
    call(error, || {
        let paths = find_emulators(&[]);
        let paths = paths.iter().map(|path| owned_path(path)).collect();
        Ok(Some(Box::new(Emulators(Names::new(paths)))))
    })
}

/// The paths of the emulators. The last element is NULL. Owned by the emulators; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_emulators_paths(emulators: Option<&Emulators>) -> *const *const c_char {
    read(emulators, |emulators| emulators.0.address())
}

/// Frees emulators; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_emulators_free(emulators: Option<Box<Emulators>>) {
    free(emulators);
}
