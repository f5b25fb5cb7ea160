//! MAC addresses.

use crate::error::Error;
use crate::view::View;

/// Returns the MAC address of an interface, in the notation of libvirt.
pub(in crate::command::host) fn mac(view: View<'_>) -> Result<String, Error> {
    // These concern other hypervisors.
    view.ignore(&["mac@type", "mac@check"]);
    let Some(text) = view.text("mac@address") else {
        let what = "the interface has no MAC address; add one, as in <mac address='52:54:00:…'/>";
        return Err(view.unsupported("", what));
    };
    match parse(text) {
        Some([first, ..]) if first & 1 == 1 => {
            Err(view.invalid("mac@address", "it is an address of a group; use another one"))
        }
        Some([0, 0, 0, 0, 0, 0]) => Err(view.unsupported("mac@address", "use another address")),
        Some(octets) => Ok(octets.map(|octet| format!("{octet:02x}")).join(":")),
        None => Err(view.invalid("mac@address", "it is not a MAC address")),
    }
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let octet = |text: &str| match text.len() {
        1 | 2 if text.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(text, 16).ok(),
        _ => None,
    };
    text.split(':').map(octet).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn octets_have_one_or_two_digits() {
        assert_eq!(parse("52:54:0:E5:48:5a"), Some([0x52, 0x54, 0, 0xe5, 0x48, 0x5a]));
        assert_eq!(parse("52:54:00:e5:48"), None);
        assert_eq!(parse("52:54:00:e5:48:5a:00"), None);
        assert_eq!(parse("52:54:000:e5:48:5a"), None);
        assert_eq!(parse("52:54:+0:e5:48:5a"), None);
    }
}
