//! The host's CPUs of single threads.

use std::collections::BTreeSet;

use super::{bitmap, iothreads};
use crate::command::Setup;
use crate::command::args::Args;
use crate::command::setup::Thread;
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Adds the settings of threads that run on CPUs of their own; no option has these.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if let Some(cpus) = emulator(cx)? {
        args.setup(Setup::Pin { thread: Thread::Emulator, cpus });
    }
    let Some(view) = cx.domain.child("cputune") else { return Ok(()) };
    let mut seen = BTreeSet::new();
    for pin in view.children("vcpupin") {
        let number = pin.number("@vcpu")?.filter(|number| *number < cx.guest.vcpus);
        let number = number.ok_or_else(|| pin.invalid("@vcpu", "the guest has no such CPU"))?;
        let thread = Thread::Vcpu(number);
        add_pin(pin, "@vcpu", thread, &mut seen, args)?;
    }
    for pin in view.children("iothreadpin") {
        let number: u32 = pin.number("@iothread")?.unwrap_or(0);
        if !iothreads::exists(cx, number)? {
            return Err(pin.invalid("@iothread", "the guest has no such I/O thread; add it"));
        }
        add_pin(pin, "@iothread", Thread::IoThread(number), &mut seen, args)?;
    }
    Ok(())
}

fn add_pin(
    pin: View<'_>,
    place: &str,
    thread: Thread,
    seen: &mut BTreeSet<Thread>,
    args: &mut Args,
) -> Result<(), Error> {
    if !seen.insert(thread) {
        return Err(pin.invalid(place, "the thread is there twice; remove one"));
    }
    args.setup(Setup::Pin { thread, cpus: cpus(pin)? });
    Ok(())
}

/// Returns the CPUs of the threads of the emulator itself, in order.
pub(super) fn emulator(cx: &Context<'_>) -> Result<Option<Vec<u32>>, Error> {
    let Some(view) = cx.domain.child("cputune") else { return Ok(None) };
    let mut pins = view.children("emulatorpin");
    let cpus = pins.next().map(cpus).transpose()?;
    match pins.next() {
        Some(other) => Err(other.invalid("", "there is one before it; remove one")),
        None => Ok(cpus),
    }
}

fn cpus(pin: View<'_>) -> Result<Vec<u32>, Error> {
    let list = pin.require("@cpuset")?;
    let wrong = || pin.invalid("@cpuset", format!("{list:?} is not a list of CPUs"));
    bitmap::parse(list).ok_or_else(wrong)
}
