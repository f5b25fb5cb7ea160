//! The firmware that a guest describes.

use crate::command::disk::format::Format;
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// The place of firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In memory.
    Rom,
    /// In flash.
    Flash,
}

/// Firmware, as far as the guest describes it, or as it was selected.
#[derive(Clone, Default)]
pub(super) struct Loader<'a> {
    /// The interface that firmware is selected for: `efi` or `bios`.
    pub(super) interface: Option<&'static str>,
    /// States of features that firmware is selected by.
    pub(super) secure_boot: Option<bool>,
    pub(super) enrolled_keys: Option<bool>,
    pub(super) kind: Option<Kind>,
    pub(super) path: Option<String>,
    pub(super) format: Option<Format>,
    pub(super) is_readonly: Option<bool>,
    pub(super) is_secure: Option<bool>,
    pub(super) is_stateless: Option<bool>,
    /// The element of the variables.
    pub(super) nvram: Option<View<'a>>,
    /// The file of the variables, where it is not a source.
    pub(super) nvram_path: Option<String>,
    pub(super) nvram_format: Option<Format>,
    pub(super) template: Option<String>,
    pub(super) template_format: Option<Format>,
    pub(super) needs_smm: bool,
}

/// The formats of files of firmware.
const FORMATS: &[&str] = &["raw", "qcow2"];

/// Reads the firmware of a guest; `None` if it describes none.
pub(super) fn read<'a>(cx: &Context<'a>) -> Result<Option<Loader<'a>>, Error> {
    let Some(os) = cx.domain.child("os") else { return Ok(None) };
    let interface = os.one_of("@firmware", &["efi", "bios"])?;
    let mut loader = Loader { interface, ..Loader::default() };
    read_features(cx, os, &mut loader)?;
    if let Some(nvram) = os.child("nvram") {
        read_nvram(nvram, &mut loader)?;
    }
    match os.child("loader") {
        Some(view) => read_loader(view, &mut loader)?,
        None => loader.format = loader.nvram_format,
    }
    if interface.is_none() && !os.has("loader") && loader.nvram.is_none() {
        return Ok(None);
    }
    check(os, &loader)?;
    // The firmware of a guest that was defined before libvirt 9.2 was raw.
    if interface.is_some() && !cx.is_new {
        loader.format = loader.format.or(Some(Format::RAW));
    }
    Ok(Some(loader))
}

/// Reads states of features.
fn read_features(cx: &Context<'_>, os: View<'_>, loader: &mut Loader<'_>) -> Result<(), Error> {
    let Some(firmware) = os.child("firmware") else { return Ok(()) };
    if loader.interface.is_none() {
        if cx.is_new && firmware.has("feature") {
            let what = "features select firmware, which needs the attribute firmware of <os>";
            return Err(firmware.invalid("feature", what));
        }
        // libvirt ignores them in a guest that was defined before.
        firmware.ignore_children("feature");
        return Ok(());
    }
    for feature in firmware.children("feature") {
        feature.require("@name")?;
        feature.require("@enabled")?;
        let is_enabled = feature.yes_no("@enabled")?;
        match feature.one_of("@name", &["enrolled-keys", "secure-boot"])? {
            Some("secure-boot") => loader.secure_boot = is_enabled,
            _ => loader.enrolled_keys = is_enabled,
        }
    }
    if (loader.enrolled_keys, loader.secure_boot) == (Some(true), Some(false)) {
        return Err(firmware.invalid("feature", "enrolled keys need secure boot"));
    }
    Ok(())
}

fn read_nvram<'a>(nvram: View<'a>, loader: &mut Loader<'a>) -> Result<(), Error> {
    loader.nvram = Some(nvram);
    loader.template = nvram.text("@template").map(str::to_owned);
    nvram.one_of("@templateFormat", FORMATS)?;
    nvram.one_of("@format", FORMATS)?;
    loader.template_format = Format::read(nvram, "@templateFormat")?;
    loader.nvram_format = Format::read(nvram, "@format")?;
    if nvram.one_of("@type", &["file", "block", "network"])?.is_none() {
        loader.nvram_path = nvram.raw("").filter(|path| !path.is_empty());
    } else if !nvram.has("source") {
        return Err(nvram.invalid("", "variables with a type need a source"));
    }
    Ok(())
}

fn read_loader(view: View<'_>, loader: &mut Loader<'_>) -> Result<(), Error> {
    loader.is_readonly = view.yes_no("@readonly")?;
    loader.kind = view.one_of("@type", &["rom", "pflash"])?.map(|r#type| match r#type {
        "rom" => Kind::Rom,
        _ => Kind::Flash,
    });
    loader.path = view.raw("").filter(|path| !path.is_empty());
    loader.is_secure = view.yes_no("@secure")?;
    loader.is_stateless = view.yes_no("@stateless")?;
    view.one_of("@format", FORMATS)?;
    loader.format = Format::read(view, "@format")?;
    Ok(())
}

/// Checks that the parts go together.
fn check(os: View<'_>, loader: &Loader<'_>) -> Result<(), Error> {
    match loader.interface {
        Some("bios") if loader.nvram.is_some() => {
            return Err(os.invalid("nvram", "a BIOS has no such variables; remove it"));
        }
        None if loader.path.is_none() => {
            return Err(os.invalid("loader", "name its path, or select firmware"));
        }
        _ => {}
    }
    match loader.is_stateless {
        Some(true) if loader.nvram.is_some() => {
            Err(os.invalid("nvram", "firmware without a state has no variables; remove it"))
        }
        Some(false) if loader.interface == Some("bios") => {
            Err(os.invalid("loader@stateless", "a BIOS has no variables; remove it"))
        }
        Some(false) if loader.interface.is_none() && loader.kind != Some(Kind::Flash) => {
            Err(os.invalid("loader@stateless", "only firmware in flash has variables"))
        }
        _ => Ok(()),
    }
}
