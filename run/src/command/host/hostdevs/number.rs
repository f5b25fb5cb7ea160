//! Numbers of addresses on the host.

use crate::error::Error;
use crate::view::View;

/// Returns the number at a place: hexadecimal with `0x`, octal with `0`, and decimal otherwise.
pub(super) fn read(view: View<'_>, place: &str) -> Result<Option<u32>, Error> {
    let Some(text) = view.text(place) else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| view.invalid(place, format!("{text:?} is not a number")))
}

/// Returns the number at a place, up to a limit; 0 if there is none.
pub(super) fn limited(view: View<'_>, place: &str, max: u32) -> Result<u32, Error> {
    match read(view, place)?.unwrap_or(0) {
        number if number <= max => Ok(number),
        _ => Err(view.invalid(place, format!("it must be at most 0x{max:x}"))),
    }
}

fn parse(text: &str) -> Option<u32> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    u32::from_str_radix(digits, radix).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_zero_in_front_means_octal() {
        assert_eq!(parse("0x1f"), Some(31));
        assert_eq!(parse("017"), Some(15));
        assert_eq!(parse("00"), Some(0));
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("14"), Some(14));
        assert_eq!(parse("08"), None);
        assert_eq!(parse("+1"), None);
        assert_eq!(parse("0x"), None);
    }
}
