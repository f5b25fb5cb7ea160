//! Access to the values of QMP replies.

use capscache_format::{Array, Value};

pub(crate) fn text(object: Value<'_>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

/// The same as [`text`], without empty strings.
pub(crate) fn some_text(object: Value<'_>, key: &str) -> Option<String> {
    text(object, key).filter(|text| !text.is_empty())
}

pub(crate) fn boolean(object: Value<'_>, key: &str) -> Option<bool> {
    object.get(key)?.as_bool()
}

pub(crate) fn elements(list: Option<Value<'_>>) -> impl Iterator<Item = Value<'_>> {
    list.and_then(Value::as_array).into_iter().flat_map(Array::iter)
}

pub(crate) fn is_true(value: Option<Value<'_>>) -> bool {
    value.and_then(Value::as_bool).unwrap_or(false)
}
