//! Settings of the host for graphical consoles and character devices, with libvirt's defaults.

use std::fmt;
use std::path::PathBuf;

/// The certificates of TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The directory of the certificates.
    pub dir: PathBuf,
    /// True if a server verifies the certificates of its clients.
    pub verify: bool,
    /// The UUID of the secret that decrypts the private key.
    pub secret: Option<String>,
}

/// TLS of character devices over TCP.
#[derive(Clone, Debug, Default)]
pub struct CharacterTls {
    /// The certificates; `None` if there are none.
    pub tls: Option<Tls>,
    /// True if devices use TLS that do not state whether they do.
    pub is_default: bool,
}

/// Authentication by SASL.
#[derive(Clone, Debug, Default)]
pub struct Sasl {
    /// The directory of the configuration; `None` for that of the system.
    pub dir: Option<PathBuf>,
}

/// Settings of VNC. Its `Debug` hides the password.
#[derive(Clone)]
pub struct Vnc {
    /// The address on which it listens if a guest names none.
    pub listen: String,
    /// True if it listens on a socket in the directory of the guest, if the guest names no address.
    pub is_socket_default: bool,
    /// The password of guests that name none.
    pub password: Option<String>,
    /// The certificates, if it uses TLS.
    pub tls: Option<Tls>,
    /// Authentication by SASL, if it is used.
    pub sasl: Option<Sasl>,
    /// True if a guest without audio backends gets that of the host, and none otherwise.
    pub allows_host_audio: bool,
    /// The port of guests that leave it open: a free one, from 5900.
    pub port: u16,
    /// The port of WebSocket of guests that leave it open: a free one, from 5700.
    pub websocket: Option<u16>,
}

/// Settings of SPICE. Its `Debug` hides the password.
#[derive(Clone)]
pub struct Spice {
    /// The address on which it listens if a guest names none.
    pub listen: String,
    /// True if it listens on a socket in the directory of the guest, if the guest names no address.
    pub is_socket_default: bool,
    /// The password of guests that name none.
    pub password: Option<String>,
    /// The directory of the certificates, if it uses TLS.
    pub tls_dir: Option<PathBuf>,
    /// Authentication by SASL, if it is used.
    pub sasl: Option<Sasl>,
    /// The port of guests that leave it open: a free one, from 5900.
    pub port: u16,
    /// The port for TLS of guests that leave it open: another free one.
    pub tls_port: u16,
}

impl fmt::Debug for Vnc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Vnc");
        out.field("listen", &self.listen).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Debug for Spice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Spice");
        out.field("listen", &self.listen).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Default for Vnc {
    fn default() -> Vnc {
        Vnc {
            listen: "127.0.0.1".to_owned(),
            is_socket_default: false,
            password: None,
            tls: None,
            sasl: None,
            allows_host_audio: false,
            port: 5900,
            websocket: None,
        }
    }
}

impl Default for Spice {
    fn default() -> Spice {
        Spice {
            listen: "127.0.0.1".to_owned(),
            is_socket_default: false,
            password: None,
            tls_dir: None,
            sasl: None,
            port: 5901,
            tls_port: 5902,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_passwords() {
        let password = Some("hidden12".to_owned());
        let vnc = Vnc { password: password.clone(), ..Vnc::default() };
        let spice = Spice { password, ..Spice::default() };
        let text = format!("{vnc:?} {spice:?}");
        assert!(text.contains("listen: \"127.0.0.1\", port: 5901"), "{text}");
        assert!(!text.contains("hidden12"), "{text}");
    }
}
