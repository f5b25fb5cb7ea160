//! Sides of one comparison, measured in turn: A B A B, so that other load on the machine affects all of
//! them alike.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// One side: a name, and work that returns its duration.
pub(crate) struct Side<'a> {
    name: String,
    work: Box<dyn FnMut() -> Result<Duration> + 'a>,
}

impl<'a> Side<'a> {
    /// A side whose work is timed as a whole.
    pub(crate) fn timed<T>(
        name: impl Into<String>,
        mut work: impl FnMut() -> Result<T> + 'a,
    ) -> Side<'a> {
        Side::new(name, move || {
            let began = Instant::now();
            let result = work()?;
            let elapsed = began.elapsed();
            // The result is dropped outside the timed region.
            drop(std::hint::black_box(result));
            Ok(elapsed)
        })
    }

    /// A side whose work is repeated for 20 ms, so that it runs with its own data in the processor's
    /// caches.
    pub(crate) fn repeated<T>(
        name: impl Into<String>,
        mut work: impl FnMut() -> Result<T> + 'a,
    ) -> Side<'a> {
        const REPEAT_FOR: Duration = Duration::from_millis(20);
        Side::new(name, move || {
            let (mut elapsed, mut count) = (Duration::ZERO, 0);
            while elapsed < REPEAT_FOR {
                let began = Instant::now();
                let result = work()?;
                elapsed += began.elapsed();
                drop(std::hint::black_box(result));
                count += 1;
            }
            Ok(elapsed / count)
        })
    }

    /// A side that times itself.
    pub(crate) fn new(
        name: impl Into<String>,
        work: impl FnMut() -> Result<Duration> + 'a,
    ) -> Side<'a> {
        Side { name: name.into(), work: Box::new(work) }
    }
}

/// The durations of one side, in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Samples {
    pub(crate) name: String,
    pub(crate) median: f64,
    /// The 10th and the 90th percentile.
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) rounds: usize,
}

impl Samples {
    fn of(name: String, mut seconds: Vec<f64>) -> Samples {
        seconds.sort_by(f64::total_cmp);
        let at = |part: usize| seconds[(seconds.len() - 1) * part / 100];
        Samples { name, median: at(50), low: at(10), high: at(90), rounds: seconds.len() }
    }

    /// Divides the durations by `count`.
    pub(crate) fn divided(self, count: u32) -> Samples {
        let count = f64::from(count);
        Samples {
            median: self.median / count,
            low: self.low / count,
            high: self.high / count,
            ..self
        }
    }
}

/// Runs all sides once unmeasured, then `rounds` times in turn; the order is reversed every other
/// round, so that none is always first.
pub(crate) fn in_turn(rounds: usize, mut sides: Vec<Side<'_>>) -> Result<Vec<Samples>> {
    let mut seconds = vec![Vec::with_capacity(rounds); sides.len()];
    for side in &mut sides {
        (side.work)()?;
    }
    for round in 0..rounds {
        let forward = round % 2 == 0;
        for turn in 0..sides.len() {
            let index = if forward { turn } else { sides.len() - 1 - turn };
            seconds[index].push((sides[index].work)()?.as_secs_f64());
        }
    }
    Ok(sides.into_iter().zip(seconds).map(|(side, times)| Samples::of(side.name, times)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_median_and_the_spread() {
        let seconds = (1..=101).rev().map(f64::from).collect();
        let samples = Samples::of("side".to_owned(), seconds);
        assert_eq!((samples.low, samples.median, samples.high), (11.0, 51.0, 91.0));
        assert_eq!(samples.rounds, 101);
    }

    #[test]
    fn every_side_runs_once_a_round_and_once_before() {
        let counts = std::cell::RefCell::new([0; 2]);
        let side = |index: usize| {
            let counts = &counts;
            Side::new(index.to_string(), move || {
                counts.borrow_mut()[index] += 1;
                Ok(Duration::from_secs(index as u64))
            })
        };
        let samples = in_turn(4, vec![side(0), side(1)]).expect("no work fails");
        assert_eq!(*counts.borrow(), [5, 5]);
        assert_eq!((samples[1].median, samples[1].rounds), (1.0, 4));
    }
}
