//! The CPU model of a guest that names none.

use capscache_devaddr::Family;
use capscache_domain::DomainType;
use capscache_format::{Accelerated, Machine};

use super::names;
use crate::context::Context;

/// Returns the name of the default CPU model of the machine, in libvirt's words.
pub(super) fn name<'a>(cx: &Context<'a>) -> Option<&'a str> {
    let is_hardware = cx.guest.r#type != DomainType::Qemu;
    let has_models = match cx.machine.family {
        Family::X86 | Family::S390 | Family::Ppc64 => true,
        Family::Arm | Family::Loongarch => !is_hardware,
        Family::Riscv => cx.machine.arch == "riscv64" && !is_hardware,
        Family::Ppc | Family::Other => false,
    };
    if !has_models {
        return None;
    }
    let r#type = cx.machine_type().and_then(Machine::default_cpu_type);
    let mut models = cx.accelerated().into_iter().flat_map(Accelerated::cpu_models);
    let model = models.find(|model| model.typename().is_some() && model.typename() == r#type);
    model.map(|model| names::of_model(cx, model.name()))
}
