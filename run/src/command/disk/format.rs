//! Formats of images.

use crate::error::Error;
use crate::view::View;

/// The format of an image, in libvirt's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) struct Format(&'static str);

const FORMATS: &[&str] = &[
    "raw", "bochs", "cloop", "dmg", "vpc", "vdi", "fat", "vhd", "ploop", "qcow", "qcow2", "qed",
    "vmdk",
];

impl Format {
    pub(in crate::command) const RAW: Format = Format("raw");
    pub(in crate::command) const QCOW2: Format = Format("qcow2");
    pub(super) const FAT: Format = Format("fat");

    /// Reads the format at a place.
    pub(in crate::command) fn read(view: View<'_>, place: &str) -> Result<Option<Format>, Error> {
        Ok(view.one_of(place, FORMATS)?.map(Format))
    }

    /// Returns the format with libvirt's word.
    pub(super) fn from_word(word: &str) -> Option<Format> {
        FORMATS.iter().find(|known| **known == word).map(|known| Format(known))
    }

    /// Reads the format of a disk at a place; raw if it has none.
    pub(super) fn of_disk(view: View<'_>) -> Result<Format, Error> {
        if view.peek("driver@type") == Some("aio") {
            view.ignore(&["driver@type"]);
            return Ok(Format::RAW);
        }
        Ok(Format::read(view, "driver@type")?.unwrap_or(Format::RAW))
    }

    /// Returns the format of firmware.
    pub(in crate::command) fn of_firmware(word: &str) -> Option<Format> {
        [Format::RAW, Format::QCOW2].into_iter().find(|format| format.0 == word)
    }

    /// Returns libvirt's word.
    pub(in crate::command) fn word(self) -> &'static str {
        self.0
    }

    /// Returns the driver of QEMU.
    pub(in crate::command) fn driver(self) -> &'static str {
        match self.0 {
            // The driver of the directory emulates the format.
            "fat" => "raw",
            "ploop" => "parallels",
            "vhd" => "vhdx",
            other => other,
        }
    }

    /// Returns true if images can have backing images.
    pub(in crate::command) fn has_backing(self) -> bool {
        matches!(self.0, "qcow" | "qcow2" | "qed" | "vmdk")
    }
}
