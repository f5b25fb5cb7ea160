//! The D-Bus of a guest.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Program, Service};
use crate::resources::ResourceError;

/// The configuration of a bus.
#[derive(Debug)]
pub(in crate::life) struct Config {
    path: PathBuf,
    text: String,
}

/// Returns the daemon of a bus, on which every client may do all.
pub(in crate::life) fn service(socket: &Path) -> Result<Service, ResourceError> {
    let path = socket.with_extension("conf");
    let words = vec![
        format!("--config-file={}", path.display()),
        "--nofork".to_owned(),
        "--nopidfile".to_owned(),
    ];
    let program = Program::new("dbus-daemon", words)?;
    let config = Config { path, text: text(socket) };
    Ok(Service { config: Some(config), ends_with_guest: false, ..Service::new(program, socket) })
}

impl Config {
    /// Writes the configuration, which holds no secrets.
    pub(in crate::life) fn write(&self) -> Result<(), ResourceError> {
        fs::write(&self.path, &self.text).map_err(ResourceError::io("write", &self.path))
    }
}

fn text(socket: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
</busconfig>
"#,
        escaped(socket)
    )
}

/// Returns a path as an address of D-Bus in XML.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'/' | b'.' => {
                text.push(char::from(*byte));
            }
            other => text.push_str(&format!("%{other:02x}")),
        }
    }
    text
}
