//! The nodes of firmware in flash.

use super::loader::Loader;
use crate::command::args::Args;
use crate::command::disk::format::Format;
use crate::command::disk::image::{self, Image, Use};
use crate::command::setup::Setup;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// The nodes of the code.
pub(super) const CODE: &str = "libvirt-pflash0-format";
const CODE_STORAGE: &str = "libvirt-pflash0-storage";
/// The start of the names of the nodes of the variables.
const VARIABLES: &str = "libvirt-pflash1";

/// Adds the nodes.
pub(super) fn add(cx: &Context<'_>, loader: &Loader<'_>, args: &mut Args) -> Result<(), Error> {
    let path = loader.path.as_deref().unwrap_or_default();
    let format = loader.format.unwrap_or(Format::RAW);
    args.blockdev(&storage(path, CODE_STORAGE));
    let is_readonly = loader.is_readonly == Some(true);
    args.blockdev(&formatted(CODE, CODE_STORAGE, format, is_readonly));
    if let Some(image) = source(cx, loader)? {
        image.add(args);
        add_variables_of_source(loader, args)?;
    } else if let Some(path) = &loader.nvram_path {
        add_file(cx, loader, path, args);
    }
    Ok(())
}

/// Returns the node of the variables.
pub(super) fn variables(cx: &Context<'_>, loader: &Loader<'_>) -> Result<Option<String>, Error> {
    if let Some(image) = source(cx, loader)? {
        return Ok(Some(image.node()));
    }
    let suffix = if has_format(cx, loader) { "format" } else { "storage" };
    Ok(loader.nvram_path.as_ref().map(|_| format!("{VARIABLES}-{suffix}")))
}

/// Returns the variables, if they are an image with a source.
fn source<'a>(cx: &Context<'a>, loader: &Loader<'a>) -> Result<Option<Image<'a>>, Error> {
    let Some(nvram) = loader.nvram else { return Ok(None) };
    let (Some(r#type), Some(source)) = (nvram.text("@type"), nvram.child("source")) else {
        return Ok(None);
    };
    for child in ["slices", "reservations"] {
        if source.has(child) {
            return Err(source.invalid(child, "the variables of firmware cannot have it"));
        }
    }
    let usage = Use {
        name: VARIABLES,
        is_readonly: false,
        settings: Default::default(),
        is_cdrom: false,
        is_lun: false,
    };
    let format = loader.nvram_format.unwrap_or(Format::RAW);
    let image = Image::read(cx, r#type, source, None, format, &usage)?;
    Ok(Some(image.without_backing()))
}

fn has_format(cx: &Context<'_>, loader: &Loader<'_>) -> bool {
    loader.nvram_format.unwrap_or(Format::RAW) != Format::RAW || !image::can_omit_format(cx)
}

/// Adds variables in a file, which is created when the guest starts.
fn add_file(cx: &Context<'_>, loader: &Loader<'_>, path: &str, args: &mut Args) {
    let node = format!("{VARIABLES}-storage");
    let format = loader.nvram_format.unwrap_or(Format::RAW);
    if has_format(cx, loader) {
        args.blockdev(&storage(path, &node));
        args.blockdev(&formatted(&format!("{VARIABLES}-format"), &node, format, false));
    } else {
        let props = Props::device("file").with("filename", path);
        args.blockdev(&props.with("node-name", node).with("read-only", false));
    }
    args.setup(create(loader, path));
}

/// Adds the creation of variables that are an image with a source: libvirt creates files.
fn add_variables_of_source(loader: &Loader<'_>, args: &mut Args) -> Result<(), Error> {
    let Some(nvram) = loader.nvram else { return Ok(()) };
    match nvram.text("@type") {
        Some("file") => args.setup(create(loader, nvram.require("source@file")?)),
        // libvirt converts the template if the device holds no image.
        Some("block")
            if loader.nvram_format.is_some_and(|format| format != Format::RAW)
                && nvram.peek("@template").is_some() =>
        {
            let what = "variables on a block device are not created here; remove it";
            return Err(nvram.unsupported("@template", what));
        }
        _ => {}
    }
    Ok(())
}

/// Returns the creation of a file of variables, if it does not exist. A template in another format is not converted, so
/// that the file must exist.
fn create(loader: &Loader<'_>, path: &str) -> Setup {
    let format = loader.nvram_format.unwrap_or(Format::RAW);
    let is_same = loader.template_format.is_none_or(|of_template| of_template == format);
    let template = loader.template.as_ref().filter(|_| is_same);
    Setup::Variables { path: path.into(), template: template.map(Into::into) }
}

/// Returns a node of a file below a format.
fn storage(path: &str, node: &str) -> Props {
    Props::device("file")
        .with("filename", path)
        .with("node-name", node)
        .with("auto-read-only", true)
        .with("discard", "unmap")
}

/// Returns a node of a format.
fn formatted(node: &str, storage: &str, format: Format, is_readonly: bool) -> Props {
    let props = Props::default()
        .with("node-name", node)
        .with("read-only", is_readonly)
        .with("driver", format.driver())
        .with("file", storage);
    match format.has_backing() {
        true => props.with("backing", serde_json::Value::Null),
        false => props,
    }
}
