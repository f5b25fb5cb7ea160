//! Values that a handle gives out and keeps until it is freed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Values by key, each made once and kept as long as this. Threads may share it.
#[derive(Debug)]
pub(crate) struct Kept<K, V>(Mutex<BTreeMap<K, Arc<V>>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Kept<K, V> {
        Kept(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord, V> Kept<K, V> {
    /// Returns the value under `key`, and makes it first if there is none.
    ///
    /// # Errors
    /// Those of `make`, after which nothing is kept.
    pub(crate) fn get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<&V, E> {
        // A panic of `make` leaves the map as it was.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value: *const V = match kept.get(&key) {
            Some(value) => Arc::as_ptr(value),
            None => {
                let value = Arc::new(make()?);
                let address = Arc::as_ptr(&value);
                kept.insert(key, value);
                address
            }
        };
        // JUSTIFICATION: C gets pointers that are valid as long as their handle, so it has one handle to free and not one
        // for each name.
        // SAFETY: the value is on the heap, where it stays when the map moves its `Arc`. The map only grows and is
        // freed with `self`, which the reference borrows; the value is not changed.
        Ok(unsafe { &*value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_stays_where_it_is() {
        let kept = Kept::default();
        let first: &String = kept.get(0, || Ok::<_, ()>("zero".to_owned())).unwrap();
        for key in 1..1000 {
            kept.get(key, || Ok::<_, ()>(key.to_string())).unwrap();
        }
        assert!(std::ptr::eq(first, kept.get(0, || Err(())).unwrap()));
        assert_eq!(first, "zero");
    }

    #[test]
    fn a_failure_is_not_kept() {
        let kept: Kept<u32, u32> = Kept::default();
        assert_eq!(kept.get(1, || Err("no")), Err("no"));
        assert_eq!(kept.get(1, || Ok::<_, ()>(2)), Ok(&2));
    }
}
