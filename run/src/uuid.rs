//! UUIDs as text.

/// The number of hexadecimal digits of a UUID, and the positions before which it has a hyphen.
const DIGITS: usize = 32;
const HYPHENS: [usize; 4] = [8, 12, 16, 20];

/// Returns a UUID in its usual form: lower case, with four hyphens. Hyphens and spaces can stand between any two bytes
/// of the text that is read.
pub(crate) fn format(text: &str) -> Option<String> {
    let mut digits = String::new();
    for c in text.trim_ascii().chars() {
        match c {
            '-' | ' ' if digits.len().is_multiple_of(2) && digits.len() < DIGITS => {}
            c if c.is_ascii_hexdigit() && digits.len() < DIGITS => {
                digits.push(c.to_ascii_lowercase());
            }
            _ => return None,
        }
    }
    if digits.len() < DIGITS {
        return None;
    }
    let mut uuid = String::new();
    for (position, c) in digits.chars().enumerate() {
        if HYPHENS.contains(&position) {
            uuid.push('-');
        }
        uuid.push(c);
    }
    Some(uuid)
}
