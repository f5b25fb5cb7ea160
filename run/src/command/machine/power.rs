//! Power management, and what happens after events.

use capscache_devaddr::Family;

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;

/// Adds power management.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    args.flag("-no-shutdown");
    let is_reported = cx.machine_type().is_some_and(|machine| machine.acpi().is_some());
    let has_option = cx.machine.family == Family::X86 || cx.machine.arch == "aarch64";
    if !is_reported && has_option && !cx.domain.has("features/acpi") {
        args.flag("-no-acpi");
    }
    add_sleep(cx, args)?;
    read_events(cx)
}

/// Adds the sleep states.
fn add_sleep(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let device = if cx.machine.is_q35() { "ICH9-LPC" } else { "PIIX4_PM" };
    for (place, property) in
        [("pm/suspend-to-mem", "disable_s3"), ("pm/suspend-to-disk", "disable_s4")]
    {
        let Some(is_enabled) = cx.domain.yes_no(&format!("{place}@enabled"))? else { continue };
        if cx.machine.family != Family::X86 {
            return Err(cx.domain.invalid(place, "only x86 has sleep states; remove it"));
        }
        let value = format!("{device}.{property}={}", u8::from(!is_enabled));
        args.option("-global", value);
    }
    Ok(())
}

/// Reads the actions after events. They do not change the command line: the program that runs the guest carries them
/// out.
fn read_events(cx: &Context<'_>) -> Result<(), Error> {
    let domain = cx.domain;
    let actions = ["destroy", "restart"];
    let poweroff = domain.one_of("on_poweroff", &actions)?;
    let reboot = domain.one_of("on_reboot", &actions)?;
    let after_crash = ["destroy", "restart", "preserve", "coredump-destroy", "coredump-restart"];
    domain.one_of("on_crash", &after_crash)?;
    if (poweroff, reboot) == (Some("restart"), Some("destroy")) {
        let what = "a guest that restarts after it was powered off restarts after a reboot too";
        return Err(domain.invalid("on_reboot", what));
    }
    Ok(())
}
