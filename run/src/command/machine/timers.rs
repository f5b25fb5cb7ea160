//! Timers that are not part of the CPU.

use capscache_devaddr::Family;

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Returns the timers.
pub(super) fn all<'a>(cx: &Context<'a>) -> impl Iterator<Item = View<'a>> + use<'a> {
    cx.domain.child("clock").into_iter().flat_map(|clock| clock.children("timer"))
}

/// Adds the options of the clock that are those of its timer.
pub(super) fn add_rtc(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let mut clocks = all(cx).filter(|timer| timer.text("@name") == Some("rtc"));
    let Some(timer) = clocks.next() else { return Ok(()) };
    if let Some(other) = clocks.next() {
        return Err(other.unsupported("", "a guest has one such timer"));
    }
    match timer.one_of("@track", &["guest", "wall", "realtime"])? {
        Some("guest") => list.set("clock", "vm"),
        Some("wall") => list.set("clock", "host"),
        Some(_) => list.set("clock", "rt"),
        None => {}
    }
    if timer.one_of("@tickpolicy", &["delay", "catchup"])? == Some("catchup") {
        list.set("driftfix", "slew");
    }
    Ok(())
}

/// Adds timers.
pub(super) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    all(cx).try_for_each(|timer| add_one(cx, timer, args))
}

fn add_one(cx: &Context<'_>, timer: View<'_>, args: &mut Args) -> Result<(), Error> {
    let name = timer.require("@name")?;
    // QEMU does not have these for any timer.
    timer.one_of("@mode", &["auto", "native", "emulate", "paravirt", "smpsafe"])?;
    timer.ignore(&["catchup", "catchup@threshold", "catchup@slew", "catchup@limit"]);
    match name {
        "pit" => add_pit(cx, timer, args),
        "hpet" => add_hpet(cx, timer, args),
        "rtc" => timer.yes_no("@present").map(|_| ()),
        // The CPU has them.
        "tsc" | "kvmclock" | "hypervclock" | "armvtimer" => Ok(()),
        _ => Err(timer.invalid("@name", format!("{name:?} is not a timer of QEMU; remove it"))),
    }
}

fn add_pit(cx: &Context<'_>, timer: View<'_>, args: &mut Args) -> Result<(), Error> {
    timer.yes_no("@present")?;
    let policy = timer.one_of("@tickpolicy", &["delay", "catchup", "discard"])?;
    let has_policy = cx.has_flag("kvm-pit-lost-tick-policy");
    match policy.unwrap_or("delay") {
        "catchup" if !has_policy => Err(timer.lacks("@tickpolicy", "the policy catchup")),
        "catchup" => Ok(()),
        policy if has_policy => {
            args.option("-global", format_args!("kvm-pit.lost_tick_policy={policy}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn add_hpet(cx: &Context<'_>, timer: View<'_>, args: &mut Args) -> Result<(), Error> {
    let is_x86 = cx.machine.family == Family::X86;
    match timer.yes_no("@present")? {
        Some(true) if !is_x86 => {
            Err(timer.invalid("@present", "only x86 has this timer; remove it"))
        }
        Some(false) if is_x86 && !cx.has_flag("machine-hpet") => {
            args.flag("-no-hpet");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Adds whether the machine has its timer for events of high precision, which older emulators have an option for.
pub(super) fn add_machine(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    for timer in all(cx).filter(|timer| timer.text("@name") == Some("hpet")) {
        let is_present = timer.yes_no("@present")?;
        if let Some(is_present) = is_present.filter(|_| cx.has_flag("machine-hpet")) {
            list.set_switch("hpet", is_present);
        }
    }
    Ok(())
}
