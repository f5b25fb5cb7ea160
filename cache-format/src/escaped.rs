//! Escaping of untrusted text for display.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write};

/// Untrusted text, such as a path or a name or output of an emulator, for a terminal, a log or a table.
///
/// `Display` writes ordinary text of any script unchanged. A character that would move a cursor, start a
/// terminal command, end a line, change the order of later text, or be invisible is written as an escape:
/// control characters as `\n`, `\r`, `\t` or `\x1b`; those of C1, line separators, bidirectional controls, and format
/// and invisible characters (Unicode's general category Cf and property `Default_Ignorable_Code_Point`) as
/// `\u{202e}`; bytes that are not UTF-8 as `\xff`. A backslash is not escaped, so escaping text twice does
/// not change it; use JSON for text that must be read back exactly.
///
/// ```
/// use capscache_format::Escaped;
/// assert_eq!(Escaped::new("Zürich 東京").to_string(), "Zürich 東京");
/// assert_eq!(Escaped::new("q35\x1b]0;owned\x07\n").to_string(), r"q35\x1b]0;owned\x07\n");
/// assert_eq!(Escaped::new("\u{202e}gnp.exe").to_string(), r"\u{202e}gnp.exe");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// Takes text or a path.
    pub fn new<T: AsRef<OsStr> + ?Sized>(text: &'a T) -> Escaped<'a> {
        Escaped(text.as_ref().as_encoded_bytes())
    }

    /// Takes bytes that should be text.
    pub fn of_bytes(bytes: &'a [u8]) -> Escaped<'a> {
        Escaped(bytes)
    }

    /// Returns true if a character is written as an escape: it is invisible, or acts on its output.
    pub fn hides(c: char) -> bool {
        match c {
            ' '..='~' => false,
            c if c.is_control() => true,
            c => HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c)),
        }
    }

    fn write(self, out: &mut impl Write) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut plain = chunk.valid();
            while let Some(at) = plain.find(Escaped::hides) {
                let (before, rest) = plain.split_at(at);
                out.write_str(before)?;
                let mut rest = rest.chars();
                if let Some(hidden) = rest.next() {
                    escape(hidden, out)?;
                }
                plain = rest.as_str();
            }
            out.write_str(plain)?;
            chunk.invalid().iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.width().is_none() && f.precision().is_none() {
            return self.write(f);
        }
        let mut text = String::new();
        self.write(&mut text)?;
        f.pad(&text)
    }
}

impl<'a> From<Escaped<'a>> for Cow<'a, str> {
    /// Borrows the text if nothing needs escaping.
    fn from(escaped: Escaped<'a>) -> Cow<'a, str> {
        match std::str::from_utf8(escaped.0) {
            Ok(text) if !text.contains(Escaped::hides) => Cow::Borrowed(text),
            _ => Cow::Owned(escaped.to_string()),
        }
    }
}

fn escape(hidden: char, out: &mut impl Write) -> fmt::Result {
    match hidden {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        hidden if hidden.is_ascii() => {
            write!(out, "\\x{:02x}", u32::from(hidden))
        }
        hidden => write!(out, "\\u{{{:x}}}", u32::from(hidden)),
    }
}

/// General categories Cf, Zl and Zp and `Default_Ignorable_Code_Point` of Unicode 16, ordered
/// (<https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt>).
const HIDDEN: [(char, char); 33] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    // Noncharacters.
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fffe}', '\u{ffff}'),
    ('\u{1fffe}', '\u{1ffff}'),
    ('\u{2fffe}', '\u{2ffff}'),
    ('\u{3fffe}', '\u{3ffff}'),
    ('\u{efffe}', '\u{effff}'),
    ('\u{ffffe}', '\u{fffff}'),
    ('\u{10fffe}', '\u{10ffff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Escaped::new(text).to_string()
    }

    #[test]
    fn ordinary_text_of_any_script_is_unchanged() {
        for text in [
            "",
            "pc-q35-7.2",
            r"C:\qemu\qemu-system-x86_64.exe",
            "Zürich, Čeština, Ελληνικά, Русский, עברית, العربية, हिन्दी, ไทย, 日本語, 한국어, 🦀",
            "e\u{301}",
            "a\u{a0}b\u{3000}c",
        ] {
            assert_eq!(shown(text), text);
            assert!(matches!(Cow::from(Escaped::new(text)), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn characters_that_act_on_a_terminal_or_are_invisible_are_escaped() {
        for (text, expected) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\0\x07\x08\x1b[31m\x7f", r"\x00\x07\x08\x1b[31m\x7f"),
            ("\u{85}\u{90}\u{9b}31m\u{9d}0;x\u{9c}", r"\u{85}\u{90}\u{9b}31m\u{9d}0;x\u{9c}"),
            ("a\u{202a}b\u{202e}c\u{2066}d\u{2069}", r"a\u{202a}b\u{202e}c\u{2066}d\u{2069}"),
            ("\u{200e}\u{200f}\u{61c}", r"\u{200e}\u{200f}\u{61c}"),
            (
                "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
                r"\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
            ),
            ("\u{2028}\u{2029}\u{ad}\u{34f}\u{3164}", r"\u{2028}\u{2029}\u{ad}\u{34f}\u{3164}"),
            ("\u{e0001}\u{e0041}\u{fe0f}\u{e0100}", r"\u{e0001}\u{e0041}\u{fe0f}\u{e0100}"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(shown(expected), expected, "once is enough");
        }
    }

    #[test]
    fn control_and_format_characters_are_escaped_and_ordinary_text_is_not() {
        // The standard library has its own table of characters that cannot be printed; of them only
        // unassigned and private ones, spaces and combining characters are not escaped.
        for c in '\0'..=char::MAX {
            let escaped_by_us = shown(c.encode_utf8(&mut [0; 4])) != c.to_string();
            let is_ascii_quote = matches!(c, '"' | '\'' | '\\');
            let escaped_by_std = c.escape_debug().count() > 1 && !is_ascii_quote;
            let is_filler = matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
            assert!(!escaped_by_us || escaped_by_std || is_filler, "{c:?} is ordinary text");
            assert!(escaped_by_us || !c.is_control(), "{c:?} is a control character");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_escaped_as_numbers() {
        assert_eq!(
            Escaped::of_bytes(b"a\xffb\xed\xa0\x80\xc2").to_string(),
            r"a\xffb\xed\xa0\x80\xc2"
        );
        assert_eq!(Escaped::of_bytes(b"\x9b31m").to_string(), r"\x9b31m");
    }

    #[test]
    fn escaped_text_is_padded_by_its_escaped_length() {
        assert_eq!(format!("[{:6}]", Escaped::new("a\n")), r"[a\n   ]");
        assert_eq!(format!("[{:>4}]", Escaped::new("é")), "[   é]");
    }
}
