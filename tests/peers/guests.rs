//! Guests that libvirt's `virt-qemu-run` and `capscache run` start: QEMU reports the same machine of both.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Scene;

/// A guest, and the surroundings that its runner needs.
struct Case {
    name: &'static str,
    arch: &'static str,
    machine: &'static str,
    accelerator: &'static str,
    /// Elements beside `<devices>`.
    head: &'static str,
    devices: &'static str,
    /// A script of the shell that prepares namespaces and becomes the rest of its arguments.
    surroundings: Option<&'static str>,
}

const fn emulated(
    name: &'static str,
    arch: &'static str,
    machine: &'static str,
    devices: &'static str,
) -> Case {
    Case { name, arch, machine, accelerator: "qemu", head: "", devices, surroundings: None }
}

const GUESTS: &[Case] = &[
    emulated(
        "pc",
        "x86_64",
        "pc",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><serial type='pty'/>",
    ),
    emulated(
        "pc-ide",
        "x86_64",
        "pc",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='hda' bus='ide'/></disk><disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk><input type='tablet' bus='usb'/><video><model type='cirrus'/></video><graphics type='vnc' port='5997'/>",
    ),
    emulated(
        "pc-scsi",
        "x86_64",
        "pc",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><controller type='scsi' model='lsilogic'/><watchdog model='i6300esb'/>",
    ),
    emulated(
        "q35",
        "x86_64",
        "q35",
        "<disk type='file'><driver name='qemu' type='raw' cache='none' discard='unmap'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    ),
    emulated(
        "q35-scsi",
        "x86_64",
        "q35",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><controller type='scsi' model='virtio-scsi'/><console type='pty'><target type='virtio'/></console><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    ),
    emulated(
        "q35-usb",
        "x86_64",
        "q35",
        "<controller type='usb' model='qemu-xhci' ports='8'/><input type='keyboard' bus='usb'/><disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='usb'/></disk><sound model='ich9'/><panic model='isa'/>",
    ),
    emulated(
        "microvm",
        "x86_64",
        "microvm",
        "<controller type='usb' model='none'/><serial type='pty'/><memballoon model='none'/>",
    ),
    emulated(
        "virt",
        "aarch64",
        "virt",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><serial type='pty'/>",
    ),
    emulated(
        "s390x",
        "s390x",
        "s390-ccw-virtio",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><console type='pty'/>",
    ),
    emulated(
        "s390x-scsi",
        "s390x",
        "s390-ccw-virtio",
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    ),
];

/// A network of its own, with a bridge.
const BRIDGE: &str = "exec unshare --net sh -c 'ip link set lo up; ip link add br0 type bridge; ip link set br0 up; exec \"$@\"' sh \"$@\"";

/// Pages of 2 MiB where libvirt finds them, for the runner alone.
const HUGE_PAGES: &str = "exec unshare --mount sh -c 'mkdir -p /dev/hugepages; mount -t hugetlbfs -o pagesize=2M none /dev/hugepages; exec \"$@\"' sh \"$@\"";

const KVM_GUESTS: &[Case] = &[
    Case {
        name: "kvm-pc",
        arch: "x86_64",
        machine: "pc",
        accelerator: "kvm",
        head: "<features><acpi/><apic/></features><cpu mode='host-passthrough' migratable='on'/><clock offset='localtime'><timer name='hpet' present='no'/></clock>",
        devices: "<disk type='file'><driver name='qemu' type='raw'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/></interface><video><model type='vga'/></video><graphics type='vnc' port='5997'/>",
        surroundings: None,
    },
    Case {
        name: "kvm-q35-bridge",
        arch: "x86_64",
        machine: "q35",
        accelerator: "kvm",
        head: "<features><acpi/></features><cpu mode='host-model'/>",
        devices: "<disk type='file'><driver name='qemu' type='raw' cache='none' io='native'/><source file='DISK'/><target dev='sda' bus='scsi'/></disk><controller type='scsi' model='virtio-scsi'/><interface type='bridge'><source bridge='br0'/><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>",
        surroundings: Some(BRIDGE),
    },
    Case {
        name: "kvm-q35-hugepages",
        arch: "x86_64",
        machine: "q35",
        accelerator: "kvm",
        head: "<memoryBacking><hugepages/></memoryBacking><features><acpi/></features><cpu mode='maximum'/>",
        devices: "<serial type='pty'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
        surroundings: Some(HUGE_PAGES),
    },
    Case {
        name: "kvm-q35-numa",
        arch: "x86_64",
        machine: "q35",
        accelerator: "kvm",
        head: "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking><features><acpi/></features><cpu mode='custom' match='exact' check='none'><model>qemu64</model><topology sockets='1' dies='1' cores='2' threads='1'/><numa><cell id='0' cpus='0' memory='128' unit='MiB'/><cell id='1' cpus='1' memory='128' unit='MiB'/></numa></cpu>",
        devices: "<disk type='file'><driver name='qemu' type='raw' iothread='1'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk><memballoon model='none'/>",
        surroundings: None,
    },
    Case {
        name: "kvm-microvm",
        arch: "x86_64",
        machine: "microvm",
        accelerator: "kvm",
        head: "<cpu mode='host-passthrough'/>",
        devices: "<controller type='usb' model='none'/><serial type='pty'/><memballoon model='none'/>",
        surroundings: None,
    },
];

/// Settings with which libvirt needs no other daemons.
const QEMU_CONF: &str = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\nuser = \"root\"\ngroup = \"root\"\n";

/// The time without a change after which firmware has ended.
const SETTLED: Duration = Duration::from_secs(4);

/// The longest time for a guest to run.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that runs a guest, and its log. Dropping it ends the guest.
struct Runner(Child, PathBuf);

impl Drop for Runner {
    fn drop(&mut self) {
        // The shell of a test may have no `kill` of its own that takes a name.
        for _ in 0..2 {
            _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
            std::thread::sleep(Duration::from_millis(100));
        }
        _ = self.0.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.1).unwrap_or_default());
        }
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

fn write_guest(scene: &Scene, case: &Case, socket: &Path) -> PathBuf {
    let Case { name, arch, machine, accelerator, head, devices, .. } = case;
    let disk = scene.path("disk.img");
    fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let threads = if devices.contains("iothread") { "<iothreads>1</iothreads>" } else { "" };
    let devices = devices.replace("DISK", &disk.display().to_string());
    let xml = format!(
        "<domain type='{accelerator}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
           <name>{name}</name>
           <uuid>0d3a9c2e-51c4-4b0a-8f5e-5b2f6c0a7d11</uuid>
           <memory unit='MiB'>256</memory>
           <vcpu>2</vcpu>
           {threads}{head}
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

/// Returns the command in the surroundings that its guest needs.
fn surrounded(command: Command, script: Option<&str>) -> Command {
    let Some(script) = script else { return command };
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    shell
}

/// Starts the guest with a command, and returns what QEMU reports about it.
fn report(command: &mut Command, arch: &str, socket: &Path, root: &Path) -> Vec<String> {
    _ = fs::remove_file(socket);
    let path = root.with_extension("log");
    let log = fs::File::create(&path).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let child = command.spawn().expect("`make test-peers` installs what is needed");
    let _runner = Runner(child, path);
    let mut monitor = Monitor::connect(socket);
    monitor.wait();
    monitor.settled_facts(arch).iter().filter_map(|fact| normalize(fact, root)).collect()
}

/// Starts each guest with libvirt and with `capscache run`, and compares what QEMU reports.
fn compare(guests: &[Case]) {
    let scene = Scene::new();
    let (theirs, ours) = (scene.path("theirs"), scene.path("ours"));
    fs::create_dir_all(theirs.join("etc")).unwrap();
    fs::write(theirs.join("etc/qemu.conf"), QEMU_CONF).unwrap();
    for case in guests {
        let socket = scene.path("qmp");
        let guest = write_guest(&scene, case, &socket);
        let mut libvirt = Command::new("tini");
        libvirt.args(["-s", "--", "virt-qemu-run", "-v"]);
        libvirt.arg(format!("--root={}", theirs.display())).arg(&guest);
        let mut libvirt = surrounded(libvirt, case.surroundings);
        let expected = report(&mut libvirt, case.arch, &socket, &theirs);
        let mut capscache = Command::new(env!("CARGO_BIN_EXE_capscache"));
        capscache.arg("--root").arg(&ours).arg("run").arg(&guest);
        let mut capscache = surrounded(capscache, case.surroundings);
        let found = report(&mut capscache, case.arch, &socket, &ours);
        assert!(expected.len() > 100, "{}: {expected:?}", case.name);
        let differs = found.iter().zip(&expected).filter(|(ours, theirs)| ours != theirs);
        let differs: Vec<_> = differs.take(5).collect();
        assert!(found == expected, "{}: ours, theirs: {differs:#?}", case.name);
        println!("{}: {} facts of QEMU are the same", case.name, found.len());
    }
}

#[test]
fn ten_guests_are_the_same_machines_when_libvirt_starts_them() {
    compare(GUESTS);
}

/// The number of huge pages of this host, which is restored when it is dropped.
struct HugePages(String);

impl HugePages {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    /// Reserves pages for a guest of 256 MiB.
    fn reserve() -> Option<HugePages> {
        let before = fs::read_to_string(HugePages::FILE).ok()?;
        let number = || fs::read_to_string(HugePages::FILE).ok()?.trim().parse::<u32>().ok();
        let had = number()?;
        fs::write(HugePages::FILE, (had + 160).to_string()).ok()?;
        let pages = HugePages(before);
        (number()? >= had + 128).then_some(pages)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        _ = fs::write(HugePages::FILE, &self.0);
    }
}

#[test]
fn guests_of_kvm_are_the_same_machines_when_libvirt_starts_them() {
    if !test_support::kvm_opens() {
        return;
    }
    let pages = HugePages::reserve();
    for case in KVM_GUESTS {
        if case.surroundings == Some(HUGE_PAGES) && pages.is_none() {
            println!("SKIPPED: {}: the kernel has not enough huge pages", case.name);
            continue;
        }
        compare(std::slice::from_ref(case));
    }
}
