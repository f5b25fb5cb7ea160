//! YAML in block style, as a formatter of serde_json: the same values in the same order, without a copy of them.
//!
//! A string is plain where no parser of YAML 1.1 or 1.2 reads it as something else. All others are in double
//! quotes, where YAML has the escapes of JSON, and more for characters that [`Escaped`] hides.

use std::fmt::Write as _;
use std::io::{self, Write};

use capscache::Escaped;
use serde_json::ser::{CharEscape, Formatter};

/// Words that YAML 1.1 or 1.2 reads as a truth value or null.
const RESERVED: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// Writes a value and ends the line.
///
/// # Errors
/// Those of `out`, and of a map whose keys are not text.
pub(crate) fn write(
    value: &impl serde::Serialize,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Yaml::default());
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

#[derive(Default)]
struct Yaml {
    depth: usize,
    /// Set if the innermost list or map has a value so far.
    has_value: bool,
    /// Set if something stands before the value on its line: a key, or the dash of a list.
    is_inline: bool,
    /// The string that is being written, as it is between double quotes.
    string: String,
}

impl Yaml {
    fn begin(&mut self) {
        self.depth += 1;
        self.has_value = false;
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, empty: &str) -> io::Result<()> {
        self.depth -= 1;
        if !self.has_value {
            out.write_all(if self.is_inline { b" " } else { b"" })?;
            out.write_all(empty.as_bytes())?;
        }
        self.has_value = true;
        Ok(())
    }

    /// Begins the line of a key or of an element; the first line of the document begins by itself.
    fn line<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.has_value || self.is_inline {
            out.write_all(b"\n")?;
        }
        let indent = 2 * (self.depth - 1);
        write!(out, "{:indent$}", "")
    }

    fn scalar<W: ?Sized + Write>(&self, out: &mut W, text: &str) -> io::Result<()> {
        out.write_all(if self.is_inline { b" " } else { b"" })?;
        out.write_all(text.as_bytes())
    }

    fn push(&mut self, c: char) {
        let number = u32::from(c);
        let _ = match c {
            ' '..='~' => write!(self.string, "{c}"),
            // Not permitted in YAML, escaped or not on a terminal.
            _ if Escaped::hides(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => match number {
                0..=0xff => write!(self.string, "\\x{number:02x}"),
                0x100..=0xffff => write!(self.string, "\\u{number:04x}"),
                _ => write!(self.string, "\\U{number:08x}"),
            },
            _ => write!(self.string, "{c}"),
        };
    }
}

/// Returns whether a string is read as itself without quotes.
fn is_plain(text: &str) -> bool {
    let is_word =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '@');
    // Numbers of YAML 1.1 may begin with any other of these characters.
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    begins
        && text.split(' ').all(|word| !word.is_empty() && word.chars().all(is_word))
        && !RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word))
}

impl Formatter for Yaml {
    fn write_null<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.scalar(out, "null")
    }

    fn write_bool<W: ?Sized + Write>(&mut self, out: &mut W, value: bool) -> io::Result<()> {
        self.scalar(out, if value { "true" } else { "false" })
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        // YAML 1.1 requires the point and the sign of the exponent.
        let text = format!("{value:?}");
        let text = match text.split_once('e') {
            Some((digits, exponent)) => {
                let point = if digits.contains('.') { "" } else { ".0" };
                let sign = if exponent.starts_with('-') { "" } else { "+" };
                format!("{digits}{point}e{sign}{exponent}")
            }
            None => text,
        };
        self.scalar(out, &text)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, out: &mut W, value: i64) -> io::Result<()> {
        self.scalar(out, &value.to_string())
    }

    fn write_u64<W: ?Sized + Write>(&mut self, out: &mut W, value: u64) -> io::Result<()> {
        self.scalar(out, &value.to_string())
    }

    fn write_i32<W: ?Sized + Write>(&mut self, out: &mut W, value: i32) -> io::Result<()> {
        self.scalar(out, &value.to_string())
    }

    fn write_u32<W: ?Sized + Write>(&mut self, out: &mut W, value: u32) -> io::Result<()> {
        self.scalar(out, &value.to_string())
    }

    fn write_u16<W: ?Sized + Write>(&mut self, out: &mut W, value: u16) -> io::Result<()> {
        self.scalar(out, &value.to_string())
    }

    fn write_u8<W: ?Sized + Write>(&mut self, out: &mut W, value: u8) -> io::Result<()> {
        self.scalar(out, &value.to_string())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.string.clear();
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        _: &mut W,
        text: &str,
    ) -> io::Result<()> {
        text.chars().for_each(|c| self.push(c));
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        _: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let escaped = match escape {
            CharEscape::Quote => "\\\"",
            CharEscape::ReverseSolidus => "\\\\",
            CharEscape::Solidus => "/",
            CharEscape::Backspace => "\\b",
            CharEscape::FormFeed => "\\f",
            CharEscape::LineFeed => "\\n",
            CharEscape::CarriageReturn => "\\r",
            CharEscape::Tab => "\\t",
            CharEscape::AsciiControl(byte) => {
                let _ = write!(self.string, "\\x{byte:02x}");
                ""
            }
        };
        self.string.push_str(escaped);
        Ok(())
    }

    fn end_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        let text = std::mem::take(&mut self.string);
        if is_plain(&text) {
            self.scalar(out, &text)
        } else {
            self.scalar(out, &format!("\"{text}\""))
        }
    }

    fn begin_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.begin();
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, "[]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, _: bool) -> io::Result<()> {
        self.line(out)?;
        self.is_inline = true;
        out.write_all(b"-")
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.begin();
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, "{}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, _: bool) -> io::Result<()> {
        self.line(out)?;
        self.is_inline = false;
        Ok(())
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.is_inline = true;
        out.write_all(b":")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use serde_json::{Value, json};

    use super::*;

    fn yaml(value: &Value) -> String {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Values that parsers of YAML read in other ways where they are not quoted.
    fn difficult() -> Value {
        let words = "null NULL ~ yes No on OFF y n true 1.0 0x10 0o7 1_000 _1 1e3 12:30:45 2024-01-01 .inf .nan = << \
                     !t &a *a %x @x `x ' { } [ ] , ? : - # > | e3 a:b a,b C#";
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        for text in [
            "",
            " ",
            "a: b",
            "- x",
            "a #c",
            " lead",
            "trail ",
            "a  b",
            "two\nlines\n",
            "\"\\/",
            "---",
            "- - a",
        ] {
            words.push(text.to_owned());
        }
        let hidden = "Zürich 🦀 東京 \x1b]0;\x07\u{9b}31m\u{85}\u{2028}\u{202e}\u{200b}\u{feff}\u{e0041}\u{7f}\u{ffff}";
        json!({
            "words": words,
            hidden: hidden,
            "numbers": [0, -9223372036854775808i64, 18446744073709551615u64, 1.5, 1e300, 1e-7, -0.0],
            "nested": [[1, [2, []], {}], {"a": {"b": [{"c": null, "d": [true]}]}, "e": {}}],
            "": [{"yes": false}],
        })
    }

    #[test]
    fn lists_and_maps_are_blocks_and_only_words_that_need_quotes_have_them() {
        let value =
            json!({"name": "pc-q35-7.2", "a b": ["yes", {"x": 1, "y": []}, [[2]]], "z": {}});
        let expected = "name: pc-q35-7.2\na b:\n  - \"yes\"\n  -\n    x: 1\n    \"y\": []\n  -\n    -\n      - 2\nz: {}\n";
        assert_eq!(yaml(&value), expected);
        for (value, expected) in [
            (json!([]), "[]\n"),
            (json!("a"), "a\n"),
            (json!(null), "null\n"),
            (json!([{}]), "- {}\n"),
        ] {
            assert_eq!(yaml(&value), expected);
        }
    }

    #[test]
    fn nothing_in_it_acts_on_a_terminal() {
        let text = yaml(&difficult());
        assert!(!text.contains(|c| c != '\n' && Escaped::hides(c)), "{text:?}");
        assert!(text.contains("Zürich 🦀 東京"), "{text}");
    }

    #[test]
    fn another_programs_parser_reads_the_same_values() {
        let has_parser =
            Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
        if !has_parser.is_ok_and(|status| status.success()) {
            println!("SKIPPED: python3-yaml is not installed: no parser of YAML to compare with");
            return;
        }
        let script =
            "import json, sys, yaml\njson.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)";
        let mut python = Command::new("python3");
        python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all(yaml(&difficult()).as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), difficult());
    }
}
