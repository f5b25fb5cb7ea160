//! TPMs.

use capscache_devaddr::Family;
use capscache_domain::{Kind, TpmModel};

use super::chardev::{self, Chardev};
use crate::command::address;
use crate::command::args::Args;
use crate::command::{Setup, Swtpm};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::host::Descriptor;
use crate::props::{List, Props};
use crate::uuid;
use crate::view::View;

/// The id of the connection to the emulator of a TPM.
const CHARDEV: &str = "chrtpm";

/// The device of the host of a TPM that names none.
const DEVICE: &str = "/dev/tpm0";

/// Adds TPMs: at most one, and one that is only passed through.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut seen = (false, false);
    for device in cx.of(Kind::Tpm) {
        let model: TpmModel = device.view.word("@model")?.unwrap_or(TpmModel::Tis);
        if !cx.entry.has_tpm_model(model.as_str()).is_yes() && !is_device(cx, model) {
            return Err(device.view.lacks("", format!("the TPM {model}; use another model")));
        }
        let is_proxy = model == TpmModel::SpaprProxy;
        let seen = if is_proxy { &mut seen.0 } else { &mut seen.1 };
        if std::mem::replace(seen, true) {
            return Err(device.view.invalid("", "a guest has at most one TPM; remove it"));
        }
        match is_proxy {
            true => add_proxy(args, device)?,
            false => add_tpm(cx, args, device, model)?,
        }
    }
    Ok(())
}

/// Returns whether QEMU has the device of a model that it does not count among its TPMs.
fn is_device(cx: &Context<'_>, model: TpmModel) -> bool {
    matches!(model, TpmModel::Spapr | TpmModel::SpaprProxy) && cx.has_device(model.as_str())
}

fn add_proxy(args: &mut Args, device: DeviceView<'_>) -> Result<(), Error> {
    let view = device.view;
    if view.one_of("backend@type", &["passthrough"])?.is_none() {
        return Err(view.invalid("", "the backend is missing; add it"));
    }
    let props = Props::device(TpmModel::SpaprProxy.as_str())
        .with("id", device.alias())
        .with("host-path", view.text("backend/device@path").unwrap_or(DEVICE));
    args.device(&props);
    Ok(())
}

fn add_tpm(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    model: TpmModel,
) -> Result<(), Error> {
    let view = device.view;
    let Some(backend) = view.child("backend") else {
        return Err(view.invalid("", "the backend is missing; add it"));
    };
    let id = format!("tpm-{}", device.alias());
    let kind = backend.one_of("@type", &["passthrough", "emulator", "external"])?;
    let of_qemu = if kind == Some("passthrough") { "passthrough" } else { "emulator" };
    if !cx.entry.has_tpm_type(of_qemu).is_yes() {
        return Err(backend.lacks("@type", format!("the TPM backend {of_qemu}")));
    }
    let mut list = List::new(of_qemu);
    list.set("id", &id);
    match kind {
        Some("passthrough") => add_host_device(args, device, backend, &mut list),
        Some("emulator") => {
            let swtpm = swtpm(cx, backend, model)?;
            let mut chardev = List::new("socket");
            chardev.set("id", CHARDEV);
            chardev.set("path", swtpm.socket.display());
            args.option("-chardev", chardev);
            args.setup(Setup::Tpm(swtpm));
            list.set("chardev", CHARDEV);
        }
        Some(_) => {
            add_external(cx, args, device, backend)?;
            list.set("chardev", CHARDEV);
        }
        None => return Err(backend.invalid("", "the type is missing; add it")),
    }
    args.option("-tpmdev", list);
    let is_x86 = cx.machine.family == Family::X86;
    let driver = if model == TpmModel::Tis && !is_x86 { "tpm-tis-device" } else { model.as_str() };
    let mut props = Props::device(driver).with("tpmdev", id).with("id", device.alias());
    address::add(cx, device, &mut props)?;
    args.device(&props);
    Ok(())
}

fn add_host_device(args: &mut Args, device: DeviceView<'_>, backend: View<'_>, list: &mut List) {
    let path = backend.text("device@path").unwrap_or(DEVICE);
    let alias = device.alias();
    let tpm = Descriptor::Tpm { path: path.into() };
    list.set("path", args.descriptor_set(tpm, &format!("{alias}-tpm")));
    let cancel = Descriptor::TpmCancel { path: path.into() };
    list.set("cancel-path", args.descriptor_set(cancel, &format!("{alias}-cancel")));
}

/// Adds the connection to an emulator that runs already.
fn add_external(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    backend: View<'_>,
) -> Result<(), Error> {
    if backend.text("source@type") != Some("unix") {
        return Err(backend.invalid("source", "the type of the source must be unix"));
    }
    if backend.text("source@mode") == Some("bind") {
        return Err(backend.invalid("source@mode", "QEMU connects to a TPM; use connect"));
    }
    backend.require("source@path")?;
    let chardev = Chardev { view: backend, id: CHARDEV.to_owned(), ..Chardev::new(device, "unix") };
    chardev::add(cx, args, &chardev)
}

/// Returns the emulator of a TPM, which is started before QEMU.
fn swtpm(cx: &Context<'_>, backend: View<'_>, model: TpmModel) -> Result<Swtpm, Error> {
    // The old version is the default only where it was before there was another one.
    let is_old = model == TpmModel::Tis && cx.machine.family == Family::X86;
    let version = backend.one_of("@version", &["1.2", "2.0"])?;
    let version = version.unwrap_or(if is_old { "1.2" } else { "2.0" });
    if version == "1.2" && !is_old {
        return Err(backend.invalid("@version", "only a tpm-tis of x86 has it; use 2.0"));
    }
    let source = match backend.child("source") {
        None => None,
        Some(source) => {
            let r#type = source.one_of("@type", &["file", "dir"])?.unwrap_or_default();
            Some((r#type.to_owned(), source.require("@path")?.to_owned()))
        }
    };
    let banks = banks(backend)?;
    let profile = match backend.child("profile") {
        None => None,
        Some(profile) => {
            // The name is what the profile turns out to be, which libvirt writes itself.
            profile.ignore(&["@name"]);
            let remove = profile.one_of("@removeDisabled", &["check", "fips-host"])?;
            Some((profile.require("@source")?.to_owned(), remove.map(str::to_owned)))
        }
    };
    if version != "2.0" && (!banks.is_empty() || profile.is_some()) {
        return Err(backend.invalid("@version", "banks and profiles need version 2.0"));
    }
    let secret = backend.text("encryption@secret");
    if secret.is_some_and(|secret| uuid::format(secret).is_none()) {
        return Err(backend.invalid("encryption@secret", "it is not a UUID"));
    }
    Ok(Swtpm {
        socket: cx.host.tpm_socket.clone(),
        version: version.to_owned(),
        source,
        secret: secret.map(str::to_owned),
        is_persistent: backend.yes_no("@persistent_state")? == Some(true),
        debug: backend.number("@debug")?.unwrap_or(0),
        banks,
        profile,
    })
}

fn banks(backend: View<'_>) -> Result<Vec<String>, Error> {
    let Some(banks) = backend.child("active_pcr_banks") else { return Ok(Vec::new()) };
    let bank = |bank: View<'_>| match bank.name() {
        name @ ("sha1" | "sha256" | "sha384" | "sha512") => {
            bank.read();
            Ok(name.to_owned())
        }
        _ => Err(bank.invalid("", "there is no such bank")),
    };
    banks.elements().map(bank).collect()
}
