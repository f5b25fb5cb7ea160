//! Tests of the service, end to end: its own process, real emulators, a socket and a root of its own.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod accidents;
mod command;
mod crowds;
mod interface;
mod packages;
mod shares;
mod streams;
mod supervisor;
mod units;
mod users;
mod varlink;

#[path = "../shared/rights.rs"]
mod can;

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
use tempfile::TempDir;

/// Long enough for whatever is waited for, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one test: everybody may look into it, so that everybody may connect.
struct Dir(TempDir);

impl Dir {
    fn new() -> Dir {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Dir(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// The command, with nothing of the caller's environment but `PATH`.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capscache"));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CAPSCACHE_ROOT", self.root())
            .env("CAPSCACHE_SOCKET", self.socket())
            .stdin(Stdio::null());
    }

    /// A service that is ready. Its wrappers may write to the directory, to say that they ran.
    fn serve(&self, arguments: &[&str]) -> Service {
        let mut command = self.command();
        command.arg("serve").arg("--socket").arg(self.socket()).args(arguments);
        command.arg("--writable").arg(self.0.path());
        self.start(command)
    }

    /// Starts a process, and waits until it says that it is ready.
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

    /// A socket that starts the service when somebody connects; nobody has yet.
    fn activate(&self) -> Service {
        let mut activate = Command::new("systemd-socket-activate");
        activate.arg("--listen").arg(self.socket());
        activate.args(["--setenv=CAPSCACHE_ROOT", "--setenv=NOTIFY_SOCKET"]);
        activate.args([env!("CARGO_BIN_EXE_capscache"), "serve", "--socket", "/nowhere/else"]);
        self.prepare(&mut activate);
        let service = self.spawn(activate);
        wait_until("it listens", || self.socket().exists());
        service
    }

    /// A script that becomes an emulator.
    fn wrapper(&self, name: &str, target: &str) -> String {
        self.program(name, &format!("#!/bin/sh\nexec {target} \"$@\"\n"))
    }

    fn program(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// What systemd would be told.
struct Supervisor {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new(path: &Path) -> Supervisor {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Supervisor { path: path.to_owned(), socket }
    }

    /// Waits until a line is among what is told.
    fn wait_for(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect(line);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|told| told.starts_with(line)) {
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

    /// A method without a connection to remember.
    fn call(&self, method: &str, parameters: Value) -> Value {
        self.connect().call(method, parameters)
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    fn wait(&mut self) -> ExitStatus {
        wait_until("it ended", || {
            self.ended = self.child.try_wait().unwrap();
            self.ended.is_some()
        });
        self.ended.expect("it ended")
    }

    /// Asks it to end, and waits.
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

    /// Waits until what changes is noticed.
    fn wait_for_watcher(&self) {
        wait_until("it watches", || self.log().contains("capscache: watching "));
    }

    /// A number of kilobytes from `/proc/PID/status`.
    fn kilobytes(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How long the thread that answers everybody was run by a processor; `None`, and told, where the kernel
    /// does not count that.
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

/// A client that knows nothing but what Varlink's specification says.
struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn connect(socket: &Path) -> Client {
        Client::of(UnixStream::connect(socket).unwrap())
    }

    fn of(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    fn send(&mut self, message: &Value) {
        self.send_bytes(message.to_string().as_bytes());
    }

    /// Sends a message, whatever it is, with the NUL behind it.
    fn send_bytes(&mut self, message: &[u8]) {
        let mut bytes = message.to_vec();
        bytes.push(0);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next message; `None` at the end.
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

    /// Calls a method of the interface; the whole reply.
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        let method = format!("io.capscache.Cache.{method}");
        self.send(&json!({"method": method, "parameters": parameters}));
        self.receive()
    }

    /// Calls a method that must succeed; what it returns.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let mut reply = self.ask(method, parameters);
        assert_eq!(reply["error"], Value::Null, "{reply}");
        reply["parameters"].take()
    }

    /// Calls a method that must fail; its error without the name of the interface, and the error's
    /// parameters.
    fn error(&mut self, method: &str, parameters: Value) -> (String, Value) {
        let mut reply = self.ask(method, parameters);
        let name = reply["error"].as_str().unwrap_or_else(|| panic!("no error: {reply}"));
        let name = name.rsplit_once('.').unwrap().1.to_owned();
        (name, reply["parameters"].take())
    }

    /// Begins a call with many replies.
    fn begin(&mut self, method: &str, parameters: Value) {
        let method = format!("io.capscache.Cache.{method}");
        self.send(&json!({"method": method, "parameters": parameters, "more": true}));
    }

    /// Receives one message, which arrives in one piece, and what descriptors come with it.
    fn receive_with_descriptors(&mut self) -> (Value, Vec<OwnedFd>) {
        let (bytes, descriptors) = self.receive_bytes();
        let message = bytes.strip_suffix(b"\0").expect("a whole message");
        (serde_json::from_slice(message).unwrap(), descriptors)
    }

    /// Receives what is there, up to the next descriptors.
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

/// Does something as another user, in a thread that is nobody else's: what the kernel tells of a
/// connection is who made it.
fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let user = rustix::process::Uid::from_raw(uid);
            rustix::thread::set_thread_res_uid(user, user, user).expect("root may become anybody");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Somebody without any rights.
const NOBODY: u32 = 65534;

/// Whether a program is here; says so where it is not.
fn has(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).is_file());
    if !found {
        println!("SKIPPED: there is no {program} here");
    }
    found
}

/// Tells threads to end, also where an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until something is true.
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The path of an emulator that must be installed.
fn emulator(target: &str) -> String {
    let path = format!("/usr/bin/qemu-system-{target}");
    assert!(Path::new(&path).exists(), "there is no {path}: `make test` installs what is missing");
    path
}

/// A small emulator, so that tests are quick.
fn avr() -> String {
    emulator("avr")
}
