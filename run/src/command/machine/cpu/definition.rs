//! The CPU that a guest describes, as libvirt completes it.

use capscache_devaddr::{Board, Family};
use capscache_domain::DomainType;
use capscache_format::Accelerated;
use capscache_libvirt::Policy;

use super::completed::Cpu;
use super::host_model::Host;
use super::mode::Mode;
use super::request::{self, Request};
use super::{check, default, host, model, names, x86};
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Reads the CPU of a guest; `None` if it has none and the machine no default one.
pub(super) fn read<'a>(cx: &Context<'a>) -> Result<Option<Cpu<'a>>, Error> {
    let Some(view) = cx.domain.child("cpu") else { return complete_default(cx, None) };
    let mode =
        match view.one_of("@mode", &["custom", "host-passthrough", "maximum", "host-model"])? {
            Some("host-passthrough") => Mode::Passthrough,
            Some("maximum") => Mode::Maximum,
            Some("host-model") => Mode::HostModel,
            _ => Mode::Custom,
        };
    if !mode.is_of_host() && view.peek("@migratable").is_some() {
        let what = "only the modes host-passthrough and maximum have it; remove it";
        return Err(view.invalid("@migratable", what));
    }
    // libvirt reads an element without text as none.
    let has = |place| view.text(place).is_some_and(|text| !text.is_empty());
    if has("vendor") && !has("model") {
        return Err(view.invalid("vendor", "a vendor needs a model; name one"));
    }
    let mut cpu = match mode {
        Mode::Custom if !has("model") => return complete_default(cx, Some(view)),
        Mode::Custom => custom(cx, view)?,
        Mode::HostModel => host_model(cx, view)?,
        Mode::Passthrough | Mode::Maximum => of_host(cx, view, mode)?,
    };
    if cx.machine.family == Family::X86 {
        cpu.features.retain(|(name, _)| !x86::IGNORED.contains(&name.as_str()));
    }
    drop_deprecated(cx, view, &mut cpu)?;
    Ok(Some(cpu))
}

/// Returns the default CPU. The element has no model, but may have a topology.
fn complete_default<'a>(
    cx: &Context<'a>,
    view: Option<View<'a>>,
) -> Result<Option<Cpu<'a>>, Error> {
    if let Some(view) = view {
        if view.has("feature") {
            let what = "features of a CPU need a model; name one";
            return Err(view.invalid("feature", what));
        }
        view.ignore(&["@match", "@check", "model", "model@fallback"]);
    }
    let Some(name) = default::name(cx) else { return Ok(None) };
    let plain = Cpu {
        mode: Mode::Custom,
        name: name.to_owned(),
        vendor_id: view.map(vendor_id).transpose()?.flatten(),
        migratable: None,
        features: Vec::new(),
    };
    let mut cpu = match name {
        "host" if cx.guest.r#type != DomainType::Kvm => {
            let what = "the machine has no default CPU without KVM; name a model";
            return Err(cx.domain.invalid("cpu", what));
        }
        "host" if cx.machine.family == Family::S390 => host::s390(cx)?,
        "host" => Cpu { mode: Mode::Passthrough, migratable: default_migratable(cx), ..plain },
        _ => plain,
    };
    if let Some(view) = view {
        drop_deprecated(cx, view, &mut cpu)?;
    }
    Ok(Some(cpu))
}

/// Returns the CPU of the host, or the best of the emulator.
fn of_host<'a>(cx: &Context<'a>, view: View<'a>, mode: Mode) -> Result<Cpu<'a>, Error> {
    if mode == Mode::Passthrough && cx.guest.r#type == DomainType::Qemu {
        let what = "only accelerated guests can have the CPU of the host; use another mode";
        return Err(view.invalid("@mode", what));
    }
    if mode == Mode::Maximum && cx.accelerated().is_none_or(|a| a.cpu_model("max").is_err()) {
        return Err(view.lacks("@mode", "the CPU model max"));
    }
    check::read(cx, view, mode)?;
    let own = view.switch("@migratable")?;
    if own == Some(true) && mode == Mode::Passthrough && !has_migratable(cx) {
        return Err(view.lacks("@migratable", "the property migratable of CPUs"));
    }
    let default = if mode == Mode::Passthrough { default_migratable(cx) } else { None };
    // libvirt reads the model, and does not use it.
    view.ignore(&["@match", "model", "model@fallback", "model@vendor_id", "vendor"]);
    Ok(Cpu {
        mode,
        name: if mode == Mode::Maximum { "max" } else { "host" }.to_owned(),
        vendor_id: None,
        migratable: own.filter(|_| has_migratable(cx)).or(default),
        features: features(cx, view)?,
    })
}

fn default_migratable(cx: &Context<'_>) -> Option<bool> {
    has_migratable(cx).then_some(true)
}

fn has_migratable(cx: &Context<'_>) -> bool {
    ["max-x86_64-cpu", "max-arm-cpu"]
        .iter()
        .any(|cpu| cx.entry.object(cpu).and_then(|object| object.property("migratable")).is_ok())
}

/// Returns a CPU model by its name.
fn custom<'a>(cx: &Context<'a>, view: View<'a>) -> Result<Cpu<'a>, Error> {
    let model = view.require("model")?;
    if cx.machine.family == Family::X86 {
        if !x86::is_model(model) {
            return Err(view.invalid("model", format!("{model:?} is not a CPU model of libvirt")));
        }
        return of_x86(cx, view, Mode::Custom);
    }
    let name = match model {
        "POWER7_v2.1" | "POWER7_v2.3" | "POWER7+_v2.1" if cx.machine.family == Family::Ppc64 => {
            "POWER7"
        }
        "POWER8_v1.0" if cx.machine.family == Family::Ppc64 => "POWER8",
        other => other,
    };
    check_machine(cx, view)?;
    let mut models = cx.accelerated().into_iter().flat_map(Accelerated::cpu_models);
    if !models.any(|model| names::of_model(cx, model.name()) == name) {
        view.one_of("model@fallback", &["allow", "forbid"])?;
        return Err(view.lacks("model", format!("the CPU model {name}; use another")));
    }
    view.one_of("model@fallback", &["allow", "forbid"])?;
    check::matching(cx, view)?;
    let features = features(cx, view)?;
    check::check(cx, view)?;
    let name = name.to_owned();
    let vendor_id = vendor_id(view)?;
    Ok(Cpu { mode: Mode::Custom, name, vendor_id, migratable: None, features })
}

/// Returns a CPU model of x86.
fn of_x86<'a>(cx: &Context<'a>, view: View<'a>, mode: Mode) -> Result<Cpu<'a>, Error> {
    let is_checked = check::read(cx, view, mode)?;
    let request = Request::read(view, mode)?;
    let cpu = model::complete(cx, view, &request, is_checked)?;
    let vendor_id = vendor_id(view)?;
    let (name, features) = (cpu.model, cpu.features);
    Ok(Cpu { mode: Mode::Custom, name, vendor_id, migratable: None, features })
}

/// Checks that the machine has CPU models under KVM: the first ones of s390 do not.
fn check_machine(cx: &Context<'_>, view: View<'_>) -> Result<(), Error> {
    let old = ["2.4", "2.5", "2.6", "2.7"];
    let version = cx.machine.name.strip_prefix("s390-ccw-virtio-");
    let is_old = cx.machine.board == Board::Ccw && version.is_some_and(|v| old.contains(&v));
    if is_old && cx.guest.r#type == DomainType::Kvm {
        let what = "this machine type has only the CPU of the host; use host-passthrough";
        return Err(view.invalid("@mode", what));
    }
    Ok(())
}

/// The length of a vendor in CPUID.
const VENDOR_BYTES: usize = 12;

fn vendor_id(view: View<'_>) -> Result<Option<&str>, Error> {
    let Some(vendor) = view.text("model@vendor_id") else { return Ok(None) };
    if vendor.len() != VENDOR_BYTES || vendor.contains(',') {
        let what = format!("a vendor has {VENDOR_BYTES} characters, and no comma");
        return Err(view.invalid("model@vendor_id", what));
    }
    Ok(Some(vendor))
}

/// Returns a model close to the CPU of the host.
fn host_model<'a>(cx: &Context<'a>, view: View<'a>) -> Result<Cpu<'a>, Error> {
    if cx.machine.family == Family::X86 {
        return of_x86(cx, view, Mode::HostModel);
    }
    check_machine(cx, view)?;
    check::read(cx, view, Mode::HostModel)?;
    view.ignore(&["@match"]);
    let mut cpu = match cx.machine.family {
        Family::S390 => host::s390(cx)?,
        Family::Ppc64 => {
            // The model is an option of the machine.
            let name = "host".to_owned();
            let (vendor_id, features) = (None, Vec::new());
            Cpu { mode: Mode::HostModel, name, vendor_id, migratable: None, features }
        }
        _ => {
            let what = "the emulator reports no model here; name one, or use host-passthrough";
            return Err(view.invalid("@mode", what));
        }
    };
    if view.has("model") {
        view.one_of("model@fallback", &["allow", "forbid"])?;
        // It is that of the host.
        if cx.machine.family != Family::Ppc64 {
            view.ignore(&["model"]);
        }
    }
    cpu.vendor_id = vendor_id(view)?;
    for (name, is_on) in features(cx, view)? {
        cpu.set(&name, is_on);
    }
    Ok(cpu)
}

/// Returns the model with which the CPU of the host is compatible, an option of pseries.
pub(in crate::command::machine) fn compatibility<'a>(cx: &Context<'a>) -> Option<&'a str> {
    let view = cx.domain.child("cpu")?;
    let is_host_model = view.text("@mode") == Some("host-model");
    if !is_host_model || cx.machine.board != Board::Pseries {
        return None;
    }
    view.text("model")
}

/// Turns features off that the emulator reports as deprecated, if the guest requires it.
fn drop_deprecated(cx: &Context<'_>, view: View<'_>, cpu: &mut Cpu<'_>) -> Result<(), Error> {
    let Some(is_on) = view.switch("@deprecated_features")? else { return Ok(()) };
    let deprecated = host::deprecated(cx);
    let Some(deprecated) = deprecated else {
        return Err(view.lacks("@deprecated_features", "a list of deprecated features"));
    };
    for feature in deprecated.iter().filter(|_| !is_on) {
        cpu.set(feature, false);
    }
    Ok(())
}

/// Returns the features that an element names, in its order.
fn features(cx: &Context<'_>, view: View<'_>) -> Result<Vec<(String, bool)>, Error> {
    let mut features: Vec<(String, bool)> = Vec::new();
    let own = request::features(view)?;
    if cx.machine.family == Family::X86 {
        let names: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        Host::new(cx, view).check_features(&names)?;
    }
    for (name, policy) in own {
        let is_on = match policy {
            Policy::Forbid if view.peek("@check") != Some("none") => {
                let what = "the policy forbid is supported with check='none' only; use disable";
                return Err(view.unsupported("feature", what));
            }
            Policy::Disable | Policy::Forbid => false,
            Policy::Require | Policy::Force => true,
            // The CPU is not compared with the host's, and QEMU decides.
            Policy::Optional if cx.machine.family == Family::X86 => continue,
            Policy::Optional => {
                let what = "the policy optional is not supported here; use another";
                return Err(view.unsupported("feature", what));
            }
        };
        features.push((name, is_on));
    }
    if cx.machine.family == Family::Arm {
        add_vectors(view, &mut features)?;
    }
    Ok(features)
}

/// Adds vectors of Arm, of which a guest names lengths.
fn add_vectors(view: View<'_>, features: &mut Vec<(String, bool)>) -> Result<(), Error> {
    let is_length = |name: &str| {
        let length = name.strip_prefix("sve").and_then(|length| length.parse::<u32>().ok());
        length.is_some_and(|length| (128..=2048).contains(&length) && length % 128 == 0)
    };
    for (name, _) in features.iter() {
        if !is_length(name) && !["sve", "pauth"].contains(&name.as_str()) {
            let what = format!("{name:?} is not a feature of Arm that libvirt has");
            return Err(view.invalid("feature", what));
        }
    }
    if !features.iter().any(|(name, _)| is_length(name)) {
        return Ok(());
    }
    match features.iter().find(|(name, _)| name == "sve") {
        Some((_, false)) => Err(view.invalid("feature", "lengths of vectors need the feature sve")),
        Some(_) => Ok(()),
        None => {
            features.push(("sve".to_owned(), true));
            Ok(())
        }
    }
}
