//! Changes of guests that leave most of them acceptable, so that they get beyond the reader.

/// A change: its kind, its place, and a number whose meaning depends on the kind.
pub(crate) type Change = (u8, u16, u16);

/// Numbers at the ends of types and ranges.
pub(crate) const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "255",
    "256",
    "65535",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "-1",
];

fn pick<T>(all: &[T], number: u16) -> Option<&T> {
    all.get(usize::from(number) % all.len().max(1))
}

/// Returns the ranges of the values of attributes, and of texts between tags.
pub(crate) fn values(text: &str) -> Vec<(usize, usize)> {
    let mut values = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, start) {
            (b'\'', Some((b'\'', from))) | (b'<', Some((b'>', from))) => {
                if !text[from..at].trim().is_empty() {
                    values.push((from, at));
                }
                start = None;
            }
            (b'\'', None) => start = Some((b'\'', at + 1)),
            (b'>', None | Some((b'>', _))) => start = Some((b'>', at + 1)),
            _ => {}
        }
    }
    values
}

/// Returns the ranges of those values that are numbers.
pub(crate) fn numbers(text: &str) -> Vec<(usize, usize)> {
    let is_number = |(start, end): &(usize, usize)| {
        let value = text[*start..*end].trim();
        value.starts_with("0x") || value.parse::<i64>().is_ok()
    };
    values(text).into_iter().filter(is_number).collect()
}

/// Returns the ranges of devices, which begin on lines of their own.
fn devices(text: &str) -> Vec<(usize, usize)> {
    let Some(end) = text.find("  </devices>") else { return Vec::new() };
    let start = text.find("<devices>\n").map_or(end, |start| start + "<devices>\n".len());
    let inside = text.get(start..end).unwrap_or_default();
    let mut starts: Vec<usize> = inside
        .match_indices("    <")
        .map(|(at, _)| start + at)
        .filter(|at| text[..*at].ends_with('\n') && !text[*at..].starts_with("    </"))
        .collect();
    starts.push(end);
    starts.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect()
}

/// Changes a guest, with parts of another one.
pub(crate) fn text(text: &mut String, other: &str, (kind, at, number): Change) {
    match kind % 8 {
        0 | 1 => {
            if let Some((start, end)) = pick(&numbers(text), at).copied() {
                text.replace_range(start..end, NUMBERS[usize::from(number) % NUMBERS.len()]);
            }
        }
        2 | 3 => {
            let from = values(other);
            let Some((from, to)) = pick(&from, number) else { return };
            if let Some((start, end)) = pick(&values(text), at).copied() {
                text.replace_range(start..end, &other[*from..*to]);
            }
        }
        4 | 5 => {
            let from = devices(other);
            let Some((from, to)) = pick(&from, number) else { return };
            if let Some((start, _)) = pick(&devices(text), at).copied() {
                text.insert_str(start, &other[*from..*to]);
            }
        }
        6 => {
            if let Some((start, end)) = pick(&devices(text), at).copied() {
                let device = text[start..end].repeat(usize::from(number % 40));
                text.insert_str(start, &device);
            }
        }
        _ => {
            if let Some((start, end)) = pick(&devices(text), at).copied() {
                text.replace_range(start..end, "");
            }
        }
    }
}
