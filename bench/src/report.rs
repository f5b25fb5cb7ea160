//! The results: a table for people, JSON for scripts.

use std::fmt::Write;

use serde::Serialize;

use crate::host::Host;
use crate::measure::Samples;

/// The results of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) host: Host,
    pub(crate) quick: bool,
    pub(crate) works: Vec<Work>,
}

/// One piece of work, measured on several sides.
#[derive(Debug, Serialize)]
pub(crate) struct Work {
    /// A short name, also that of its plot.
    pub(crate) name: &'static str,
    /// A description of the work.
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) sides: Vec<Samples>,
    pub(crate) bars: Vec<Bar>,
    /// Sides that could not be measured on this host, with the reasons.
    pub(crate) skipped: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
}

/// A target for a figure.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) limit: Limit,
    pub(crate) met: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    pub(crate) fn new(what: impl Into<String>, value: f64, limit: Limit) -> Bar {
        let met = match limit {
            Limit::AtLeast(least) => value >= least,
            Limit::AtMost(most) => value <= most,
        };
        Bar { what: what.into(), value, limit, met }
    }
}

impl Work {
    pub(crate) fn new(name: &'static str, what: impl Into<String>, unit: Unit) -> Work {
        Work {
            name,
            what: what.into(),
            unit,
            sides: Vec::new(),
            bars: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// The median of a side.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.sides.iter().find(|side| side.name == name).map(|side| side.median)
    }

    /// Adds a target for the ratio of two sides, if both were measured.
    pub(crate) fn add_bar(&mut self, slow: &str, fast: &str, limit: Limit) {
        if let (Some(slower), Some(faster)) = (self.median(slow), self.median(fast)) {
            self.bars.push(Bar::new(format!("{slow} / {fast}"), slower / faster, limit));
        }
    }

    fn table(&self) -> String {
        let mut text = format!("{}: {}\n", self.name, self.what);
        let best = self.sides.iter().map(|side| side.median).fold(f64::INFINITY, f64::min);
        let width = self.sides.iter().map(|side| side.name.chars().count()).max().unwrap_or(0);
        for side in &self.sides {
            let [median, low, high] =
                [side.median, side.low, side.high].map(|value| amount(value, self.unit));
            let times = side.median / best;
            let _ = writeln!(
                text,
                "  {:<width$}  {median:>10}  ({low} … {high})  {times:>8.2} ×",
                side.name
            );
        }
        for bar in &self.bars {
            let (word, limit) = match bar.limit {
                Limit::AtLeast(least) => ("at least", least),
                Limit::AtMost(most) => ("at most", most),
            };
            let verdict = if bar.met { "reached" } else { "MISSED" };
            let _ = writeln!(text, "  {}: {:.3}, {word} {limit}: {verdict}", bar.what, bar.value);
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "  SKIPPED: {skipped}");
        }
        text
    }
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n", self.host.line());
        if self.quick {
            text.push_str("quick: few rounds, not for publication\n");
        }
        for work in &self.works {
            let _ = write!(text, "\n{}", work.table());
        }
        let bars = self.works.iter().flat_map(|work| &work.bars);
        let missed: Vec<&str> = bars.filter(|bar| !bar.met).map(|bar| bar.what.as_str()).collect();
        let verdict = if missed.is_empty() {
            "every bar that could be measured was reached".to_owned()
        } else {
            format!("missed: {}", missed.join(", "))
        };
        let _ = writeln!(text, "\n{verdict}");
        text
    }
}

/// Formats a time or a size with three significant digits.
pub(crate) fn amount(value: f64, unit: Unit) -> String {
    let steps: &[(f64, &str)] = match unit {
        Unit::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
        Unit::Bytes => &[(1e6, "MB"), (1e3, "kB"), (1.0, "B")],
    };
    let (scale, name) = steps
        .iter()
        .find(|(scale, _)| value.abs() >= *scale)
        .or(steps.last())
        .copied()
        .unwrap_or((1.0, ""));
    let scaled = value / scale;
    let digits = if scaled >= 99.95 {
        0
    } else if scaled >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_significant_digits() {
        let seconds = |value| amount(value, Unit::Seconds);
        assert_eq!(seconds(0.000_002_345), "2.35 µs");
        assert_eq!(seconds(0.0999), "99.9 ms");
        assert_eq!(seconds(0.09996), "100 ms");
        assert_eq!(seconds(12.0), "12.0 s");
        assert_eq!(amount(209_000.0, Unit::Bytes), "209 kB");
        assert_eq!(amount(0.0, Unit::Bytes), "0.00 B");
    }

    #[test]
    fn the_table_reports_a_missed_bar_and_a_skipped_side() {
        assert!(Bar::new("hit", 7.9, Limit::AtMost(8.0)).met);
        let missed = Bar::new("open", 99.0, Limit::AtLeast(100.0));
        assert!(!missed.met);
        let mut work = Work::new("open", "opens", Unit::Seconds);
        work.bars.push(missed);
        work.skipped.push("libvirt is not installed".to_owned());
        let table = work.table();
        assert!(table.contains("open: 99.000, at least 100: MISSED"), "{table}");
        assert!(table.contains("SKIPPED: libvirt is not installed"), "{table}");
    }
}
