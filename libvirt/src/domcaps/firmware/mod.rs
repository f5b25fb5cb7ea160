//! The firmware that libvirt finds for a machine type.
//!
//! The rules are those of `qemuInteropFetchConfigs` and `qemuFirmwareGetSupported` in libvirt's `src/qemu/qemu_interop_config.c` and
//! `qemu_firmware.c`, which differ from QEMU's `docs/interop/firmware.json`: every name counts that does not begin with a
//! dot, only a regular file hides others, and patterns are GLib's. Read in the source of 9.0 and 11.3; 12.8 was
//! observed, and 10.0 is assumed to be as 9.0.

mod descriptor;
mod json;
mod pattern;
mod search;

use std::io;
use std::path::{Path, PathBuf};

use capscache_format::Escaped;

use self::descriptor::Descriptor;
use super::surroundings::{DEFAULT_FIRMWARE, LoaderFirmware, Presence};
use crate::release::Release;

/// An error for which a release of libvirt reports no domain capabilities at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// A descriptor or a directory of them cannot be read.
    #[error(
        "cannot read {}, where libvirt reads firmware descriptors and fails as well",
        Escaped::new(path)
    )]
    Read {
        /// The path of the file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A release that does not skip a malformed descriptor cannot read this one.
    #[error(
        "cannot report domain capabilities as libvirt {release}: the descriptor of firmware {} is malformed ({part}); correct or remove it",
        Escaped::new(path)
    )]
    Malformed {
        /// The path of the descriptor.
        path: PathBuf,
        /// The release.
        release: Release,
        /// The key that it cannot read, or `JSON`.
        part: &'static str,
    },
}

impl LoaderFirmware {
    /// Returns the firmware for a machine type that the descriptors in directories describe, of which the last has precedence; where
    /// they name no file, that of [`DEFAULT_FIRMWARE`]. `arch` is libvirt's name, and `machine` not an alias.
    ///
    /// # Errors
    /// [`DescriptorError`], where the release reports an error too.
    pub fn read(
        directories: &[PathBuf],
        release: Release,
        arch: &str,
        machine: &str,
    ) -> Result<LoaderFirmware, DescriptorError> {
        let defaults = DEFAULT_FIRMWARE.map(|(code, _)| code);
        LoaderFirmware::read_with(&defaults, directories, release, arch, machine)
    }

    fn read_with(
        defaults: &[&str],
        directories: &[PathBuf],
        release: Release,
        arch: &str,
        machine: &str,
    ) -> Result<LoaderFirmware, DescriptorError> {
        let mut found = LoaderFirmware::default();
        for path in search::in_effect(directories)? {
            match read(&path, release) {
                Ok(descriptor) if descriptor.runs_on(arch, machine) => found.add(descriptor),
                Err(error) if !release.facts().skips_malformed_firmware => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        if found.loaders.is_empty() {
            found.loaders = defaults.iter().map(|code| (*code).to_owned()).collect();
        }
        let mut seen = Vec::new();
        found.loaders.retain(|path| {
            let is_new = !seen.contains(path) && Path::new(path).exists();
            seen.push(path.clone());
            is_new
        });
        Ok(found)
    }

    fn add(&mut self, descriptor: Descriptor) {
        self.bios |= descriptor.has_interface("bios");
        self.efi |= descriptor.has_interface("uefi");
        self.secure |= descriptor.has_feature("requires-smm");
        count(&mut self.secure_boot, descriptor.has_feature("secure-boot"));
        count(&mut self.enrolled_keys, descriptor.has_feature("enrolled-keys"));
        let mapping = descriptor.into_mapping();
        self.has_varstore |= mapping.has_varstore;
        self.loaders.extend(mapping.loader);
    }
}

fn count(presence: &mut Presence, has_feature: bool) {
    presence.some_have |= has_feature;
    presence.some_lack |= !has_feature;
}

fn read(path: &Path, release: Release) -> Result<Descriptor, DescriptorError> {
    let content = search::content(path)
        .map_err(|source| DescriptorError::Read { path: path.to_owned(), source })?;
    Descriptor::parse(&content, release).map_err(|malformed| DescriptorError::Malformed {
        path: path.to_owned(),
        release,
        part: malformed.0,
    })
}

#[cfg(test)]
mod tests;
