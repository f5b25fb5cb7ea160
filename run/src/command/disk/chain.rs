//! The images of a disk, from the top one down.
//!
//! A chain that does not end with an empty `<backingStore/>` is not known to its end: libvirt then reads the headers of the
//! files before it starts QEMU ([`Host::probe`]), except for those in the network, and completes the chain.
//!
//! [`Host::probe`]: crate::Host::probe

use std::path::Path;

use crate::command::args::Args;
use crate::command::disk::facts::Disk;
use crate::command::disk::format::Format;
use crate::command::disk::image::{Backing, Image, Use};
use crate::command::disk::settings::Settings;
use crate::context::Context;
use crate::error::Error;
use crate::host::Below;
use crate::view::View;

/// The images of a disk.
pub(super) struct Chain<'a> {
    /// From the top one down; one with the data of another follows it.
    images: Vec<Image<'a>>,
    /// The number of images that the guest names.
    named: u32,
}

/// The longest chain that libvirt follows.
const MAX_IMAGES: usize = 200;

/// The numbers of images.
pub(super) struct Numbers<'n> {
    /// The number of the top image, which those follow that the guest names.
    pub(super) first: u32,
    /// The number of the next image that is found, of all disks.
    pub(super) found: &'n mut u32,
}

/// The last image that a guest names, if its chain has no end.
struct End<'a> {
    /// The position.
    at: usize,
    /// The element that contains the source.
    view: View<'a>,
}

/// The settings that the images of a chain share, and the next number.
struct Builder<'a, 's> {
    cx: &'s Context<'a>,
    disk: &'s Disk<'a>,
    next: u32,
    images: Vec<Image<'a>>,
}

impl<'a> Chain<'a> {
    /// Reads the images of a disk that has a source, and finds those below them.
    pub(super) fn read(
        cx: &Context<'a>,
        disk: &Disk<'a>,
        settings: Settings,
        numbers: Numbers<'_>,
    ) -> Result<Chain<'a>, Error> {
        let view = disk.device.view;
        let Some(source) = view.child("source") else {
            return Err(view.invalid("", "it has no source"));
        };
        let mut builder = Builder { cx, disk, next: numbers.first, images: Vec::new() };
        let format = Format::of_disk(view)?;
        builder.check(settings, format)?;
        let mut image = builder.image(
            disk.source_type,
            source,
            Some(view),
            format,
            settings,
            disk.is_readonly,
        )?;
        image.set_cache_size(view, "driver/metadata_cache/max_size")?;
        builder.check_top(&image)?;
        // The data of the top image is never read only.
        builder.add(image, [source, source], settings, false)?;
        let end = builder.add_backing(view, settings.below())?;
        let named = u32::try_from(builder.images.len()).unwrap_or(u32::MAX);
        if let Some(end) = end {
            builder.add_found(end, settings.below(), numbers.found)?;
        }
        Ok(Chain { images: builder.images, named })
    }

    /// Returns the node on top.
    pub(super) fn node(&self) -> Option<String> {
        self.images.first().map(Image::node)
    }

    /// Returns the number of images that the guest names.
    pub(super) fn named(&self) -> u32 {
        self.named
    }

    /// Adds the nodes, from the lowest one up.
    pub(super) fn add(&self, args: &mut Args) {
        self.images.iter().rev().for_each(|image| image.add(args));
    }
}

impl<'a> Builder<'a, '_> {
    fn image(
        &mut self,
        r#type: &str,
        source: View<'a>,
        outer: Option<View<'a>>,
        format: Format,
        settings: Settings,
        is_readonly: bool,
    ) -> Result<Image<'a>, Error> {
        let name = format!("libvirt-{}", self.next);
        self.next += 1;
        // Only the top image has elements of the disk.
        let is_top = outer.is_some();
        let usage = Use {
            name: &name,
            is_readonly,
            settings,
            is_cdrom: is_top && self.disk.is_cdrom(),
            is_lun: is_top && self.disk.is_lun(),
        };
        Image::read(self.cx, r#type, source, outer, format, &usage)
    }

    /// Adds an image, and the one with its data if it has it elsewhere.
    fn add(
        &mut self,
        mut image: Image<'a>,
        parents: [View<'a>; 2],
        settings: Settings,
        is_readonly: bool,
    ) -> Result<(), Error> {
        let store = parents.into_iter().find_map(|parent| parent.child("dataStore"));
        let Some(store) = store else {
            self.images.push(image);
            return Ok(());
        };
        if image.format() != Format::QCOW2 {
            return Err(store.invalid("", "only qcow2 images have their data elsewhere"));
        }
        let r#type = store.require("@type")?;
        let format = Format::read(store, "format@type")?;
        let (Some(Format::RAW), Some(source)) = (format, store.child("source")) else {
            return Err(store.invalid("", "it must have a source, and the format raw"));
        };
        let at = self.images.len();
        let data = self.image(r#type, source, None, Format::RAW, settings, is_readonly)?;
        if data.has_slice() {
            return Err(source.invalid("slices", "the data of an image are not a slice"));
        }
        image.data_node = Some(data.node());
        self.images.insert(at, image);
        self.images.push(data);
        Ok(())
    }

    /// Adds the images below the top one that the guest names, and returns the last if that is not the end.
    fn add_backing(&mut self, top: View<'a>, settings: Settings) -> Result<Option<End<'a>>, Error> {
        let mut end = End { at: 0, view: top };
        while let Some(view) = end.view.child("backingStore") {
            view.ignore(&["@index"]);
            let Some(r#type) = view.text("@type") else {
                self.link(end.at, Backing::End);
                return Ok(None);
            };
            let Some(source) = view.child("source") else {
                return Err(view.invalid("", "it has no source; add it"));
            };
            view.require("format@type")?;
            let format = Format::read(view, "format@type")?.unwrap_or(Format::RAW);
            let mut image = self.image(r#type, source, None, format, settings, true)?;
            image.set_cache_size(view, "format/metadata_cache/max_size")?;
            self.check_above(end.at, view)?;
            self.link(end.at, Backing::Node(image.node()));
            end = End { at: self.images.len(), view };
            self.add(image, [source, view], settings, true)?;
        }
        Ok(Some(end))
    }

    /// Adds the images below the last one that the guest names, which the headers of the images name.
    fn add_found(
        &mut self,
        end: End<'a>,
        settings: Settings,
        number: &mut u32,
    ) -> Result<(), Error> {
        let view = end.view;
        let path = view.peek("source@file").or_else(|| view.peek("source@dev"));
        let is_local = matches!(view.peek("@type"), None | Some("file" | "block"));
        let Some(path) = path.filter(|_| is_local) else { return Ok(()) };
        let mut above = end.at;
        let mut path = path.to_owned();
        while let Some(image) = self.images.get(above).filter(|i| i.format().has_backing()) {
            let cannot = |what: &str| {
                let what = format!("cannot find the images below: {what}; add <backingStore>");
                view.unsupported("source", what)
            };
            let found = (self.cx.host.probe)(Path::new(&path), image.format().word());
            let Some(found) = found.map_err(|what| cannot(&what))? else { return Ok(()) };
            if found.has_data_file && image.data_node.is_none() {
                return Err(cannot("the data of one are in another file"));
            }
            let Below::Image { path: below, is_block, format } = found.below else {
                self.link(above, Backing::End);
                return Ok(());
            };
            if self.images.len() >= MAX_IMAGES {
                return Err(cannot("there are too many"));
            }
            let format = Format::from_word(format).ok_or_else(|| cannot("one has no format"))?;
            let name = format!("libvirt-{number}");
            *number += 1;
            let image = Image::found(self.cx, &name, &below, is_block, format, settings);
            self.link(above, Backing::Node(image.node()));
            above = self.images.len();
            self.images.push(image);
            path = below;
        }
        Ok(())
    }

    fn link(&mut self, above: usize, backing: Backing) {
        if let Some(image) = self.images.get_mut(above) {
            image.backing = backing;
        }
    }

    fn check_above(&self, above: usize, view: View<'_>) -> Result<(), Error> {
        let format = self.images.get(above).map(Image::format);
        match format.filter(|format| !format.has_backing()) {
            Some(format) => {
                let what = format!("an image in the format {} has none", format.word());
                Err(view.invalid("", what))
            }
            None => Ok(()),
        }
    }

    fn check(&self, settings: Settings, format: Format) -> Result<(), Error> {
        let view = self.disk.device.view;
        if settings.discard_no_unref == Some(true) && format != Format::QCOW2 {
            return Err(view.invalid("driver@discard_no_unref", "only qcow2 images have it"));
        }
        Ok(())
    }

    fn check_top(&self, image: &Image<'_>) -> Result<(), Error> {
        let view = self.disk.device.view;
        if self.disk.is_lun() && image.has_slice() {
            return Err(view.invalid("source/slices", "a device that is passed through has none"));
        }
        if self.disk.is_shared && !self.disk.is_readonly && !image.is_raw() {
            return Err(view.invalid("shareable", "guests share only images in the format raw"));
        }
        Ok(())
    }
}
