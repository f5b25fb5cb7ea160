//! The way of every call from C into the library and back, which no panic crosses.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;
use crate::numbers::{State, Tri};

/// Values that a call returns instead of a result.
pub(crate) trait Fallback {
    /// Returns the value that stands for a failure.
    fn fallback() -> Self;
}

macro_rules! fallbacks {
    ($($type:ty => $value:expr,)*) => {
        $(impl Fallback for $type {
            fn fallback() -> $type { $value }
        })*
    };
}

fallbacks! {
    () => (),
    bool => false,
    u32 => 0,
    u64 => 0,
    usize => 0,
    i32 => 0,
    i64 => -1,
    *const c_char => std::ptr::null(),
    *const *const c_char => std::ptr::null(),
    Tri => Tri::Unknown,
    State => State::Unreadable,
}

impl<T> Fallback for Option<T> {
    fn fallback() -> Option<T> {
        None
    }
}

/// Does the work of a call that can fail. The place for the error, if the caller gave one, receives NULL or the error.
pub(crate) fn call<T: Fallback>(
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
    work: impl FnOnce() -> Result<T, Error>,
) -> T {
    let (value, failure) = match outcome(work) {
        Ok(value) => (value, None),
        Err(failure) => (T::fallback(), Some(Box::new(failure))),
    };
    if let Some(error) = error {
        error.write(failure);
    }
    value
}

fn outcome<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // A panic leaves nothing half changed: handles are only read, and what they keep is added as a whole.
    let result = catch_unwind(AssertUnwindSafe(work));
    result.unwrap_or_else(|panic| Err(Error::of_panic(&*panic)))
}

/// Reads a part of a handle: nothing that a caller could handle fails.
pub(crate) fn read<H, T: Fallback>(handle: Option<&H>, work: impl FnOnce(&H) -> T) -> T {
    handle.map_or_else(T::fallback, |handle| {
        catch_unwind(AssertUnwindSafe(|| work(handle))).unwrap_or_else(|_| T::fallback())
    })
}

/// Reads a part of a handle that lives as long as the handle.
pub(crate) fn read_ref<'a, H, T>(
    handle: Option<&'a H>,
    work: impl FnOnce(&'a H) -> Option<&'a T>,
) -> Option<&'a T> {
    handle.and_then(|handle| catch_unwind(AssertUnwindSafe(|| work(handle))).unwrap_or(None))
}

/// Ends the life of a handle.
pub(crate) fn free<T>(handle: Option<Box<T>>) {
    // A destructor that panics leaks what it had not freed yet.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::ErrorCode;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let error = outcome(|| -> Result<Tri, Error> { panic!("a {}", "fault") }).unwrap_err();
        assert_eq!(error.code, ErrorCode::Internal);
        assert_eq!(
            error.message.to_str().unwrap(),
            "the library panicked: a fault; please report it"
        );
    }

    #[test]
    fn a_panic_while_a_handle_is_read_or_freed_ends_in_the_call() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("a fault");
            }
        }
        assert_eq!(read(Some(&1), |_| -> i64 { panic!("a fault") }), -1);
        assert!(read_ref(Some(&1), |_| -> Option<&u32> { panic!("a fault") }).is_none());
        free(Some(Box::new(Panics)));
    }

    #[test]
    fn a_caller_need_not_take_the_error() {
        assert_eq!(call(None, || Err::<Tri, _>(Error::invalid("nothing"))), Tri::Unknown);
        assert_eq!(call(None, || -> Result<i64, Error> { panic!("a fault") }), -1);
    }
}
