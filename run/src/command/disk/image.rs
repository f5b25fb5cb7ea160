//! An image: its storage, a slice of it, and its format, each of which is a node of QEMU.

use crate::command::args::Args;
use crate::command::disk::encryption::Encryption;
use crate::command::disk::format::Format;
use crate::command::disk::settings::Settings;
use crate::command::disk::storage::{Storage, StorageSettings};
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// An image.
pub(in crate::command) struct Image<'a> {
    /// The start of the names of its nodes.
    name: String,
    storage: Storage,
    slice: Option<Slice>,
    format: Format,
    encryption: Option<Encryption<'a>>,
    has_format_node: bool,
    is_readonly: bool,
    settings: Settings,
    /// The size of the cache of metadata in bytes.
    cache_size: Option<u64>,
    /// The node with the data of an image that holds only metadata.
    pub(super) data_node: Option<String>,
    pub(super) backing: Backing,
}

/// A part of a storage.
#[derive(Clone, Copy)]
struct Slice {
    offset: u64,
    size: u64,
}

/// The image below another one.
#[derive(Clone, Debug)]
pub(super) enum Backing {
    /// QEMU finds it in the image.
    Undefined,
    /// There is none.
    End,
    /// That of a node.
    Node(String),
}

/// The use of an image, which its elements do not state.
pub(in crate::command) struct Use<'s> {
    /// The start of the names of its nodes, as in `libvirt-1`.
    pub(in crate::command) name: &'s str,
    pub(in crate::command) is_readonly: bool,
    pub(in crate::command) settings: Settings,
    /// True for the medium of a CD-ROM drive.
    pub(in crate::command) is_cdrom: bool,
    /// True for SCSI devices that are passed through.
    pub(in crate::command) is_lun: bool,
}

/// Returns whether a raw image can do without a node of its format. QEMU writes names of formats into images above a
/// node without one, unless jobs can hide them.
pub(in crate::command) fn can_omit_format(cx: &Context<'_>) -> bool {
    let job = |name| cx.entry.schema().has(&format!("{name}/arg-type/backing-mask-protocol"));
    job("block-commit").is_yes() && job("block-stream").is_yes()
}

impl<'a> Image<'a> {
    /// Reads an image with a type of source. Authentication and encryption may be in an outer element too.
    pub(in crate::command) fn read(
        cx: &Context<'a>,
        r#type: &str,
        source: View<'a>,
        outer: Option<View<'a>>,
        format: Format,
        usage: &Use<'_>,
    ) -> Result<Image<'a>, Error> {
        let node = format!("{}-storage", usage.name);
        let mut encryption = Encryption::read(source, outer)?;
        let is_luks = encryption.as_ref().is_some_and(|encryption| encryption.is_luks(format));
        let has_format_node = !can_omit_format(cx) || format != Format::RAW || is_luks;
        let secret_prefix = match has_format_node {
            true => format!("{}-format", usage.name),
            false => node.clone(),
        };
        if let Some(encryption) = &mut encryption {
            encryption.prepare(cx, &secret_prefix, format)?;
        }
        let settings = StorageSettings {
            node: &node,
            io: usage.settings.io,
            is_floppy: usage.settings.is_floppy,
            is_readonly: usage.is_readonly,
            is_cdrom: usage.is_cdrom && format == Format::RAW,
            is_lun: usage.is_lun,
            is_directory_format: format == Format::FAT,
        };
        let storage = Storage::read(cx, r#type, source, outer, &settings, encryption.as_ref())?;
        if usage.is_lun && format != Format::RAW {
            return Err(source.invalid("", "a device that is passed through has the format raw"));
        }
        Ok(Image {
            name: usage.name.to_owned(),
            storage,
            slice: Slice::read(source)?,
            format,
            encryption,
            has_format_node,
            is_readonly: usage.is_readonly,
            settings: usage.settings,
            cache_size: None,
            data_node: None,
            backing: Backing::Undefined,
        })
    }

    /// Creates an image that was found below another one.
    pub(super) fn found(
        cx: &Context<'_>,
        name: &str,
        path: &str,
        is_block: bool,
        format: Format,
        settings: Settings,
    ) -> Image<'a> {
        let driver = if is_block { "host_device" } else { "file" };
        let props = Props::device(driver).with("filename", path).with_some("aio", settings.io);
        Image {
            name: name.to_owned(),
            storage: Storage::new(props, Vec::new()),
            slice: None,
            format,
            encryption: None,
            has_format_node: format != Format::RAW || !can_omit_format(cx),
            is_readonly: true,
            settings,
            cache_size: None,
            data_node: None,
            backing: Backing::Undefined,
        }
    }

    /// Sets the size of the cache of metadata.
    pub(super) fn set_cache_size(&mut self, view: View<'_>, place: &str) -> Result<(), Error> {
        let size = view.bytes(place)?.filter(|size| *size > 0);
        if size.is_some() && self.format != Format::QCOW2 {
            return Err(view.invalid(place, "only qcow2 images have a cache of metadata"));
        }
        self.cache_size = size;
        Ok(())
    }

    /// Returns the image without one below it.
    pub(in crate::command) fn without_backing(mut self) -> Image<'a> {
        self.backing = Backing::End;
        self
    }

    /// Returns the name of the node that shows the content.
    pub(in crate::command) fn node(&self) -> String {
        match self.has_format_node {
            true => format!("{}-format", self.name),
            false => self.storage_node(),
        }
    }

    /// Returns the name of the node below the format.
    fn storage_node(&self) -> String {
        match self.slice {
            Some(_) => format!("{}-slice-sto", self.name),
            None => format!("{}-storage", self.name),
        }
    }

    /// Returns true if the content is that of the storage.
    pub(super) fn is_raw(&self) -> bool {
        let is_luks = |encryption: &Encryption<'_>| encryption.is_luks(self.format);
        self.format == Format::RAW && !self.encryption.as_ref().is_some_and(is_luks)
    }

    pub(super) fn has_slice(&self) -> bool {
        self.slice.is_some()
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Adds the nodes and the objects that they need.
    pub(in crate::command) fn add(&self, args: &mut Args) {
        self.storage.objects.iter().for_each(|object| args.object(object));
        for secret in self.encryption.iter().flat_map(|encryption| &encryption.objects) {
            args.object(secret);
        }
        let name = format!("{}-storage", self.name);
        let is_top = !self.has_format_node && self.slice.is_none();
        let mut props = self.storage.props(args, &name);
        self.settings.add(&mut props, &name, is_top, self.is_readonly);
        args.blockdev(&props);
        if let Some(slice) = self.slice {
            let mut props = Props::device("raw")
                .with("file", name)
                .with("offset", slice.offset)
                .with("size", slice.size);
            let is_top = !self.has_format_node;
            self.settings.add(&mut props, &self.storage_node(), is_top, self.is_readonly);
            args.blockdev(&props);
        }
        if self.has_format_node {
            args.blockdev(&self.format_props());
        }
    }

    fn format_props(&self) -> Props {
        let mut props = Props::default();
        self.settings.add(&mut props, &self.node(), true, self.is_readonly);
        let luks = self.encryption.as_ref().filter(|encryption| encryption.is_luks(self.format));
        props.set("driver", if luks.is_some() { "luks" } else { self.format.driver() });
        props.set_some("key-secret", luks.and_then(Encryption::key));
        if self.format.word().starts_with("qcow") {
            props.set_some("encrypt", self.encryption.as_ref().and_then(Encryption::qcow_props));
        }
        if self.format == Format::QCOW2 {
            props.set_some("cache-size", self.cache_size);
            props.set_some("discard-no-unref", self.settings.discard_no_unref);
            props.set_some("data-file", self.data_node.clone());
        }
        props.set("file", self.storage_node());
        match &self.backing {
            Backing::Node(node) => props.set("backing", node.as_str()),
            Backing::End if self.format.has_backing() => {
                props.set("backing", serde_json::Value::Null);
            }
            Backing::End | Backing::Undefined => {}
        }
        props
    }
}

impl Slice {
    fn read(source: View<'_>) -> Result<Option<Slice>, Error> {
        let Some(slice) = source.child("slices").and_then(|slices| slices.child("slice")) else {
            return Ok(None);
        };
        slice.one_of("@type", &["storage"])?;
        let [offset, size] = ["@offset", "@size"].map(|place| {
            slice.number(place)?.ok_or_else(|| slice.invalid("", format!("{place} is missing")))
        });
        Ok(Some(Slice { offset: offset?, size: size? }))
    }
}
