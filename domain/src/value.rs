//! Values of attributes, in text form.

use std::fmt::Display;
use std::str::FromStr;

/// A value of an attribute or of an element's text.
pub(crate) trait Value: Sized {
    /// The valid values, for an error.
    const EXPECTED: &'static str;

    /// Parses the text; `None` if it is not a valid value.
    fn parse(text: &str) -> Option<Self>;

    /// Returns the text that libvirt writes.
    fn format(&self) -> String;
}

impl Value for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn format(&self) -> String {
        self.clone()
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a number";

    fn parse(text: &str) -> Option<u32> {
        number(text)
    }

    fn format(&self) -> String {
        self.to_string()
    }
}

impl Value for u64 {
    const EXPECTED: &'static str = "a number";

    fn parse(text: &str) -> Option<u64> {
        number(text)
    }

    fn format(&self) -> String {
        self.to_string()
    }
}

/// Parses a decimal number, or a hexadecimal one with `0x`. A number that starts with 0 is not valid if it is another one in
/// octal, as which libvirt reads some.
pub(crate) fn number<N: FromStr + TryFrom<u64>>(text: &str) -> Option<N> {
    let text = text.trim_start();
    let digits = |text: &str, radix| {
        // A sign is not a digit.
        let valid = text.starts_with(|c: char| c.is_ascii_hexdigit());
        valid.then(|| u64::from_str_radix(text, radix).ok()).flatten()
    };
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => digits(hexadecimal, 16)?,
        None => digits(text, 10)
            .filter(|number| !text.starts_with('0') || digits(text, 8) == Some(*number))?,
    };
    N::try_from(number).ok()
}

/// Parses a hexadecimal number, with or without `0x`.
pub(crate) fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let is_valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// Defines numbers that libvirt writes as hexadecimal digits with `0x`.
macro_rules! hex {
    ($($(#[$meta:meta])* pub struct $name:ident(pub $number:ty);)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl Value for $name {
            const EXPECTED: &'static str = "a number";

            fn parse(text: &str) -> Option<$name> {
                number(text).map($name)
            }

            fn format(&self) -> String {
                self.to_string()
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "0x{:x}", self.0)
            }
        }
    )+};
}

hex! {
    /// A number that libvirt writes as two hexadecimal digits with `0x`.
    pub struct Hex(pub u32);

    /// A physical address, which libvirt writes as hexadecimal digits with `0x`.
    pub struct HexLong(pub u64);
}

/// Defines an enum of libvirt's words.
macro_rules! words {
    ($($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        $vis enum $name {
            $(#[doc = concat!("`", $text, "`.")] #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All values, in libvirt's words.
            pub const WORDS: &'static [&'static str] = &[$($text),+];

            /// Returns libvirt's word.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// Returns the value that libvirt calls by this word.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl crate::value::Value for $name {
            const EXPECTED: &'static str = concat!("one of" $(, " ", $text)+);

            fn parse(text: &str) -> Option<$name> {
                $name::from_word(text)
            }

            fn format(&self) -> String {
                self.as_str().to_owned()
            }
        }
    )+};
}

pub(crate) use words;

words! {
    /// On or off.
    pub enum Switch { On = "on", Off = "off" }

    /// Yes or no.
    pub enum YesNo { Yes = "yes", No = "no" }
}
