//! Audio backends.

use std::collections::HashSet;

use capscache_domain::{AudioType, DeviceKind, GraphicsType, Kind};

use crate::command::args::Args;
use crate::context::{Context, DeviceView};
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// Adds audio backends: one by default if the guest has none.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut ids = HashSet::new();
    let mut is_empty = true;
    for device in cx.of(Kind::Audio) {
        is_empty = false;
        let id = id(device)?;
        if !ids.insert(id) {
            return Err(device.view.invalid("@id", "another audio backend has this number"));
        }
        let Some(r#type) = device.view.word("@type")? else {
            return Err(device.view.invalid("", "the type is missing; add it"));
        };
        add_backend(cx, args, device.view, id, r#type)?;
    }
    if is_empty && let Some(r#type) = default(cx)? {
        if r#type == AudioType::Sdl
            && let Some(driver) = cx.host.variable("SDL_AUDIODRIVER")
        {
            args.variable("SDL_AUDIODRIVER", driver);
        }
        let props = Props::default().with("id", "audio1").with("driver", driver(r#type));
        args.option("-audiodev", props);
    }
    Ok(())
}

/// Returns the id of the audio backend that a device names in its element `<audio>`; that of the first one otherwise.
pub(in crate::command) fn of(cx: &Context<'_>, view: View<'_>) -> Result<String, Error> {
    let wanted: Option<u32> = view.number("audio@id")?;
    if view.has("audio") && wanted.is_none_or(|id| id == 0) {
        return Err(view.invalid("audio", "name a backend with a number from 1"));
    }
    let mut ids = cx.of(Kind::Audio).map(id).collect::<Result<Vec<u32>, Error>>()?;
    if ids.is_empty() && default(cx)?.is_some() {
        ids.push(1);
    }
    let found = match wanted {
        Some(wanted) => ids.into_iter().find(|id| *id == wanted),
        None => ids.into_iter().next(),
    };
    match found {
        Some(id) => Ok(format!("audio{id}")),
        None => Err(view.invalid("audio", "there is no such audio backend; add <audio>")),
    }
}

fn id(device: DeviceView<'_>) -> Result<u32, Error> {
    match device.view.number("@id")? {
        Some(id) if id > 0 && i32::try_from(id).is_ok() => Ok(id),
        _ => Err(device.view.invalid("@id", "use a number from 1")),
    }
}

/// Returns the type of the backend that a guest without one gets: that of its last graphical console counts.
fn default(cx: &Context<'_>) -> Result<Option<AudioType>, Error> {
    let (mut is_added, mut is_of_host) = (false, false);
    let mut r#type = AudioType::None;
    let mut graphics = 0;
    for device in cx.of(Kind::Graphics) {
        graphics += 1;
        let DeviceKind::Graphics(console) = device.kind() else { continue };
        match console.r#type {
            GraphicsType::Vnc => {
                (is_added, is_of_host) = (true, cx.host.vnc.allows_host_audio);
                if !is_of_host {
                    r#type = AudioType::None;
                }
            }
            GraphicsType::Spice => {
                (is_added, is_of_host, r#type) = (true, false, AudioType::Spice);
            }
            GraphicsType::Sdl => (is_added, is_of_host) = (true, true),
            _ => {}
        }
    }
    if graphics == 0 {
        (is_added, is_of_host) = (true, cx.host.allows_host_audio);
    }
    if !is_added || !is_of_host {
        return Ok(is_added.then_some(r#type));
    }
    let Some(name) = cx.host.variable("QEMU_AUDIO_DRV") else { return Ok(None) };
    let name = match name {
        "pa" => "pulseaudio",
        "wav" => "file",
        other => other,
    };
    match AudioType::from_word(name) {
        Some(r#type) => Ok(Some(r#type)),
        None => {
            let what = format!("QEMU_AUDIO_DRV is {name:?}, which is not an audio backend");
            Err(cx.domain.unsupported("devices", what))
        }
    }
}

/// Returns QEMU's name of a type.
fn driver(r#type: AudioType) -> &'static str {
    match r#type {
        AudioType::Pulseaudio => "pa",
        AudioType::File => "wav",
        other => other.as_str(),
    }
}

fn add_backend(
    cx: &Context<'_>,
    args: &mut Args,
    view: View<'_>,
    id: u32,
    r#type: AudioType,
) -> Result<(), Error> {
    check(cx, view, r#type)?;
    let mut props = Props::default()
        .with("id", format!("audio{id}"))
        .with("driver", driver(r#type))
        .with_some("timer-period", positive(view, "@timerPeriod")?);
    match r#type {
        AudioType::Oss => {
            props.set_some("try-mmap", view.yes_no("@tryMMap")?);
            props.set_some("exclusive", view.yes_no("@exclusive")?);
            props.set_some("dsp-policy", view.number::<u32>("@dspPolicy")?);
        }
        AudioType::Pulseaudio => props.set_some("server", view.text("@serverName")),
        AudioType::File => props.set_some("path", view.text("@path")),
        AudioType::Sdl => {
            let drivers = &["esd", "alsa", "arts", "pulseaudio"];
            if let Some(driver) = view.one_of("@driver", drivers)? {
                args.variable("SDL_AUDIODRIVER", driver);
            }
        }
        AudioType::Pipewire => add_pipewire(cx, args, view),
        _ => {}
    }
    for (child, key) in [("input", "in"), ("output", "out")] {
        if let Some(view) = view.child(child) {
            let direction = direction(view, r#type)?;
            props.set_some(key, (!direction.is_empty()).then_some(direction));
        }
    }
    args.option("-audiodev", props);
    Ok(())
}

fn check(cx: &Context<'_>, view: View<'_>, r#type: AudioType) -> Result<(), Error> {
    let is_spice = |device: DeviceView<'_>| matches!(device.kind(), DeviceKind::Graphics(g) if g.r#type == GraphicsType::Spice);
    if r#type == AudioType::Spice && !cx.of(Kind::Graphics).any(is_spice) {
        return Err(view.invalid("@type", "it needs SPICE; add <graphics type='spice'/>"));
    }
    let path = "query-display-options/ret-type/+dbus";
    if r#type == AudioType::Dbus && !cx.entry.schema().has(path).is_yes() {
        return Err(view.lacks("@type", "audio over D-Bus"));
    }
    Ok(())
}

/// Adds the variables by which PipeWire finds its daemon.
fn add_pipewire(cx: &Context<'_>, args: &mut Args, view: View<'_>) {
    for name in ["PIPEWIRE_CORE", "PIPEWIRE_REMOTE"] {
        if let Some(value) = cx.host.variable(name) {
            args.variable(name, value);
        }
    }
    if let Some(directory) = view.text("@runtimeDir") {
        args.variable("PIPEWIRE_RUNTIME_DIR", directory);
        return;
    }
    let names = ["PIPEWIRE_RUNTIME_DIR", "XDG_RUNTIME_DIR", "USERPROFILE"];
    let mut found = names.iter().filter_map(|name| Some((name, cx.host.variable(name)?)));
    if let Some((name, value)) = found.next() {
        args.variable(name, value);
    }
}

/// Returns the options of input or output.
fn direction(view: View<'_>, r#type: AudioType) -> Result<Props, Error> {
    let mixes = view.yes_no("@mixingEngine")?;
    let is_fixed = view.yes_no("@fixedSettings")?;
    if is_fixed == Some(true) && mixes != Some(true) {
        return Err(view.invalid("@fixedSettings", "fixed settings need the mixing engine"));
    }
    let mut props = Props::default();
    props.set_some("mixing-engine", mixes);
    props.set_some("fixed-settings", is_fixed);
    props.set_some("voices", positive(view, "@voices")?);
    props.set_some("buffer-length", positive(view, "@bufferLength")?);
    if view.has("settings") && is_fixed != Some(true) {
        return Err(view.invalid("settings", "settings need fixedSettings='yes'"));
    }
    props.set_some("frequency", positive(view, "settings@frequency")?);
    props.set_some("channels", positive(view, "settings@channels")?);
    let formats = &["u8", "s8", "u16", "s16", "u32", "s32", "f32"];
    props.set_some("format", view.one_of("settings@format", formats)?);
    let count = |place| view.number(place).map(|count| count.filter(|count: &u32| *count > 0));
    match r#type {
        AudioType::Alsa => props.set_some("dev", view.text("@dev")),
        AudioType::Coreaudio | AudioType::Sdl => {
            props.set_some("buffer-count", count("@bufferCount")?);
        }
        AudioType::Jack => {
            props.set_some("server-name", view.text("@serverName"));
            props.set_some("client-name", view.text("@clientName"));
            props.set_some("connect-ports", view.text("@connectPorts"));
            props.set_some("exact-name", view.yes_no("@exactName")?);
        }
        AudioType::Oss => {
            props.set_some("dev", view.text("@dev"));
            props.set_some("buffer-count", count("@bufferCount")?);
            props.set_some("try-poll", view.yes_no("@tryPoll")?);
        }
        AudioType::Pulseaudio | AudioType::Pipewire => {
            props.set_some("name", view.text("@name"));
            props.set_some("stream-name", view.text("@streamName"));
            props.set_some("latency", count("@latency")?);
        }
        _ => {}
    }
    Ok(props)
}

/// Returns a number from 1.
fn positive(view: View<'_>, place: &str) -> Result<Option<u32>, Error> {
    match view.number(place)? {
        Some(0) => Err(view.invalid(place, "use a number from 1")),
        number => Ok(number),
    }
}
