//! The selection of firmware.

use capscache_devaddr::Family;

use super::loader::{self, Kind, Loader};
use super::matching::is_suitable;
use crate::command::disk::format::Format;
use crate::context::Context;
use crate::error::Error;
use crate::host::{Firmware, FlashMode, Mapping};

/// Returns the firmware of a guest, with what it does not name filled in; `None` if the machine has its own.
pub(super) fn select<'a>(cx: &Context<'a>) -> Result<Option<Loader<'a>>, Error> {
    let Some(mut loader) = loader::read(cx)? else { return check_none(cx).map(|()| None) };
    let is_manual = loader.interface.is_none();
    if !is_manual || loader.kind == Some(Kind::Flash) {
        match find(cx, &loader)? {
            Some(firmware) => fill(cx, &mut loader, firmware)?,
            None if is_manual => fill_by_path(cx, &mut loader),
            None => {
                let what = "the host has no firmware that fits; install one, or name a loader";
                return Err(cx.domain.invalid("os@firmware", what));
            }
        }
        fill_variables(cx, &mut loader);
    }
    if loader.kind.is_none() && loader.path.is_some() {
        loader.kind = Some(Kind::Rom);
    }
    check(cx, &loader)?;
    Ok(Some(loader))
}

/// Returns the first firmware that fits.
fn find<'c>(cx: &'c Context<'_>, loader: &Loader<'_>) -> Result<Option<&'c Firmware>, Error> {
    for firmware in cx.firmware() {
        if is_suitable(cx, loader, firmware)? {
            return Ok(Some(firmware));
        }
    }
    Ok(None)
}

fn fill(cx: &Context<'_>, loader: &mut Loader<'_>, firmware: &Firmware) -> Result<(), Error> {
    match &firmware.mapping {
        Mapping::Flash(flash) => {
            loader.kind = Some(Kind::Flash);
            loader.is_readonly = Some(true);
            loader.format = Format::of_firmware(&flash.executable.format);
            loader.path = Some(flash.executable.path.clone());
            if let FlashMode::Split(template) = &flash.mode {
                // Variables in the network are not created.
                let is_local =
                    loader.nvram.is_none_or(|nvram| nvram.text("@type") != Some("network"));
                loader.template = is_local.then(|| template.path.clone());
                let format = Format::of_firmware(&template.format);
                loader.template_format = format.filter(|_| is_local);
            }
        }
        Mapping::Memory(path) => {
            loader.kind = Some(Kind::Rom);
            loader.path = Some(path.clone());
        }
        Mapping::Kernel(_) => {
            let what = "firmware that is loaded as a kernel is not supported; name a loader";
            return Err(cx.domain.unsupported("os@firmware", what));
        }
    }
    if firmware.has("requires-smm") {
        loader.needs_smm = true;
        loader.is_secure = Some(true);
    }
    if loader.interface.is_none() {
        let mut interfaces = firmware.interfaces.iter();
        loader.interface = interfaces.find_map(|interface| match interface.as_str() {
            "uefi" => Some("efi"),
            "bios" => Some("bios"),
            _ => None,
        });
    }
    Ok(())
}

/// Completes firmware that no description has: pairs of files have been part of libvirt.
fn fill_by_path(cx: &Context<'_>, loader: &mut Loader<'_>) {
    let is_raw = loader.format.is_none_or(|format| format == Format::RAW);
    let has_variables = loader.is_readonly != Some(false) && loader.is_stateless != Some(true);
    let mut pairs = cx.host.flash_pairs.iter();
    let pair = pairs.find(|(code, _)| Some(code.as_str()) == loader.path.as_deref());
    if let Some((_, template)) = pair.filter(|_| is_raw && has_variables) {
        loader.is_readonly = Some(true);
        loader.template.get_or_insert_with(|| template.clone());
        loader.template_format.get_or_insert(Format::RAW);
    }
    loader.format.get_or_insert(Format::RAW);
}

/// Names the file of the variables, if the guest does not.
fn fill_variables(cx: &Context<'_>, loader: &mut Loader<'_>) {
    let has_variables = loader.kind == Some(Kind::Flash)
        && loader.is_readonly == Some(true)
        && loader.is_stateless != Some(true);
    if !has_variables {
        return;
    }
    let is_named = loader.nvram_path.is_some()
        || loader.nvram.is_some_and(|nvram| nvram.text("@type").is_some());
    if is_named {
        loader.nvram_format = loader.nvram_format.or(loader.format);
        return;
    }
    let format = loader.template_format.or(loader.format).unwrap_or(Format::RAW);
    let is_raw_template = || loader.template.as_ref().is_some_and(|path| path.ends_with(".raw"));
    let extension = match format {
        Format::QCOW2 => "qcow2",
        _ if cx.is_new && is_raw_template() => "raw",
        _ => "fd",
    };
    let name = cx.domain.text("name").unwrap_or_default();
    let file = format!("{name}_VARS.{extension}");
    loader.nvram_path = Some(format!("{}/{file}", cx.host.nvram_dir.display()));
    loader.nvram_format = Some(format);
}

/// Checks that the machine can run the firmware.
fn check(cx: &Context<'_>, loader: &Loader<'_>) -> Result<(), Error> {
    let is_split = loader.kind == Some(Kind::Flash) && loader.is_readonly == Some(true);
    if let Some(nvram) = loader.nvram.filter(|_| !is_split) {
        let what = "only firmware in flash that is read-only has variables in another file";
        return Err(nvram.unsupported("", what));
    }
    let is_secure = loader.is_secure == Some(true);
    if is_secure && !(cx.machine.is_q35() && cx.machine.arch == "x86_64") {
        return Err(cx.domain.invalid("os/loader@secure", "only q35 of x86_64 can protect flash"));
    }
    let has_smm = loader.needs_smm || super::super::smm::own_state(cx)? == Some(true);
    if is_secure && loader.interface.is_none() && !has_smm {
        let what = "protected flash needs the feature smm";
        return Err(cx.domain.invalid("os/loader@secure", what));
    }
    let is_efi = loader.interface == Some("efi") || loader.kind == Some(Kind::Flash);
    if is_efi && cx.machine.family == Family::X86 && !cx.domain.has("features/acpi") {
        return Err(cx.domain.invalid("os", "UEFI needs ACPI here; add the feature acpi"));
    }
    match is_efi {
        true => Ok(()),
        false => check_none(cx),
    }
}

/// Checks that a guest can do without UEFI.
fn check_none(cx: &Context<'_>) -> Result<(), Error> {
    match cx.machine.arch == "aarch64" && cx.domain.has("features/acpi") {
        true => Err(cx.domain.invalid("features/acpi", "ACPI needs UEFI here; select firmware")),
        false => Ok(()),
    }
}
