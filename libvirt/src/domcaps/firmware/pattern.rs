//! Patterns for the names of machine types, as in GLib's `g_pattern_match_simple`, which every known release uses: `*` and
//! `?`, and every other character for itself.

/// Returns true if a name matches a pattern.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // What is behind the last star, and the part of the name at which it is tried.
    let mut star = None;
    loop {
        let rest = name.clone();
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                name = rest;
                star = Some((pattern.clone(), name.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((after, mut tried)) = star.take() else { return false };
                if tried.next().is_none() {
                    return false;
                }
                (pattern, name) = (after.clone(), tried.clone());
                star = Some((after, tried));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_text_and_a_question_mark_one_character() {
        for (pattern, name) in [
            ("pc-q35-7.2", "pc-q35-7.2"),
            ("pc-q35-*", "pc-q35-7.2"),
            ("pc-q35-*", "pc-q35-"),
            ("*", ""),
            ("*", "virt"),
            ("**q35**", "pc-q35-7.2"),
            ("pc*3*.2", "pc-q35-7.3.2"),
            ("pc-q35-?.?", "pc-q35-7.2"),
            ("*?", "x"),
            ("?", "\u{e9}"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "q35"),
            ("q35", "pc-q35-7.2"),
            ("pc-q35-?.?", "pc-q35-10.0"),
            ("*?", ""),
            ("*7", "pc-q35-7.2"),
            ("PC-Q35-*", "pc-q35-7.2"),
            ("pc-q35-* ", "pc-q35-7.2"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn brackets_and_backslashes_stand_for_themselves() {
        assert!(!matches("pc-q35-[67].2", "pc-q35-7.2"));
        assert!(matches("pc-q35-[67].2", "pc-q35-[67].2"));
        assert!(!matches("pc\\-q35*", "pc-q35-7.2"));
    }

    #[test]
    fn a_pattern_of_many_stars_is_matched_in_time() {
        assert!(!matches(&"*a".repeat(100_000), &"a".repeat(100)));
        assert!(!matches(&("*a".repeat(50) + "b"), &"a".repeat(1000)));
    }
}
