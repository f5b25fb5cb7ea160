//! Patterns for names of machines, with the syntax of `fnmatch` without flags: `*`, `?`, `[a-z]`, `[!a-z]`, and
//! a backslash before a character that stands for itself.

/// Returns whether a name matches a pattern.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut rest, mut at) = (&pattern[..], 0);
    // The pattern after the last star, and the position in the name at which it is tried.
    let mut star: Option<(&[char], usize)> = None;
    while at < name.len() {
        if let ['*', behind @ ..] = rest {
            star = Some((behind, at));
            rest = behind;
        } else if let Some(behind) = one(rest, name[at]) {
            rest = behind;
            at += 1;
        } else if let Some((behind, tried)) = star {
            star = Some((behind, tried + 1));
            (rest, at) = (behind, tried + 1);
        } else {
            return false;
        }
    }
    rest.iter().all(|c| *c == '*')
}

/// The pattern after its first element, if that matches a character.
fn one(pattern: &[char], c: char) -> Option<&[char]> {
    match pattern {
        ['?', rest @ ..] => Some(rest),
        ['\\', escaped, rest @ ..] => (*escaped == c).then_some(rest),
        ['[', within @ ..] => match set(within, c) {
            Some((is_in, rest)) => is_in.then_some(rest),
            // A bracket that is not closed stands for itself.
            None => (c == '[').then_some(within),
        },
        [plain, rest @ ..] => (*plain == c).then_some(rest),
        [] => None,
    }
}

/// Returns whether a character is in a set, and the pattern after the set; `None` if the set does not end.
fn set(within: &[char], c: char) -> Option<(bool, &[char])> {
    let (is_negated, within) = match within {
        ['!' | '^', rest @ ..] => (true, rest),
        _ => (false, within),
    };
    // A closing bracket that comes first is a member.
    let end = 1 + within.iter().skip(1).position(|c| *c == ']')?;
    let (mut members, mut is_in) = (&within[..end], false);
    while let [first, rest @ ..] = members {
        (is_in, members) = match rest {
            ['-', last, rest @ ..] => (is_in || (*first..=*last).contains(&c), rest),
            _ => (is_in || *first == c, rest),
        };
    }
    Some((is_in != is_negated, &within[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_names_that_a_shell_would_match() {
        for (pattern, name) in [
            ("*", "pc-q35-9.2"),
            ("*", ""),
            ("pc-q35-*", "pc-q35-9.2"),
            ("pc-q35-*", "pc-q35-"),
            ("pc-*-rhel*.0", "pc-q35-rhel9.6.0"),
            ("**9**2", "pc-q35-9.2"),
            ("virt-?.?", "virt-7.2"),
            ("pc-[iq]*", "pc-q35-9.2"),
            ("virt-[0-9].[!3-9]", "virt-7.2"),
            ("x[]]", "x]"),
            ("x[a-]", "x-"),
            ("x[a", "x[a"),
            (r"x\*", "x*"),
            ("m?ü", "mäü"),
            ("microvm", "microvm"),
        ] {
            assert!(matches(pattern, name), "{pattern} and {name}");
        }
        for (pattern, name) in [
            ("", "virt"),
            ("virt", "virt-7.2"),
            ("virt-*", "virt"),
            ("PC-*", "pc-q35-9.2"),
            ("pc-[!iq]*", "pc-q35-9.2"),
            ("*.3", "pc-q35-9.2"),
            ("virt-?", "virt-"),
            (r"x\*", "xy"),
            ("x[]", "x"),
            ("[^v]irt", "virt"),
        ] {
            assert!(!matches(pattern, name), "{pattern} and {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_matched_quickly() {
        assert!(!matches(&"*a".repeat(2000), &"a".repeat(1999)));
    }
}
