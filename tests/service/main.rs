//! Tests of the service, end to end: a separate process, real emulators, a separate socket and root.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod accidents;
mod command;
mod interface;
mod limits;
mod packages;
mod seeding;
mod shares;
mod streams;
mod supervisor;
mod units;
mod users;
mod varlink;

#[path = "../support/dir.rs"]
mod dir;

use std::fs;
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use test_support::{DEADLINE, NOBODY, as_user, avr, emulator, has, wait_until};

use crate::dir::Dir;

impl Dir {
    /// A service that is ready. Its wrappers may write to the directory, to record their runs.
    fn serve(&self, arguments: &[&str]) -> Service {
        let mut command = self.command();
        command.arg("serve").arg("--socket").arg(self.socket()).args(arguments);
        command.arg("--writable").arg(self.directory());
        self.start(command)
    }

    /// Starts a process, and waits until it reports that it is ready.
    fn start(&self, command: Command) -> Service {
        let service = self.spawn(command);
        service.supervisor.wait_for("READY=1");
        service
    }

    fn spawn(&self, mut command: Command) -> Service {
        let supervisor = Supervisor::new(&self.path("notify"));
        command.env("NOTIFY_SOCKET", &supervisor.path);
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Service { child, supervisor, socket: self.socket(), log: self.path("log"), ended: None }
    }

    /// A socket that starts the service at the first connection, and has none yet.
    fn activate(&self) -> Service {
        let mut activate = Command::new("systemd-socket-activate");
        activate.arg("--listen").arg(self.socket());
        activate.args(["--setenv=CAPSCACHE_ROOT", "--setenv=NOTIFY_SOCKET"]);
        activate.args([env!("CARGO_BIN_EXE_capscache"), "serve", "--socket", "/nowhere/else"]);
        self.prepare(&mut activate);
        let service = self.spawn(activate);
        // The file is there before a client may connect: the fourth column has the flag of a listening socket
        // (__SO_ACCEPTCON, include/uapi/linux/net.h).
        let listens = |line: &str| {
            line.split_whitespace().nth(3) == Some("00010000")
                && line.ends_with(self.socket().to_str().unwrap())
        };
        wait_until("it listens", || {
            fs::read_to_string("/proc/net/unix").unwrap().lines().any(listens)
        });
        service
    }
}

/// The notification socket of systemd.
struct Supervisor {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new(path: &Path) -> Supervisor {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Supervisor { path: path.to_owned(), socket }
    }

    /// Waits for a notification with this line.
    fn wait_for(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect(line);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|text| text.starts_with(line)) {
                return text;
            }
        }
    }
}

/// A running service; killed at the end of its test.
struct Service {
    child: Child,
    supervisor: Supervisor,
    socket: PathBuf,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Service {
    fn connect(&self) -> Client {
        Client::connect(&self.socket)
    }

    /// Calls a method over a new connection.
    fn call(&self, method: &str, parameters: Value) -> Value {
        self.connect().call(method, parameters)
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits until it has ended.
    fn wait(&mut self) -> ExitStatus {
        wait_until("it ended", || {
            self.ended = self.child.try_wait().unwrap();
            self.ended.is_some()
        });
        self.ended.expect("it ended")
    }

    /// Sends SIGTERM, and waits.
    fn stop(&mut self) -> ExitStatus {
        let began = Instant::now();
        self.signal("TERM");
        let status = self.wait();
        println!("ended {} ms after SIGTERM", began.elapsed().as_millis());
        status
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until changes are detected.
    fn wait_for_watcher(&self) {
        wait_until("it watches", || self.log().contains("capscache: watching "));
    }

    /// A number of kilobytes from `/proc/PID/status`.
    fn kilobytes(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The processor time of the thread that answers calls; returns `None` and reports a skip where the kernel does
    /// not count it.
    fn busy(&self) -> Option<Duration> {
        let pid = self.child.id();
        let counted = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"));
        let first = |text: &str| text.split_whitespace().next()?.parse().ok();
        let counted = counted.ok().and_then(|text| first(&text)).map(Duration::from_nanos);
        if counted.is_none() {
            println!("SKIPPED: the kernel does not count how long threads run");
        }
        counted
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log);
            println!("what the service printed:\n{}", log.unwrap_or_default());
        }
    }
}

/// A client that uses only Varlink's specification.
struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn connect(socket: &Path) -> Client {
        Client::of(UnixStream::connect(socket).unwrap())
    }

    fn of(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    fn send(&mut self, message: &Value) {
        self.send_bytes(message.to_string().as_bytes());
    }

    /// Sends a message of any content, with the NUL after it.
    fn send_bytes(&mut self, message: &[u8]) {
        let mut bytes = message.to_vec();
        bytes.push(0);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Receives the next message; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        let mut bytes = Vec::new();
        match self.reader.read_until(0, &mut bytes) {
            Ok(0) => None,
            Ok(_) => {
                assert_eq!(bytes.pop(), Some(0), "a message that was cut off");
                Some(serde_json::from_slice(&bytes).unwrap())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self) -> Value {
        self.next().expect("a message")
    }

    /// Calls a method of the interface; returns the whole reply.
    fn reply_to(&mut self, method: &str, parameters: Value) -> Value {
        let method = format!("io.capscache.Cache.{method}");
        self.send(&json!({"method": method, "parameters": parameters}));
        self.receive()
    }

    /// Calls a method that must succeed; returns its result.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let mut reply = self.reply_to(method, parameters);
        assert_eq!(reply["error"], Value::Null, "{reply}");
        reply["parameters"].take()
    }

    /// Calls a method that must fail; returns its error without the name of the interface, and the error's
    /// parameters.
    fn error(&mut self, method: &str, parameters: Value) -> (String, Value) {
        let mut reply = self.reply_to(method, parameters);
        let name = reply["error"].as_str().unwrap_or_else(|| panic!("not an error: {reply}"));
        let name = name.rsplit_once('.').unwrap().1.to_owned();
        (name, reply["parameters"].take())
    }

    /// Begins a call with many replies.
    fn begin(&mut self, method: &str, parameters: Value) {
        let method = format!("io.capscache.Cache.{method}");
        self.send(&json!({"method": method, "parameters": parameters, "more": true}));
    }

    /// Receives one message, which arrives in one piece, with its descriptors.
    fn receive_with_descriptors(&mut self) -> (Value, Vec<OwnedFd>) {
        let (bytes, descriptors) = self.receive_bytes();
        let message = bytes.strip_suffix(b"\0").expect("a whole message");
        (serde_json::from_slice(message).unwrap(), descriptors)
    }

    /// Receives the available bytes, up to the next descriptors.
    fn receive_bytes(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut bytes = vec![0; 1 << 16];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.stream, &mut into, &mut control, RecvFlags::empty()).unwrap();
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        bytes.truncate(received.bytes);
        (bytes, descriptors)
    }
}

/// Signals threads to end, also where an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
