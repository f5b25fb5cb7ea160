//! A QMP connection of the tests, as simple as possible: one command, one reply.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A running emulator. Dropping it kills it.
pub(crate) struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
    /// The accelerator that it runs under.
    pub(crate) accelerator: String,
}

/// The reply of QEMU to a command: the returned value, or its error.
pub(crate) type Answer = Result<Value, Value>;

impl Qemu {
    pub(crate) fn start(emulator: &str, accelerator: &str) -> Qemu {
        // Not on stdin: some commands make QEMU close that.
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("qmp");
        let listener = UnixListener::bind(&path).expect("a socket");
        let child = Command::new(emulator)
            .args(["-S", "-no-user-config", "-nodefaults", "-display", "none", "-machine"])
            .arg(format!("none,accel={accelerator}"))
            .arg("-qmp")
            .arg(format!("unix:{}", path.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{emulator} is needed (make test installs it): {error}")
            });
        let (monitor, _) = listener.accept().expect("QEMU connects");
        let mut qemu =
            Qemu { child, monitor: BufReader::new(monitor), accelerator: accelerator.to_owned() };
        assert!(qemu.line().get("QMP").is_some(), "{emulator} greets");
        qemu.execute("qmp_capabilities", None).expect("QMP is negotiated");
        // Lists the types first, as the prober does: that loads the modules.
        qemu.execute("qom-list-types", None).expect("types");
        qemu
    }

    pub(crate) fn execute(&mut self, command: &str, arguments: Option<&Value>) -> Answer {
        let mut request = json!({"execute": command});
        if let Some(arguments) = arguments {
            request["arguments"] = arguments.clone();
        }
        writeln!(self.monitor.get_mut(), "{request}").expect("QEMU reads");
        loop {
            let mut line = self.line();
            if let Some(returned) = line.get_mut("return") {
                return Ok(returned.take());
            }
            if let Some(error) = line.get_mut("error") {
                return Err(error.take());
            }
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).expect("QEMU answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
