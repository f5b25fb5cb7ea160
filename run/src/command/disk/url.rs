//! URLs of storage.

use std::fmt::Write;

use crate::command::disk::hosts::Host;
use crate::error::Error;
use crate::view::View;

/// Returns the URL of a path on a host.
pub(super) fn format(
    view: View<'_>,
    scheme: &str,
    host: Host<'_>,
    path: &str,
    query: Option<&str>,
) -> Result<String, Error> {
    let (name, port) = host.tcp(view)?;
    let mut url = format!("{scheme}://");
    match name.contains(':') {
        true => url.push_str(&format!("[{name}]")),
        false => url.push_str(name),
    }
    if port > 0 {
        url.push_str(&format!(":{port}"));
    }
    if !path.starts_with('/') {
        url.push('/');
    }
    escape(path, &mut url);
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    Ok(url)
}

/// Appends a path with escapes for bytes that a path cannot contain (RFC 2396, `pchar` without `:`).
fn escape(path: &str, url: &mut String) {
    for byte in path.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-_.!~*'()/;@&=+$,".contains(&b) => {
                url.push(char::from(b));
            }
            other => {
                // Writing to a string does not fail.
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_a_path_cannot_contain_are_escaped() {
        let mut url = String::new();
        escape("/a b/ä?#[x]:%;@&=+$,-_.!~*'()", &mut url);
        assert_eq!(url, "/a%20b/%C3%A4%3F%23%5Bx%5D%3A%25;@&=+$,-_.!~*'()");
    }
}
