//! Sizes with units.

/// Returns a size in KiB, rounded up; KiB if it has no unit; `None` if number or unit are not valid, or if the size in
/// bytes is too large for a signed number of 64 bits.
pub fn kib(number: &str, unit: Option<&str>) -> Option<u64> {
    let bytes = scaled(number, unit.unwrap_or("KiB"))?;
    let bytes = i64::try_from(bytes).and_then(u64::try_from).ok()?;
    Some(bytes.div_ceil(1024))
}

/// Returns a size in bytes; bytes if it has no unit; `None` if number or unit are not valid.
pub fn bytes(number: &str, unit: Option<&str>) -> Option<u64> {
    u64::try_from(scaled(number, unit.unwrap_or("B"))?).ok()
}

fn scaled(number: &str, unit: &str) -> Option<u128> {
    let number: u64 = number.trim_start().parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let power = |letter: &str| "kmgtpe".find(letter).map(|at| u32::try_from(at).unwrap_or(0) + 1);
    let unit = match unit.as_str() {
        "b" | "bytes" | "byte" => 1,
        _ => match unit.strip_suffix("ib") {
            Some(letter) => 1024_u128.pow(power(letter).filter(|_| letter.len() == 1)?),
            None => match unit.strip_suffix('b') {
                Some(letter) => 1000_u128.pow(power(letter).filter(|_| letter.len() == 1)?),
                None => 1024_u128.pow(power(&unit).filter(|_| unit.len() == 1)?),
            },
        },
    };
    u128::from(number).checked_mul(unit)
}
