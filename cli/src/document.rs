//! Documents for programs, safe to print on a terminal.
//!
//! Characters that [`Escaped`] hides are written as JSON and XML escape them in ASCII: a program reads the
//! exact text.

use std::fmt::Write as _;
use std::io::{self, Write};

use capscache::Escaped;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// Writes a value as compact JSON on one line.
pub(crate) fn write_json(
    value: &impl serde::Serialize,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    write(value, out, CompactFormatter)
}

/// Writes a value as indented JSON.
pub(crate) fn write_json_pretty(
    value: &impl serde::Serialize,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    write(value, out, PrettyFormatter::new())
}

fn write(
    value: &impl serde::Serialize,
    out: &mut (impl Write + ?Sized),
    formatter: impl Formatter,
) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Escaping(formatter));
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Escapes JSON text, such as a transcript: hidden characters can only be in its strings.
pub(crate) fn escape_json(text: &str) -> String {
    replaced(text, needs_escape, |hidden, out| {
        let mut units = [0; 2];
        for unit in hidden.encode_utf16(&mut units) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// Escapes XML text: hidden characters can only be in its attributes and content. XML cannot express most
/// characters of C0, which libvirt leaves there: they are replaced by U+FFFD.
pub(crate) fn escape_xml(text: &str) -> String {
    // Nearly every document.
    if text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return text.to_owned();
    }
    let is_hidden = |c: char| !matches!(c, '\n' | ' '..='~') && Escaped::hides(c);
    replaced(text, is_hidden, |hidden, out| match hidden {
        '\0'..='\x1f' if !matches!(hidden, '\t' | '\r') => out.push(char::REPLACEMENT_CHARACTER),
        _ => {
            let _ = write!(out, "&#x{:x};", u32::from(hidden));
        }
    })
}

fn replaced(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    replace: impl Fn(char, &mut String),
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&is_replaced) {
        let (kept, from) = rest.split_at(at);
        out.push_str(kept);
        let mut following = from.chars();
        following.by_ref().take(1).for_each(|c| replace(c, &mut out));
        rest = following.as_str();
    }
    out + rest
}

/// Returns whether a character of JSON text is to be escaped: ASCII is escaped in strings already, and blanks
/// outside them belong to the syntax.
fn needs_escape(c: char) -> bool {
    !matches!(c, '\0'..='~') && Escaped::hides(c)
}

/// A formatter that escapes every character that a terminal would act on.
struct Escaping<F>(F);

macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$name(out $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    delegate! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if text.contains(needs_escape) {
            out.write_all(escape_json(text).as_bytes())
        } else {
            out.write_all(text.as_bytes())
        }
    }

    fn write_raw_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        self.write_string_fragment(out, text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_parses_back_to_the_exact_text_and_has_nothing_that_acts_on_a_terminal() {
        let text = "Zürich 🦀 \x1b]0;\x07\u{9b}31m\u{202e}\u{200b}\u{e0041}\u{7f}\n\"\\";
        let value = json!({"list": [1, 1.5, null, true, {}, []], text: text, "plain": "東京"});
        for pretty in [false, true] {
            let mut out = Vec::new();
            let written = if pretty {
                write_json_pretty(&value, &mut out)
            } else {
                write_json(&value, &mut out)
            };
            written.unwrap();
            let out = String::from_utf8(out).unwrap();
            assert!(!out.contains(|c| c != '\n' && Escaped::hides(c)), "{out:?}");
            assert!(out.contains("東京") && out.contains("Zürich 🦀"), "{out:?}");
            assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), value);
            let usual = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            };
            assert_eq!(out, escape_json(&(usual.unwrap() + "\n")));
        }
    }

    #[test]
    fn hidden_characters_in_xml_are_replaced_by_references() {
        assert_eq!(escape_xml("<a b='\u{202e}é\t\x1b'/>\n"), "<a b='&#x202e;é&#x9;\u{fffd}'/>\n");
    }
}
