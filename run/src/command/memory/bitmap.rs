//! Lists of numbers, as in `0-3,^2,8`.

use std::collections::BTreeSet;

/// The greatest number of CPUs and nodes in a list.
const MAX: u32 = 16383;

/// Returns the numbers of a list, in order; `None` if it is not valid or empty.
pub(in crate::command) fn parse(list: &str) -> Option<Vec<u32>> {
    let mut numbers = BTreeSet::new();
    for part in list.split(',') {
        let part = part.trim();
        if let Some(excluded) = part.strip_prefix('^') {
            // Only a number that is in the list so far can be excluded.
            numbers.remove(&number(excluded)?).then_some(())?;
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(())?;
        numbers.extend(first..=last);
    }
    (!numbers.is_empty()).then(|| numbers.into_iter().collect())
}

/// Returns the ranges of numbers that are in order, as in `0-3` and `8`.
pub(in crate::command) fn ranges(numbers: &[u32]) -> Vec<String> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): (u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.into_iter().map(text).collect()
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number <= MAX)
}

#[cfg(test)]
mod tests {
    use super::{parse, ranges};

    #[test]
    fn a_list_has_ranges_numbers_and_exclusions() {
        assert_eq!(parse("0-3,^2,8"), Some(vec![0, 1, 3, 8]));
        assert_eq!(parse("2,^2"), None);
        assert_eq!(parse("^2,2"), None);
        assert_eq!(parse("3-1"), None);
        assert_eq!(parse("0-99999"), None);
    }

    #[test]
    fn numbers_that_follow_each_other_are_a_range() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), ["0-2", "5", "7-8"]);
    }
}
