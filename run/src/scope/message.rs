//! Messages of D-Bus (D-Bus Specification 0.43, "Message Protocol"): those parts that creating a scope takes.

/// Bound on a message that is received. The replies and signals that are awaited have some hundred bytes.
const MAX_BYTES: usize = 64 << 10;

/// The bytes before the fields of a header.
const FIXED_BYTES: usize = 16;

/// A call of a method that does not start a service which does not run.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
}

/// Values in the order of a signature, in little-endian form.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, bytes: usize) {
        self.0.resize(self.0.len().next_multiple_of(bytes), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// Adds a boolean.
    pub(super) fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// Adds a string or the path of an object.
    pub(super) fn string(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Adds an array, whose elements have this alignment.
    pub(super) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let place = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let bytes = length(self.0.len() - start).to_le_bytes();
        self.0[place..place + 4].copy_from_slice(&bytes);
    }
}

/// Lengths here are far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Call<'_> {
    /// Returns the message with a body.
    pub(super) fn encode(&self, serial: u32, body: &Writer) -> Vec<u8> {
        const NO_AUTO_START: u8 = 2;
        let mut message = Writer::default();
        for byte in [b'l', 1, NO_AUTO_START, 1] {
            message.byte(byte);
        }
        message.u32(length(body.0.len()));
        message.u32(serial);
        let texts = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", self.destination),
        ];
        message.array(8, |fields| {
            for (code, kind, text) in texts {
                fields.align(8);
                fields.byte(code);
                fields.signature(kind);
                fields.string(text);
            }
            if !self.signature.is_empty() {
                fields.align(8);
                fields.byte(8);
                fields.signature("g");
                fields.signature(self.signature);
            }
        });
        message.align(8);
        message.0.extend(&body.0);
        message.0
    }
}

/// A message that was received: an answer to a call, or a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The serial number of the call.
    Returned(u32),
    /// The serial number of the call, the name of the error, and its text.
    Refused(u32, String, String),
    /// The member of a signal, and its arguments if they are those of `JobRemoved`: unit and result.
    Signal(String, Option<(String, String)>),
    Other,
}

/// Error of bytes that are not a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the first message off the bytes that were received; `None` if it has not arrived completely.
pub(super) fn take(bytes: &mut Vec<u8>) -> Result<Option<Received>, Malformed> {
    let Some(fixed) = bytes.get(..FIXED_BYTES) else { return Ok(None) };
    let is_little = match fixed[0] {
        b'l' => true,
        b'B' => false,
        _ => return Err(Malformed),
    };
    let number = |place| Reader { bytes: fixed, place, is_little }.u32().map(usize_of);
    let body_bytes = number(4).ok_or(Malformed)?;
    let fields_bytes = number(12).ok_or(Malformed)?;
    let fields_end = FIXED_BYTES.saturating_add(fields_bytes);
    let start = fields_end.checked_next_multiple_of(8).ok_or(Malformed)?;
    let end = start.saturating_add(body_bytes);
    if end > MAX_BYTES {
        return Err(Malformed);
    }
    if bytes.len() < end {
        return Ok(None);
    }
    let rest = bytes.split_off(end);
    let message = std::mem::replace(bytes, rest);
    let fields = Reader { bytes: &message[..fields_end], place: FIXED_BYTES, is_little };
    let body = Reader { bytes: &message, place: start, is_little };
    Ok(Some(received(message[1], fields.fields(), body).ok_or(Malformed)?))
}

fn received(kind: u8, fields: Fields, mut body: Reader<'_>) -> Option<Received> {
    Some(match kind {
        2 => Received::Returned(fields.reply_serial?),
        3 => {
            let text =
                if fields.signature.starts_with('s') { body.string()? } else { String::new() };
            Received::Refused(fields.reply_serial?, fields.error, text)
        }
        4 => {
            let job = fields.signature == "uoss";
            let arguments = if job {
                body.u32()?;
                body.string()?;
                Some((body.string()?, body.string()?))
            } else {
                None
            };
            Received::Signal(fields.member, arguments)
        }
        _ => Received::Other,
    })
}

/// The fields of a header that are used.
#[derive(Default)]
struct Fields {
    member: String,
    error: String,
    reply_serial: Option<u32>,
    signature: String,
}

/// Values that are read in order; `None` beyond the end.
struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
    is_little: bool,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.place.checked_add(count)?;
        let bytes = self.bytes.get(self.place..end)?;
        self.place = end;
        Some(bytes)
    }

    fn align(&mut self, bytes: usize) {
        self.place = self.place.next_multiple_of(bytes);
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let is_little = self.is_little;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn text(&mut self, count: usize) -> Option<String> {
        let text = String::from_utf8(self.take(count)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn string(&mut self) -> Option<String> {
        let count = self.u32()?;
        self.text(usize_of(count))
    }

    fn signature(&mut self) -> Option<String> {
        let count = *self.take(1)?.first()?;
        self.text(count.into())
    }

    /// Returns the fields of a header, up to one of an unknown type.
    fn fields(mut self) -> Fields {
        let mut fields = Fields::default();
        while self.field(&mut fields).is_some() {}
        fields
    }

    fn field(&mut self, fields: &mut Fields) -> Option<()> {
        self.align(8);
        let code = *self.take(1)?.first()?;
        match (code, self.signature()?.as_str()) {
            (3, "s") => fields.member = self.string()?,
            (4, "s") => fields.error = self.string()?,
            (5, "u") => fields.reply_serial = self.u32(),
            (8, "g") => fields.signature = self.signature()?,
            (_, "s" | "o") => drop(self.string()?),
            (_, "g") => drop(self.signature()?),
            (_, "u") => drop(self.u32()?),
            _ => return None,
        }
        Some(())
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;

    /// A signal or reply, as a bus sends it.
    pub(in crate::scope) fn message(
        kind: u8,
        fields: &[(u8, &str, &str)],
        reply: u32,
        body: &Writer,
    ) -> Vec<u8> {
        let mut message = Writer::default();
        for byte in [b'l', kind, 1, 1] {
            message.byte(byte);
        }
        message.u32(length(body.0.len()));
        message.u32(7);
        message.array(8, |writer| {
            writer.align(8);
            writer.byte(5);
            writer.signature("u");
            writer.u32(reply);
            for (code, kind, text) in fields {
                writer.align(8);
                writer.byte(*code);
                writer.signature(kind);
                match *kind {
                    "g" => writer.signature(text),
                    _ => writer.string(text),
                }
            }
        });
        message.align(8);
        message.0.extend(&body.0);
        message.0
    }

    /// The signal that a job for a unit has ended.
    pub(in crate::scope) fn job_removed(unit: &str, result: &str) -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(3);
        for text in ["/job/3", unit, result] {
            body.string(text);
        }
        message(4, &[(1, "o", "/a"), (3, "s", "JobRemoved"), (8, "g", "uoss")], 0, &body)
    }

    /// The error of a call.
    fn refused() -> Vec<u8> {
        let mut text = Writer::default();
        text.string("no");
        message(3, &[(4, "s", "org.Error"), (8, "g", "s")], 2, &text)
    }

    #[test]
    fn a_call_has_its_fields_aligned_and_its_lengths_counted() {
        let mut body = Writer::default();
        body.string("x");
        let call =
            Call { destination: "d", path: "/", interface: "i", member: "m", signature: "s" };
        let bytes = call.encode(9, &body);
        let header = b"l\x01\x02\x01\x06\0\0\0\x09\0\0\0\x47\0\0\0";
        assert_eq!(bytes[..16], *header);
        assert_eq!(bytes[16..32], *b"\x01\x01o\0\x01\0\0\0/\0\0\0\0\0\0\0");
        assert_eq!(bytes[80..88], *b"\x08\x01g\0\x01s\0\0");
        assert_eq!(bytes[bytes.len() - 6..], *b"\x01\0\0\0x\0");
    }

    #[test]
    fn messages_are_whole_however_they_arrive() {
        let all =
            [job_removed("a.scope", "done"), refused(), message(2, &[], 1, &Writer::default())]
                .concat();
        let mut bytes = Vec::new();
        let mut found = Vec::new();
        for byte in all {
            bytes.push(byte);
            found.extend(take(&mut bytes).unwrap());
        }
        let job = Some(("a.scope".to_owned(), "done".to_owned()));
        let expected = [
            Received::Signal("JobRemoved".to_owned(), job),
            Received::Refused(2, "org.Error".to_owned(), "no".to_owned()),
            Received::Returned(1),
        ];
        assert_eq!(found, expected);
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_too_long_or_not_a_message_is_refused() {
        let mut long = job_removed("a.scope", "done");
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(take(&mut long), Err(Malformed));
        assert_eq!(take(&mut b"HTTP/1.1 400 Bad".to_vec()), Err(Malformed));
    }

    #[test]
    fn no_change_of_a_byte_and_no_end_of_a_message_makes_it_panic() {
        for message in [job_removed("a.scope", "done"), refused()] {
            for place in 0..message.len() {
                let _ = take(&mut message[..place].to_vec());
                for value in 0..=u8::MAX {
                    let mut bytes = message.clone();
                    bytes[place] = value;
                    let _ = take(&mut bytes);
                }
            }
        }
    }
}
