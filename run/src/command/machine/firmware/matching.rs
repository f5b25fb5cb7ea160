//! The comparison of firmware with what a guest needs.

use super::loader::{Kind, Loader};
use crate::context::Context;
use crate::error::Error;
use crate::host::{Firmware, Flash, FlashMode, Mapping};

/// The bit of SEV's policy that requires encrypted registers.
const SEV_ES: u32 = 1 << 2;

/// Returns whether firmware is suitable for a guest.
pub(super) fn is_suitable(
    cx: &Context<'_>,
    loader: &Loader<'_>,
    firmware: &Firmware,
) -> Result<bool, Error> {
    Ok(has_interface(loader, firmware)
        && has_paths(cx, loader, firmware)
        && has_target(cx, firmware)
        && has_sleep(cx, firmware)?
        && has_features(loader, firmware)
        && has_mode(cx, loader, firmware)?
        && has_mapping(loader, firmware)
        && has_security(cx, firmware)?)
}

fn has_interface(loader: &Loader<'_>, firmware: &Firmware) -> bool {
    let interface = match (loader.interface, loader.kind) {
        (Some("efi"), _) | (None, Some(Kind::Flash)) => "uefi",
        (Some(_), _) | (None, Some(Kind::Rom)) => "bios",
        (None, None) => return false,
    };
    firmware.interfaces.iter().any(|own| own == interface)
}

fn has_paths(cx: &Context<'_>, loader: &Loader<'_>, firmware: &Firmware) -> bool {
    let is_same = |path: &str| loader.path.as_deref().is_none_or(|own| own == path);
    match &firmware.mapping {
        Mapping::Flash(flash) => {
            let template = loader.template.as_deref();
            let is_template = |own: &str| match &flash.mode {
                FlashMode::Split(template) => own == template.path,
                _ => false,
            };
            is_same(&flash.executable.path) && template.is_none_or(is_template)
        }
        Mapping::Memory(path) => is_same(path),
        Mapping::Kernel(path) => {
            let kernel = cx.domain.raw("os/kernel").filter(|kernel| !kernel.is_empty());
            kernel.is_none_or(|kernel| kernel == *path)
        }
    }
}

fn has_target(cx: &Context<'_>, firmware: &Firmware) -> bool {
    let targets = firmware.targets.iter().filter(|target| target.arch == cx.machine.arch);
    let mut patterns = targets.flat_map(|target| &target.machines);
    patterns.any(|pattern| is_match(pattern.as_bytes(), cx.machine.name.as_bytes()))
}

/// Returns whether text matches a pattern, in which `*` stands for any text and `?` for a character.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=text.len()).any(|skip| text.get(skip..).is_some_and(|text| is_match(rest, text)))
        }
        (Some((b'?', pattern)), Some((_, text))) => is_match(pattern, text),
        (Some((a, pattern)), Some((b, text))) => a == b && is_match(pattern, text),
        _ => false,
    }
}

fn has_sleep(cx: &Context<'_>, firmware: &Firmware) -> Result<bool, Error> {
    for (place, feature) in
        [("pm/suspend-to-mem@enabled", "acpi-s3"), ("pm/suspend-to-disk@enabled", "acpi-s4")]
    {
        if cx.domain.yes_no(place)? == Some(true) && !firmware.has(feature) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_features(loader: &Loader<'_>, firmware: &Firmware) -> bool {
    let is_same = |state: Option<bool>, feature: &str| {
        state.is_none_or(|state| state == firmware.has(feature))
    };
    is_same(loader.secure_boot, "secure-boot") && is_same(loader.enrolled_keys, "enrolled-keys")
}

/// Returns whether the guest has the system management mode that firmware needs, or can have it.
fn has_mode(cx: &Context<'_>, loader: &Loader<'_>, firmware: &Firmware) -> Result<bool, Error> {
    if !firmware.has("requires-smm") {
        return Ok(loader.is_secure != Some(true));
    }
    Ok(super::super::smm::own_state(cx)? != Some(false) && loader.is_secure != Some(false))
}

fn has_mapping(loader: &Loader<'_>, firmware: &Firmware) -> bool {
    match &firmware.mapping {
        Mapping::Flash(flash) => has_flash(loader, flash),
        Mapping::Memory(_) => {
            !matches!(loader.kind, Some(Kind::Flash)) && loader.is_readonly != Some(false)
        }
        Mapping::Kernel(_) => true,
    }
}

fn has_flash(loader: &Loader<'_>, flash: &Flash) -> bool {
    let is_format = |format: &str| matches!(format, "raw" | "qcow2");
    let has_mode = match (&flash.mode, loader.is_stateless == Some(true)) {
        (FlashMode::Stateless, is_stateless) => is_stateless,
        (FlashMode::Split(template), is_stateless) => !is_stateless && is_format(&template.format),
        // It is selected for no guest: one that is not without a state has two files.
        (FlashMode::Combined, _) => false,
    };
    has_mode
        && !matches!(loader.kind, Some(Kind::Rom))
        && loader.is_readonly != Some(false)
        && is_format(&flash.executable.format)
        && loader.format.is_none_or(|format| format.word() == flash.executable.format)
}

fn has_security(cx: &Context<'_>, firmware: &Firmware) -> Result<bool, Error> {
    let Some(view) = cx.domain.child("launchSecurity") else { return Ok(true) };
    Ok(match view.text("@type") {
        Some("sev") => {
            let policy = super::super::security::policy::<u32>(view)?;
            let needs_registers = policy & SEV_ES != 0;
            firmware.has("amd-sev") && (!needs_registers || firmware.has("amd-sev-es"))
        }
        Some("sev-snp") => firmware.has("amd-sev-snp"),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn patterns_match_whole_names() {
        assert!(is_match(b"pc-q35-*", b"pc-q35-9.0"));
        assert!(is_match(b"virt", b"virt"));
        assert!(is_match(b"*-?.*", b"virt-9.0"));
        assert!(!is_match(b"virt", b"virt-9.0"));
        assert!(!is_match(b"pc-q35-*", b"pc-i440fx-9.0"));
    }
}
