//! Features of the guest that are flags of its CPU.

use capscache_devaddr::{Board, Family};
use capscache_domain::{DeviceKind, DomainType, Kind, PanicModel};

use super::completed::Cpu;
use super::{hyperv, physical};
use crate::command::machine::timers;
use crate::context::Context;
use crate::error::Error;
use crate::props::List;

/// Adds flags of the CPU.
pub(super) fn add(cx: &Context<'_>, cpu: Option<&Cpu<'_>>, list: &mut List) -> Result<(), Error> {
    add_timers(cx, list)?;
    add_apic(cx, list)?;
    add_spinlocks(cx, list)?;
    hyperv::add(cx, list)?;
    let is_hyperv = |kind: &DeviceKind| matches!(kind, DeviceKind::Panic(panic) if panic.model == Some(PanicModel::Hyperv));
    if cx.of(Kind::Panic).any(|device| is_hyperv(device.kind())) {
        list.push("hv-crash");
    }
    add_kvm(cx, list)?;
    add_pmu(cx, list)?;
    physical::add_cache(cx, cpu, list)?;
    physical::add_address(cx, list)
}

/// Adds timers that are part of the CPU.
fn add_timers(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    for timer in timers::all(cx) {
        let name = timer.require("@name")?;
        match name {
            "kvmclock" => {
                if let Some(is_present) = timer.yes_no("@present")? {
                    list.set_switch("kvmclock", is_present);
                }
            }
            "hypervclock" if timer.yes_no("@present")? == Some(true) => {
                list.set_switch("hv-time", true);
            }
            "tsc" => {
                timer.yes_no("@present")?;
                let frequency: Option<u64> = timer.number("@frequency")?;
                if let Some(frequency) = frequency.filter(|frequency| *frequency > 0) {
                    list.set("tsc-frequency", frequency);
                }
            }
            "armvtimer" => {
                let is_virt = (cx.machine.family, cx.machine.board) == (Family::Arm, Board::Virt);
                if !is_virt || cx.guest.r#type != DomainType::Kvm {
                    return Err(timer.invalid("@name", "only Arm's virt machine under KVM has it"));
                }
                if timer.yes_no("@present")? == Some(false) {
                    return Err(timer.invalid("@present", "this timer cannot be taken away"));
                }
                match timer.one_of("@tickpolicy", &["delay", "discard"])? {
                    Some("delay") => list.set_switch("kvm-no-adjvtime", false),
                    Some(_) => list.set_switch("kvm-no-adjvtime", true),
                    None => {}
                }
            }
            _ => {}
        }
        let is_x86 = cx.machine.family == Family::X86;
        if matches!(name, "tsc" | "kvmclock" | "hypervclock")
            && !is_x86
            && timer.yes_no("@present")? == Some(true)
        {
            return Err(timer.invalid("@name", "only x86 has this timer; remove it"));
        }
    }
    Ok(())
}

fn add_apic(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    if let Some(is_on) = cx.domain.switch("features/apic@eoi")? {
        check_x86(cx, "features/apic@eoi")?;
        list.set_switch("kvm-pv-eoi", is_on);
    }
    Ok(())
}

fn add_spinlocks(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    if cx.domain.has("features/pvspinlock") {
        check_x86(cx, "features/pvspinlock")?;
        let state = cx.domain.switch("features/pvspinlock@state")?;
        list.set_switch("kvm-pv-unhalt", state.unwrap_or(true));
    }
    Ok(())
}

fn check_x86(cx: &Context<'_>, place: &str) -> Result<(), Error> {
    match cx.machine.family {
        Family::X86 => Ok(()),
        _ => Err(cx.domain.invalid(place, "only x86 has it; remove it")),
    }
}

/// Adds features of KVM.
fn add_kvm(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    let Some(kvm) = cx.domain.child("features").and_then(|features| features.child("kvm")) else {
        return Ok(());
    };
    let state = |name: &str| {
        if kvm.has(name) {
            kvm.require(&format!("{name}@state"))?;
        }
        kvm.switch(&format!("{name}@state"))
    };
    if state("hidden")? == Some(true) {
        list.set_switch("kvm", false);
    }
    if state("hint-dedicated")? == Some(true) {
        list.set_switch("kvm-hint-dedicated", true);
    }
    if state("poll-control")? == Some(true) {
        list.set_switch("kvm-poll-control", true);
    }
    if state("pv-ipi")? == Some(false) {
        list.set_switch("kvm-pv-ipi", false);
    }
    Ok(())
}

/// Adds the unit that counts events; pseries always has one, and no flag for it.
fn add_pmu(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    if !cx.domain.has("features/pmu") {
        return Ok(());
    }
    let is_on = cx.domain.switch("features/pmu@state")?.unwrap_or(true);
    match cx.machine.family {
        Family::Ppc64 if is_on => {}
        Family::Ppc64 => {
            let what = "ppc64 always has it; remove the element";
            return Err(cx.domain.invalid("features/pmu@state", what));
        }
        _ => list.set_switch("pmu", is_on),
    }
    Ok(())
}
