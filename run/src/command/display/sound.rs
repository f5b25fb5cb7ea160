//! Sound devices.

use capscache_domain::{DeviceKind, Kind, SoundModel};

use super::audio;
use crate::command::address;
use crate::command::args::Args;
use crate::command::virtio::{self, Interface};
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::{List, Props};

/// The number of streams of a virtio sound device that names none.
const STREAMS: u32 = 2;

/// Adds the backend of the speaker of a PC, which is an option of the machine.
pub(in crate::command) fn add_speaker(cx: &Context<'_>, list: &mut List) -> Result<(), Error> {
    if let Some(device) = cx.of(Kind::Sound).find(is_speaker) {
        device.view.word::<SoundModel>("@model")?;
        list.set("pcspk-audiodev", audio::of(cx, device.view)?);
    }
    Ok(())
}

fn is_speaker(device: &DeviceView<'_>) -> bool {
    matches!(device.kind(), DeviceKind::Sound(sound) if sound.model == SoundModel::Pcspk)
}

/// Adds sound devices other than the speaker of a PC.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for device in cx.of(Kind::Sound).filter(|device| !is_speaker(device)) {
        match device.view.word("@model")? {
            Some(model) => add_sound(cx, args, device, model)?,
            None => return Err(device.view.invalid("", "the model is missing; add it")),
        }
    }
    Ok(())
}

fn add_sound(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    model: SoundModel,
) -> Result<(), Error> {
    let view = device.view;
    let driver = match model {
        SoundModel::Es1370 => "ES1370",
        SoundModel::Ac97 => "AC97",
        SoundModel::Sb16 => "sb16",
        SoundModel::Ich6 => "intel-hda",
        SoundModel::Ich9 => "ich9-intel-hda",
        SoundModel::Usb => "usb-audio",
        SoundModel::Virtio => "virtio-sound",
        _ => return Err(view.invalid("@model", "QEMU has no such sound device")),
    };
    if matches!(model, SoundModel::Ich9 | SoundModel::Usb) {
        cx.require_device(view, driver)?;
    }
    let audio = audio::of(cx, view)?;
    let has_codecs = matches!(model, SoundModel::Ich6 | SoundModel::Ich9);
    let mut props = match model {
        SoundModel::Virtio => virtio::device(cx, device, driver, Interface::Default)?,
        _ => Props::device(driver),
    };
    props.set("id", device.alias());
    if !has_codecs {
        props.set("audiodev", audio.as_str());
    }
    match model {
        SoundModel::Usb => props.set_some("multi", view.yes_no("@multichannel")?),
        SoundModel::Virtio => match view.number("@streams")? {
            Some(0) => return Err(view.invalid("@streams", "use a number from 1")),
            streams => props.set("streams", streams.unwrap_or(STREAMS)),
        },
        _ => {}
    }
    address::add(cx, device, &mut props)?;
    args.pci_device(device, &props);
    if has_codecs {
        add_codecs(cx, args, device, &audio)?;
    }
    Ok(())
}

/// Adds the codecs of an HDA controller: a duplex one if it names none.
fn add_codecs(
    cx: &Context<'_>,
    args: &mut Args,
    device: DeviceView<'_>,
    audio: &str,
) -> Result<(), Error> {
    let mut drivers = Vec::new();
    for codec in device.view.children("codec") {
        let r#type = codec.one_of("@type", &["duplex", "micro", "output"])?;
        let Some(r#type) = r#type else {
            return Err(codec.invalid("", "the type is missing; add it"));
        };
        let driver = format!("hda-{type}");
        cx.require_device(codec, &driver)?;
        drivers.push(driver);
    }
    if drivers.is_empty() {
        drivers.push("hda-duplex".to_owned());
    }
    for (number, driver) in drivers.into_iter().enumerate() {
        let alias = device.alias();
        let props = Props::device(driver)
            .with("id", format!("{alias}-codec{number}"))
            .with("bus", format!("{alias}.0"))
            .with("cad", number)
            .with("audiodev", audio);
        args.device(&props);
    }
    Ok(())
}
