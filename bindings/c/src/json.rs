//! Entries as JSON.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use crate::boundary::{call, free, read};
use crate::entry::Entry;
use crate::error::Error;
use crate::text::Text;

/// JSON text. Owned by the caller, who frees it with capscache_json_free().
///
/// It does not change: threads may read it at the same time.
#[derive(Debug)]
pub struct Json(CString);

/// Returns an entry as JSON, or the part of it under `key`: `accelerators`, `devices`, `schema`, … `docs/json.md` of
/// capscache has the keys. NULL as the key stands for the whole entry. Text is exact, with all characters.
///
/// NULL after an error: CAPSCACHE_CODE_ABSENT for a key that the entry does not have.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_json(
    entry: Option<&Entry>,
    key: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Json>> {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let damaged = |error: serde_json::Error| Error::internal(&error.to_string());
        let key = key.optional().map(|key| key.utf8("key")).transpose()?;
        let text = match key {
            None => serde_json::to_string(&*entry.caps).map_err(damaged)?,
            Some(key) => {
                let whole = serde_json::to_value(&*entry.caps).map_err(damaged)?;
                let none = || Error::absent(&format!("the entry has no {key:?}"));
                whole.get(key).ok_or_else(none)?.to_string()
            }
        };
        // JSON escapes a zero byte.
        let text = CString::new(text).map_err(|error| Error::internal(&error.to_string()))?;
        Ok(Some(Box::new(Json(text))))
    })
}

/// The text, in UTF-8. Owned by the JSON.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_json_text(json: Option<&Json>) -> *const c_char {
    read(json, |json| json.0.as_ptr())
}

/// The length of the text in bytes, without the zero byte at its end.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_json_length(json: Option<&Json>) -> usize {
    read(json, |json| json.0.as_bytes().len())
}

/// Frees JSON; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_json_free(json: Option<Box<Json>>) {
    free(json);
}
