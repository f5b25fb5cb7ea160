//! The clock.

use std::time::UNIX_EPOCH;

use super::{calendar, timers};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// The largest time that libvirt can write: the end of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;

/// Adds clock and timers.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut list = List::default();
    let clock = cx.domain.child("clock");
    let words = ["utc", "localtime", "timezone", "variable", "absolute"];
    let offset = clock.map(|clock| clock.one_of("@offset", &words)).transpose()?.flatten();
    let base = match (clock, offset) {
        (Some(clock), Some("variable")) => variable(cx, clock, "@basis")?,
        (Some(clock), Some("absolute")) => {
            clock.require("@start")?;
            let start: Option<i64> = clock.number("@start")?;
            format(clock, start.unwrap_or(0))?
        }
        (Some(clock), Some("timezone")) => {
            clock.require("@timezone")?;
            "localtime".to_owned()
        }
        (Some(clock), _) => match clock.text("@adjustment") {
            // The time is reset when the guest starts anew, which does not change how it starts.
            None | Some("reset") if offset == Some("localtime") => "localtime".to_owned(),
            None | Some("reset") => "utc".to_owned(),
            Some(_) => variable(cx, clock, "@offset")?,
        },
        (None, _) => "utc".to_owned(),
    };
    list.set("base", base);
    timers::add_rtc(cx, &mut list)?;
    args.option("-rtc", list);
    if let (Some(clock), Some("timezone")) = (clock, offset) {
        args.variable("TZ", clock.require("@timezone")?);
    }
    timers::add(cx, args)
}

/// Returns the time that differs from the host's.
fn variable(cx: &Context<'_>, clock: View<'_>, basis: &str) -> Result<String, Error> {
    let adjustment = match clock.text("@adjustment").map(str::parse::<i64>) {
        None => 0,
        Some(Ok(adjustment)) => adjustment,
        Some(Err(_)) => return Err(clock.invalid("@adjustment", "use a number of seconds")),
    };
    // That of a guest that runs.
    clock.ignore(&["@adjustment0"]);
    let words: &[&str] = if basis == "@basis" { &["utc"] } else { &["utc", "variable"] };
    clock.one_of(basis, words)?;
    let now = cx.host.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let then = i64::try_from(now).ok().and_then(|now| now.checked_add(adjustment));
    format(clock, then.unwrap_or(i64::MAX))
}

fn format(clock: View<'_>, seconds: i64) -> Result<String, Error> {
    match seconds {
        0..=MAX_SECONDS => Ok(calendar::format(seconds)),
        _ => Err(clock.unsupported("", "the time is not in the years from 1970 to 9999")),
    }
}
