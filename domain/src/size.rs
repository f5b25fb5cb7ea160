//! Sizes with units.

/// Returns a size in KiB, rounded up; `None` if number or unit are not valid.
pub(crate) fn kib(number: &str, unit: Option<&str>) -> Option<u64> {
    let number: u64 = number.trim().parse().ok()?;
    let bytes = |unit: &str| -> Option<u128> {
        let unit = unit.to_ascii_lowercase();
        let power =
            |letter: &str| "kmgtpe".find(letter).map(|at| u32::try_from(at).unwrap_or(0) + 1);
        match unit.as_str() {
            "b" | "bytes" | "byte" => Some(1),
            _ => match unit.strip_suffix("ib") {
                Some(letter) => Some(1024_u128.pow(power(letter).filter(|_| letter.len() == 1)?)),
                None => match unit.strip_suffix('b') {
                    Some(letter) => {
                        Some(1000_u128.pow(power(letter).filter(|_| letter.len() == 1)?))
                    }
                    None => Some(1024_u128.pow(power(&unit).filter(|_| unit.len() == 1)?)),
                },
            },
        }
    };
    let bytes = u128::from(number).checked_mul(bytes(unit.unwrap_or("KiB"))?)?;
    u64::try_from(bytes.div_ceil(1024)).ok()
}
