//! The options of QEMU that a recorded emulator heeds. All others are ignored.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use super::address::Address;

/// A start of an emulator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The names of accelerators, best first.
    pub(super) accelerators: Vec<String>,
    /// None if there is no monitor.
    pub(super) monitor: Option<Address>,
    pub(super) pidfile: Option<PathBuf>,
    pub(super) daemonize: bool,
    /// Print the version and end.
    pub(super) version: bool,
}

impl Options {
    /// Reads arguments. As with QEMU an option may begin with two hyphens.
    pub(super) fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options {
            accelerators: Vec::new(),
            monitor: None,
            pidfile: None,
            daemonize: false,
            version: false,
        };
        let (mut monitor, mut devices) = (None, Vec::new());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix('-') else { continue };
            let mut value =
                || arguments.next().with_context(|| format!("the option {argument} has no value"));
            match option.strip_prefix('-').unwrap_or(option) {
                "machine" | "M" => {
                    let machine = Properties::parse(value()?, "type");
                    if let Some(names) = machine.get("accel") {
                        options.accelerators = names.split(':').map(str::to_owned).collect();
                    }
                }
                "accel" => {
                    let accelerator = Properties::parse(value()?, "accel");
                    options.accelerators.extend(accelerator.get("accel").map(str::to_owned));
                }
                "enable-kvm" => options.accelerators.push("kvm".into()),
                "qmp" => monitor = Some(value()?.to_owned()),
                "mon" => {
                    let properties = Properties::parse(value()?, "chardev");
                    if properties.get("mode") == Some("control") {
                        let device = properties.get("chardev").unwrap_or_default();
                        monitor = Some(format!("chardev:{device}"));
                    }
                }
                "chardev" => devices.push(Properties::parse(value()?, "backend")),
                "pidfile" => options.pidfile = Some(value()?.into()),
                "daemonize" => options.daemonize = true,
                "version" => options.version = true,
                _ => {}
            }
        }
        if options.accelerators.is_empty() {
            options.accelerators = vec!["tcg".into(), "kvm".into()];
        }
        options.monitor = monitor.map(|monitor| address(&monitor, &devices)).transpose()?;
        Ok(options)
    }
}

/// Returns where the client of a monitor comes from: the value of `-qmp`, with the character devices.
fn address(monitor: &str, devices: &[Properties]) -> Result<Address> {
    if let Some(id) = monitor.strip_prefix("chardev:") {
        let device = devices.iter().find(|device| device.get("id") == Some(id));
        return device.and_then(character_device).ok_or_else(|| {
            anyhow!("the monitor's character device {id:?} is neither a UNIX socket nor stdio")
        });
    }
    if monitor == "stdio" {
        return Ok(Address::Stdio);
    }
    let Some(socket) = monitor.strip_prefix("unix:") else {
        bail!("the monitor is at {monitor:?}: use unix:, chardev: or stdio");
    };
    let socket = Properties::parse(socket, "path");
    socket_address(&socket).with_context(|| format!("the monitor {monitor:?} has no path"))
}

fn character_device(device: &Properties) -> Option<Address> {
    match device.get("backend")? {
        "stdio" => Some(Address::Stdio),
        "socket" => socket_address(device),
        _ => None,
    }
}

fn socket_address(socket: &Properties) -> Option<Address> {
    let is_server = socket.get("server").is_some_and(|value| value == "on");
    if let Some(number) = socket.get("fd") {
        let number = number.parse().ok()?;
        return Some(Address::Inherited { number, is_server });
    }
    let path = socket.get("path").filter(|path| !path.is_empty())?.into();
    Some(if is_server { Address::Listen(path) } else { Address::Connect(path) })
}

/// Properties as QEMU writes them: `KEY=VALUE,KEY,…`, where a comma in a value is doubled.
#[derive(Debug)]
struct Properties(Vec<(String, String)>);

impl Properties {
    /// Parses properties, of which the first may lack its key.
    fn parse(text: &str, first: &str) -> Properties {
        let mut parts = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if character == ',' && characters.next_if_eq(&',').is_none() {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push(character);
            }
        }
        let property = |(index, part): (usize, String)| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if index == 0 => (first.to_owned(), part),
            None => (part, "on".to_owned()),
        };
        Properties(parts.into_iter().enumerate().map(property).collect())
    }

    /// Returns the last value of a key.
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
        Options::parse(&arguments).unwrap()
    }

    #[test]
    fn the_options_of_libvirts_probe_are_understood() {
        let options = parse(&[
            "-S",
            "-no-user-config",
            "-nodefaults",
            "-nographic",
            "-machine",
            "none,accel=kvm:tcg",
            "-qmp",
            "unix:/run/a,,b/qmp.monitor,server=on,wait=off",
            "-pidfile",
            "/run/a,b/qmp.pid",
            "-daemonize",
        ]);
        let expected = Options {
            accelerators: vec!["kvm".into(), "tcg".into()],
            monitor: Some(Address::Listen("/run/a,b/qmp.monitor".into())),
            pidfile: Some("/run/a,b/qmp.pid".into()),
            daemonize: true,
            version: false,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn a_monitor_may_be_at_a_character_device() {
        let device = "socket,id=monitor,path=/run/m,server=on,wait=off";
        let options = parse(&[
            "-chardev",
            device,
            "-mon",
            "chardev=monitor,id=m,mode=control",
            "-accel",
            "tcg",
        ]);
        assert_eq!(options.monitor, Some(Address::Listen("/run/m".into())));
        assert_eq!(options.accelerators, ["tcg"]);

        let options = parse(&["--qmp", "chardev:qmp", "--chardev", "socket,id=qmp,fd=3"]);
        assert_eq!(options.monitor, Some(Address::Inherited { number: 3, is_server: false }));
        // A monitor for people is another protocol.
        assert_eq!(parse(&["-mon", "chardev=c", "-chardev", "stdio,id=c"]).monitor, None);
    }

    #[test]
    fn without_accelerator_tcg_is_preferred() {
        let options = parse(&["-qmp", "unix:m,server,nowait"]);
        assert_eq!(options.accelerators, ["tcg", "kvm"]);
        assert_eq!(options.monitor, Some(Address::Listen("m".into())));
        assert_eq!(parse(&["-qmp", "unix:m"]).monitor, Some(Address::Connect("m".into())));
    }

    #[test]
    fn options_that_cannot_be_followed_are_refused_by_name() {
        let refused = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
            Options::parse(&arguments).unwrap_err().to_string()
        };
        assert_eq!(refused(&["-S", "-pidfile"]), "the option -pidfile has no value");
        assert_eq!(
            refused(&["-qmp", "tcp:localhost:4444,server=on"]),
            "the monitor is at \"tcp:localhost:4444,server=on\": use unix:, chardev: or stdio"
        );
        assert_eq!(
            refused(&["-qmp", "chardev:a", "-chardev", "pty,id=a"]),
            "the monitor's character device \"a\" is neither a UNIX socket nor stdio"
        );
        assert_eq!(
            refused(&["-qmp", "unix:,server=on"]),
            "the monitor \"unix:,server=on\" has no path"
        );
    }
}
