//! Graphics, video, sound and input.

pub(super) mod audio;
mod dbus;
pub(super) mod graphics;
pub(super) mod input;
mod listen;
mod password;
mod render;
pub(super) mod sound;
mod spice;
pub(super) mod video;
mod video_model;
mod vnc;
