//! Guests that libvirt's `virt-qemu-run` and `capscache run` start: QEMU reports the same machine of both.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Scene;

/// Guests, with their architectures and machines.
const GUESTS: &[(&str, &str, &str, &str)] = &[
    (
        "pc",
        "x86_64",
        "pc",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><serial type='pty'/>",
    ),
    (
        "pc-ide",
        "x86_64",
        "pc",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='hda' bus='ide'/></disk><disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk><input type='tablet' bus='usb'/><video><model type='cirrus'/></video><graphics type='vnc' port='5997'/>",
    ),
    (
        "pc-scsi",
        "x86_64",
        "pc",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><controller type='scsi' model='lsilogic'/><watchdog model='i6300esb'/>",
    ),
    (
        "q35",
        "x86_64",
        "q35",
        "<disk type='file'><driver name='qemu' type='raw' cache='none' discard='unmap'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    ),
    (
        "q35-scsi",
        "x86_64",
        "q35",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><controller type='scsi' model='virtio-scsi'/><console type='pty'><target type='virtio'/></console><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    ),
    (
        "q35-usb",
        "x86_64",
        "q35",
        "<controller type='usb' model='qemu-xhci' ports='8'/><input type='keyboard' bus='usb'/><disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='usb'/></disk><sound model='ich9'/><panic model='isa'/>",
    ),
    (
        "microvm",
        "x86_64",
        "microvm",
        "<controller type='usb' model='none'/><serial type='pty'/><memballoon model='none'/>",
    ),
    (
        "virt",
        "aarch64",
        "virt",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><serial type='pty'/>",
    ),
    (
        "s390x",
        "s390x",
        "s390-ccw-virtio",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><console type='pty'/>",
    ),
    (
        "s390x-scsi",
        "s390x",
        "s390-ccw-virtio",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    ),
];

/// Settings with which libvirt needs no other daemons.
const QEMU_CONF: &str = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\nuser = \"root\"\ngroup = \"root\"\n";

/// The time without a change after which firmware has ended.
const SETTLED: Duration = Duration::from_secs(4);

/// The longest time for a guest to run.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that runs a guest, and ends it when it is dropped.
struct Runner(Child);

impl Drop for Runner {
    fn drop(&mut self) {
        // The shell of a test may have no `kill` of its own that takes a name.
        for _ in 0..2 {
            _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
            std::thread::sleep(Duration::from_millis(100));
        }
        _ = self.0.wait();
    }
}

/// A monitor beside that of the runner, which the guest names in QEMU's namespace.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn connect(socket: &Path) -> Monitor {
        let began = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => {
                    assert!(
                        began.elapsed() < PATIENCE,
                        "no monitor at {}: {error}",
                        socket.display()
                    );
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Monitor(BufReader::new(stream));
        monitor.line();
        monitor.query("qmp_capabilities", json!({}));
        monitor
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn query(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.0.get_mut(), "{}", json!({"execute": command, "arguments": arguments}))
            .unwrap();
        loop {
            let mut reply = self.line();
            if let Some(error) = reply.get("error") {
                panic!("{command}: {error}");
            }
            if reply.get("return").is_some() {
                return reply["return"].take();
            }
        }
    }

    /// Waits until the guest runs.
    fn wait(&mut self) {
        let began = Instant::now();
        while self.query("query-status", json!({}))["status"] != "running" {
            assert!(began.elapsed() < PATIENCE, "the guest does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns what QEMU reports about the machine, once firmware has set up its devices: what it reports stays the same.
    /// Firmware of s390x sets up nothing, and crashes again and again where there is nothing to boot.
    fn settled_facts(&mut self, arch: &str) -> Vec<String> {
        if arch == "s390x" {
            self.query("stop", json!({}));
            return self.facts();
        }
        let began = Instant::now();
        let (mut facts, mut since) = (self.facts(), Instant::now());
        while since.elapsed() < SETTLED {
            assert!(began.elapsed() < PATIENCE, "the machine changes all the time");
            std::thread::sleep(Duration::from_millis(200));
            let now = self.facts();
            if now != facts {
                (facts, since) = (now, Instant::now());
            }
        }
        facts
    }

    /// Returns the paths, types and links of all objects below one.
    fn objects(&mut self, path: &str, found: &mut Vec<String>) {
        let properties = self.query("qom-list", json!({"path": path}));
        for property in properties.as_array().unwrap() {
            let (name, kind) =
                (property["name"].as_str().unwrap(), property["type"].as_str().unwrap());
            found.push(format!("{path}/{name}: {kind}"));
            if kind.starts_with("child<") {
                self.objects(&format!("{path}/{name}"), found);
            }
        }
    }

    /// Returns what QEMU reports about a machine, one fact a line.
    fn facts(&mut self) -> Vec<String> {
        let mut facts = Vec::new();
        for query in
            ["query-pci", "query-block", "query-chardev", "query-cpus-fast", "query-version"]
        {
            let reply = serde_json::to_string_pretty(&self.query(query, json!({}))).unwrap();
            facts.extend(reply.lines().map(|line| format!("{query}: {line}")));
        }
        self.objects("/machine", &mut facts);
        self.objects("/objects", &mut facts);
        let tree = self.query("human-monitor-command", json!({"command-line": "info mtree"}));
        facts.extend(sorted_spaces(tree.as_str().unwrap()));
        facts
    }
}

/// Returns the lines of `info mtree`, whose address spaces QEMU prints in the order of their places in memory.
fn sorted_spaces(tree: &str) -> Vec<String> {
    let mut spaces: Vec<Vec<String>> = Vec::new();
    for space in tree.replace('\r', "").split("\n\n") {
        let mut lines: Vec<String> = space.lines().map(str::to_owned).collect();
        let names = lines.iter().take_while(|line| line.starts_with("address-space: ")).count();
        lines[..names].sort();
        spaces.push(lines);
    }
    spaces.sort();
    spaces.concat()
}

/// Removes what differs between any two runs: processes, terminals, and directories of each root.
fn normalize(fact: &str, root: &Path) -> Option<String> {
    let mut fact = fact.replace(&root.display().to_string(), "ROOT");
    // Sockets are at other places of each root, and may have been bound by another name.
    if let Some((start, socket)) = fact.split_once("unix:")
        && let Some((_, name)) = socket.rsplit_once('/')
    {
        fact = format!("{start}unix:{name}");
    }
    // A file system may report the size of an empty file late; drivers negotiate the cache of a disk.
    if ["thread-id", "/dev/pts/", "actual-size", "\"writeback\""]
        .iter()
        .any(|part| fact.contains(part))
    {
        return None;
    }
    Some(fact)
}

fn write_guest(
    scene: &Scene,
    case: &(&str, &str, &str, &str),
    socket: &Path,
) -> std::path::PathBuf {
    let (name, arch, machine, devices) = case;
    let disk = scene.path("disk.img");
    fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let devices = devices.replace("DISK", &disk.display().to_string());
    let xml = format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
           <name>{name}</name>
           <uuid>0d3a9c2e-51c4-4b0a-8f5e-5b2f6c0a7d11</uuid>
           <memory unit='MiB'>256</memory>
           <vcpu>2</vcpu>
           <os><type arch='{arch}' machine='{machine}'>hvm</type></os>
           <!-- s390x crashes where there is nothing to boot. -->
           <on_crash>restart</on_crash>
           <devices><emulator>/usr/bin/qemu-system-{arch}</emulator>{devices}</devices>
           <qemu:commandline>
             <qemu:arg value='-qmp'/>
             <qemu:arg value='unix:{},server=on,wait=off'/>
           </qemu:commandline>
         </domain>",
        socket.display()
    );
    let file = scene.path(&format!("{name}.xml"));
    fs::write(&file, xml).unwrap();
    file
}

/// Starts the guest with a command, and returns what QEMU reports about it.
fn report(command: &mut Command, arch: &str, socket: &Path, root: &Path) -> Vec<String> {
    _ = fs::remove_file(socket);
    let log = fs::File::create(root.with_extension("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let _runner = Runner(command.spawn().expect("`make test-peers` installs what is needed"));
    let mut monitor = Monitor::connect(socket);
    monitor.wait();
    monitor.settled_facts(arch).iter().filter_map(|fact| normalize(fact, root)).collect()
}

#[test]
fn ten_guests_are_the_same_machines_when_libvirt_starts_them() {
    let scene = Scene::new();
    let (theirs, ours) = (scene.path("theirs"), scene.path("ours"));
    fs::create_dir_all(theirs.join("etc")).unwrap();
    fs::write(theirs.join("etc/qemu.conf"), QEMU_CONF).unwrap();
    for case in GUESTS {
        let socket = scene.path("qmp");
        let guest = write_guest(&scene, case, &socket);
        let mut libvirt = Command::new("tini");
        libvirt.args(["-s", "--", "virt-qemu-run", "-v"]);
        libvirt.arg(format!("--root={}", theirs.display())).arg(&guest);
        let expected = report(&mut libvirt, case.1, &socket, &theirs);
        let mut capscache = Command::new(env!("CARGO_BIN_EXE_capscache"));
        capscache.arg("--root").arg(&ours).arg("run").arg(&guest);
        let found = report(&mut capscache, case.1, &socket, &ours);
        assert!(expected.len() > 100, "{}: {expected:?}", case.0);
        let differs = found.iter().zip(&expected).filter(|(ours, theirs)| ours != theirs);
        let differs: Vec<_> = differs.take(5).collect();
        assert!(found == expected, "{}: ours, theirs: {differs:#?}", case.0);
        println!("{}: {} facts of QEMU are the same", case.0, found.len());
    }
}
