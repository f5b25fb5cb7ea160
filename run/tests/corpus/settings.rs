//! Settings of the host under which libvirt runs some of its tests, which no guest shows.

use capscache_run::{Host, Sasl, Tls};

/// Changes the host as libvirt's test does for the cases of a name.
pub(crate) fn apply(name: &str, host: &mut Host) {
    let tls = |dir: &str, secret: bool| Tls {
        dir: format!("/etc/pki/libvirt-{dir}").into(),
        verify: dir == "vnc" || name.contains("-verify"),
        secret: secret.then(|| "6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea".to_owned()),
    };
    let sasl = || Some(Sasl { dir: Some("/etc/sasl2".into()) });
    let is = |prefix: &str| name.starts_with(prefix);
    let has_secret = name.contains("-secret");
    host.character_tls.tls = Some(tls("chardev", has_secret));
    if is("serial-tcp-tlsx509") {
        host.character_tls.is_default = true;
    }
    if is("graphics-vnc-tls") || is("graphics-vnc-sasl") {
        host.vnc.sasl = sasl();
    }
    if is("graphics-vnc-tls") {
        host.vnc.tls = Some(tls("vnc", has_secret));
    }
    if is("graphics-spice") {
        host.spice.tls_dir = Some("/etc/pki/libvirt-spice".into());
    }
    if is("graphics-spice-sasl") {
        host.spice.sasl = sasl();
    }
    if is("graphics-spice-auto-socket-cfg") {
        host.spice.is_socket_default = true;
    }
    if is("graphics-vnc-auto-socket-cfg") {
        host.vnc.is_socket_default = true;
    }
    if is("audio-default") {
        let backend = if is("audio-default-sdl") { "sdl" } else { "alsa" };
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        host.variables.extend([set("QEMU_AUDIO_DRV", backend), set("SDL_AUDIODRIVER", "esd")]);
        host.allows_host_audio = true;
        host.vnc.allows_host_audio = true;
    }
}
