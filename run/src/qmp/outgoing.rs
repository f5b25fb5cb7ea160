//! Messages that are sent: they may contain passwords, of which no copy is to stay in memory.

use std::io;

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

/// Returns a message as a line, with room for more bytes: a buffer that grows would leave a copy behind.
pub(super) fn text(message: &Value, room: usize) -> Zeroizing<Vec<u8>> {
    let mut length = Length(0);
    // Writing to these two cannot fail.
    let _ = serde_json::to_writer(&mut length, message);
    let mut text = Zeroizing::new(Vec::with_capacity(length.0 + 1 + room));
    let _ = serde_json::to_writer(&mut *text, message);
    text.push(b'\n');
    text
}

/// Counts the bytes that are written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Overwrites all text in a value.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(values) => values.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_queued_in_order_without_growing_and_their_text_is_wiped() {
        let first = text(&json!({"a": "secret"}), 0);
        assert_eq!(first.capacity(), first.len());
        let mut second = text(&json!([1, "x"]), first.len());
        let capacity = second.capacity();
        second.splice(..0, first.iter().copied());
        assert_eq!(&second[..], b"{\"a\":\"secret\"}\n[1,\"x\"]\n");
        assert_eq!(second.capacity(), capacity);
        let mut value = json!({"a": ["secret", {"b": "secret"}], "n": 1});
        wipe(&mut value);
        assert_eq!(value, json!({"a": ["", {"b": ""}], "n": 1}));
    }
}
