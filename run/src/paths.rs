//! Paths of files.

/// Returns a path with one slash where several follow each other, and without one at the end. Two slashes at the
/// start stay, and so does a URI.
pub(crate) fn sanitize(path: &str) -> String {
    if path.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/')) {
        return path.to_owned();
    }
    let (mut clean, rest) = match path.strip_prefix("//") {
        Some(rest) if !rest.starts_with('/') => ("//".to_owned(), rest),
        _ => (String::new(), path),
    };
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '/' {
            clean.push(c);
            continue;
        }
        while chars.next_if_eq(&'/').is_some() {}
        if clean.is_empty() || chars.peek().is_some() {
            clean.push('/');
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn slashes_are_merged() {
        for (path, clean) in [
            ("//", "//"),
            ("///", "/"),
            ("/../foo", "/../foo"),
            ("/foo///bar/", "/foo/bar"),
            ("//foo//", "//foo"),
            ("http://a//b", "http://a//b"),
        ] {
            assert_eq!(sanitize(path), clean);
        }
    }
}
