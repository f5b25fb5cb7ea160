//! The text of `/proc/PID/stat`, see proc_pid_stat(5).

/// The position of the time of the start after the name of the program.
const START_TIME: usize = 20;

/// Returns the number of a process and the time of its start: no other process of this boot has both. Does not allocate.
pub(crate) fn identity(stat: &[u8]) -> Option<(&[u8], &[u8])> {
    let pid = stat.split(|byte| *byte == b' ').next()?;
    // The name of the program may contain anything.
    let rest = stat.get(stat.iter().rposition(|byte| *byte == b')')?..)?;
    Some((pid, rest.split(|byte| *byte == b' ').nth(START_TIME)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_after_any_name() {
        let stat = b"7 (a) b) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n";
        assert_eq!(identity(stat), Some((&b"7"[..], &b"22"[..])));
        assert_eq!(identity(b"7 (a) S 4\n"), None);
    }
}
