use std::time::{Duration, Instant};

/// Time within which everything that a test waits for happens, on the slowest machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until a condition is true.
pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
