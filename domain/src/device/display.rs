//! Graphics, video, input and sound.

use crate::device::storage::VirtioModel;
use crate::fields::fields;
use crate::value::{YesNo, words};

words! {
    /// The type of an input device.
    pub enum InputType {
        Mouse = "mouse",
        Tablet = "tablet",
        Keyboard = "keyboard",
        Passthrough = "passthrough",
        Evdev = "evdev",
    }

    /// The bus of an input device.
    pub enum InputBus {
        Ps2 = "ps2",
        Usb = "usb",
        Xen = "xen",
        Parallels = "parallels",
        Virtio = "virtio",
        None = "none",
    }

    /// The type of a graphical console.
    pub enum GraphicsType {
        Sdl = "sdl",
        Vnc = "vnc",
        Rdp = "rdp",
        Desktop = "desktop",
        Spice = "spice",
        EglHeadless = "egl-headless",
        Dbus = "dbus",
    }

    /// The model of a sound device.
    pub enum SoundModel {
        Sb16 = "sb16",
        Es1370 = "es1370",
        Pcspk = "pcspk",
        Ac97 = "ac97",
        Ich6 = "ich6",
        Ich9 = "ich9",
        Usb = "usb",
        Ich7 = "ich7",
        Virtio = "virtio",
    }

    /// The type of an audio backend.
    pub enum AudioType {
        None = "none",
        Alsa = "alsa",
        Coreaudio = "coreaudio",
        Jack = "jack",
        Oss = "oss",
        Pulseaudio = "pulseaudio",
        Sdl = "sdl",
        Spice = "spice",
        File = "file",
        Dbus = "dbus",
        Pipewire = "pipewire",
    }

    /// The model of a video device.
    pub enum VideoModel {
        Vga = "vga",
        Cirrus = "cirrus",
        Vmvga = "vmvga",
        Xen = "xen",
        Vbox = "vbox",
        Qxl = "qxl",
        Parallels = "parallels",
        Virtio = "virtio",
        Gop = "gop",
        None = "none",
        Bochs = "bochs",
        Ramfb = "ramfb",
    }
}

fields! {
    /// An input device.
    pub struct Input {
        required {
            /// The type.
            r#type: InputType = "@type",
        }
        optional {
            /// The bus; that of the machine if it is missing.
            bus: InputBus = "@bus",
            /// The interface of a virtio device.
            model: VirtioModel = "@model",
        }
    }

    /// A graphical console.
    pub struct Graphics {
        required {
            /// The type.
            r#type: GraphicsType = "@type",
        }
    }

    /// A sound device.
    pub struct Sound {
        required {
            /// The model.
            model: SoundModel = "@model",
        }
    }

    /// The host's side of sound devices.
    pub struct Audio {
        optional {
            /// The number; assigned if it is missing.
            id: u32 = "@id",
            /// The type.
            r#type: AudioType = "@type",
        }
    }

    /// A video device.
    pub struct Video {
        optional {
            /// The model; that of the machine if it is missing.
            model: VideoModel = "model@type",
            /// `yes` for the one that the firmware uses; the first one if none is.
            primary: YesNo = "model@primary",
            /// The number of heads.
            heads: u32 = "model@heads",
            /// The driver: `qemu` or `vhostuser`.
            driver: String = "driver@name",
        }
    }
}
