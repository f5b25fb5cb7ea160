//! Settings that no option of QEMU has, and devices that are files of the host.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use capscache_run::{ResourceError, StartError};

use crate::kernel::{HELLO, REPEAT};
use crate::{Dir, guest_with};

/// Options by which QEMU writes the commands of its monitor to its log.
const TRACE: &str = "<qemu:commandline><qemu:arg value='-trace'/>\
                     <qemu:arg value='enable=handle_qmp_command'/></qemu:commandline>";

/// Returns the commands that an emulator has received, in order.
fn commands(dir: &Dir, name: &str) -> Vec<serde_json::Value> {
    let log = fs::read_to_string(dir.path(&format!("root/log/{name}.log"))).unwrap();
    let requests = log.lines().filter_map(|line| line.split_once(" req: "));
    requests.map(|(_, json)| serde_json::from_str(json).unwrap()).collect()
}

/// Returns the position of a command.
fn position(commands: &[serde_json::Value], name: &str) -> Option<usize> {
    commands.iter().position(|command| command["execute"] == name)
}

/// Returns the host's CPUs of a thread by its name.
fn cpus_of(pid: i32, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let is_it = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim() == name)
    };
    let task = tasks.find(is_it).unwrap_or_else(|| panic!("no thread {name}"));
    let status = fs::read_to_string(task.join("status")).unwrap();
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cpus.unwrap().trim().to_owned()
}

/// Returns true if the host has the CPUs 0 and 1; says so otherwise.
fn has_two_cpus() -> bool {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let has = online.trim() != "0";
    if !has {
        eprintln!("skipped: the host has one CPU");
    }
    has
}

#[test]
fn the_password_of_vnc_is_required_and_is_not_on_the_command_line() {
    let dir = Dir::new();
    let socket = dir.path("vnc.sock");
    let vnc = format!(
        "<graphics type='vnc' passwd='hidden12' passwdValidTo='2999-01-01T00:00:00'>\
         <listen type='socket' socket='{}'/></graphics>",
        socket.display()
    );
    let running = dir.start(&guest_with("vnc", TRACE, "", &vnc));
    let mut client = UnixStream::connect(&socket).unwrap();
    let mut version = [0; 12];
    client.read_exact(&mut version).unwrap();
    client.write_all(&version).unwrap();
    let mut types = [0; 2];
    client.read_exact(&mut types).unwrap();
    assert_eq!(types, [1, 2], "one type, which is the password of VNC");
    let arguments = fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("hidden12"));
    let commands = commands(&dir, "vnc");
    let [set, expire, cont] =
        ["set_password", "expire_password", "cont"].map(|name| position(&commands, name).unwrap());
    assert!(set < expire && expire < cont, "{commands:?}");
    assert_eq!(commands[set]["arguments"]["password"], "hidden12");
    assert_eq!(commands[expire]["arguments"]["time"], "32472144000");
}

#[test]
fn a_link_is_down_before_the_guest_runs() {
    let dir = Dir::new();
    let interface = "<interface type='user'><mac address='52:54:00:11:22:33'/>\
                     <model type='virtio'/><link state='down'/></interface>";
    let _running = dir.start(&guest_with("down", TRACE, "", interface));
    let commands = commands(&dir, "down");
    let link = position(&commands, "set_link").unwrap();
    assert!(link < position(&commands, "cont").unwrap());
    assert_eq!(commands[link]["arguments"], serde_json::json!({"name": "net0", "up": false}));
}

#[test]
fn the_balloon_and_the_limits_of_disks_are_set_before_the_guest_runs() {
    let dir = Dir::new();
    let disks =
        ["virtio", "scsi", "ide", "usb", "fdc"].iter().zip(["vda", "sda", "hda", "sdb", "fda"]);
    let disks = disks.map(|(bus, target)| {
        let path = dir.path(target);
        fs::File::create(&path).unwrap().set_len(1_474_560).unwrap();
        let device = if *bus == "fdc" { "floppy" } else { "disk" };
        format!(
            "<disk type='file' device='{device}'><driver name='qemu' type='raw'/>\
             <source file='{}'/><target dev='{target}' bus='{bus}'/>\
             <iotune><total_bytes_sec>1048576</total_bytes_sec></iotune></disk>",
            path.display()
        )
    });
    let memory = format!("<currentMemory unit='MiB'>32</currentMemory>{TRACE}");
    let xml = guest_with("limits", &memory, "", &disks.collect::<String>())
        .replace("<controller type='usb' model='none'/>", "")
        .replace(
            "<memballoon model='none'/>",
            "<memballoon model='virtio'><stats period='7'/></memballoon>",
        );
    let _running = dir.start(&xml);
    let commands = commands(&dir, "limits");
    let cont = position(&commands, "cont").unwrap();
    let arguments = |name| {
        let found = position(&commands, name).unwrap();
        assert!(found < cont, "{name}");
        &commands[found]["arguments"]
    };
    assert_eq!(arguments("balloon")["value"], 32 << 20);
    assert_eq!(arguments("qom-set")["value"], 7);
    assert_eq!(arguments("block_set_io_throttle")["bps"], 1_048_576);
    let throttled = commands.iter().filter(|c| c["execute"] == "block_set_io_throttle").count();
    assert_eq!(throttled, 5);
}

#[test]
fn threads_run_on_their_cpus() {
    if !has_two_cpus() {
        return;
    }
    let dir = Dir::new();
    let tune = "<iothreads>1</iothreads><cputune><vcpupin vcpu='1' cpuset='1'/>\
                <emulatorpin cpuset='0'/><iothreadpin iothread='1' cpuset='1'/></cputune>";
    let xml = guest_with("pinned", tune, "", "").replace("<vcpu>1<", "<vcpu>2<");
    let running = dir.start(&xml);
    let cpus = |name| cpus_of(running.pid(), name);
    assert_eq!(cpus("CPU 1/TCG"), "1");
    assert_eq!(cpus("IO iothread1"), "1");
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    assert_eq!(cpus("CPU 0/TCG"), own.trim(), "it has none of its own");
    let main = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    assert!(main.contains("Cpus_allowed_list:\t0\n"), "{main}");
}

#[test]
fn all_threads_run_on_the_cpus_of_the_guest() {
    if !has_two_cpus() {
        return;
    }
    let dir = Dir::new();
    let xml = guest_with("set", "", "", "").replace("<vcpu>", "<vcpu cpuset='1'>");
    let running = dir.start(&xml);
    assert_eq!(cpus_of(running.pid(), "CPU 0/TCG"), "1");
}

#[test]
fn a_cpu_is_plugged_in_before_the_guest_runs() {
    let dir = Dir::new();
    let vcpus = "<vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>\
                 <vcpu id='1' enabled='yes' hotpluggable='yes'/>\
                 <vcpu id='2' enabled='no' hotpluggable='yes'/></vcpus>";
    let xml = guest_with("plugged", &format!("{vcpus}{TRACE}"), "", "")
        .replace("<vcpu>1<", "<vcpu current='2'>3<");
    let running = dir.start(&xml);
    assert!(!cpus_of(running.pid(), "CPU 1/TCG").is_empty());
    let commands = commands(&dir, "plugged");
    let plug = position(&commands, "device_add").unwrap();
    assert!(plug < position(&commands, "cont").unwrap());
    assert_eq!(commands[plug]["arguments"]["id"], "vcpu1");
}

#[test]
fn a_serial_port_writes_to_its_file_and_its_log() {
    let dir = Dir::new();
    let (file, log) = (dir.path("serial"), dir.path("log"));
    for (append, expected) in [("off", "Hi"), ("on", "HiHi"), ("off", "Hi")] {
        let serial = format!(
            "<serial type='file'><source path='{}' append='{append}'/>\
             <log file='{}' append='on'/><target port='0'/></serial>",
            file.display(),
            log.display()
        );
        dir.start(&guest_with("serial", "", &dir.kernel(HELLO), &serial)).wait();
        assert_eq!(fs::read_to_string(&file).unwrap(), expected, "{append}");
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "HiHiHi");
}

#[test]
fn a_socket_of_a_serial_port_is_there_while_the_guest_runs() {
    let dir = Dir::new();
    // Too long for the address of a socket.
    let folder = dir.path(&"f".repeat(120));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("port.sock");
    let serial = format!(
        "<serial type='unix'><source mode='bind' path='{}'/><target port='0'/></serial>",
        path.display()
    );
    let running = dir.start(&guest_with("socket", "", &dir.kernel(REPEAT), &serial));
    let folder = fs::File::open(&folder).unwrap();
    let short = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
    let mut client = UnixStream::connect(Path::new(&short).join("port.sock")).unwrap();
    let mut bytes = [0; 3];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"AAA");
    running.quit();
    running.wait();
    assert!(!path.exists());
}

#[test]
fn a_file_at_the_path_of_a_socket_is_neither_replaced_nor_removed() {
    let dir = Dir::new();
    let path = dir.path("file");
    fs::write(&path, "mine").unwrap();
    let serial = format!(
        "<serial type='unix'><source mode='bind' path='{}'/><target port='0'/></serial>",
        path.display()
    );
    let error = dir.prepare(&guest_with("taken", "", "", &serial)).start().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot bind {}", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_fifo_without_a_reader_is_an_error_and_does_not_block() {
    let dir = Dir::new();
    let path = dir.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let serial = format!(
        "<serial type='file'><source path='{}'/><target port='0'/></serial>",
        path.display()
    );
    let error = dir.prepare(&guest_with("fifo", "", "", &serial)).start().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}", path.display()));
}

/// Asserts that a guest is refused before anything is created.
fn assert_refused(elements: &str, devices: &str, expected: &str) {
    let dir = Dir::new();
    let error = dir
        .run(&guest_with("refused", elements, "", devices))
        .prepare(&crate::entry())
        .unwrap_err();
    let StartError::Resource(ResourceError::Host { .. }) = &error else { panic!("{error:?}") };
    assert!(error.to_string().contains(expected), "{error}");
    assert!(!dir.path("root").exists(), "nothing was started");
}

#[test]
fn settings_that_cannot_be_applied_are_refused_before_a_process_starts() {
    assert_refused(
        "<cputune><vcpupin vcpu='0' cpuset='9000-9001'/></cputune>",
        "",
        "line 7: /domain/cputune/vcpupin: none of the host's CPUs [9000, 9001] is online; use some of 0",
    );
    assert_refused(
        "<numatune><memory mode='restrictive' nodeset='0'/></numatune>",
        "",
        "line 7: /domain/numatune/memory: memory is restricted to NUMA nodes by a control group",
    );
    assert_refused(
        "",
        "<hostdev mode='subsystem' type='pci' managed='yes'><source>\
         <address domain='0xfffe' bus='0' slot='0' function='0'/></source></hostdev>",
        "line 12: /domain/devices/hostdev: the host has no PCI device fffe:00:00.0",
    );
    assert_refused(
        "",
        "<graphics type='vnc' passwd='x' passwdValidTo='soon'><listen type='none'/></graphics>",
        "line 12: /domain/devices/graphics: the password of a console is valid to \"soon\"",
    );
}

#[test]
fn the_file_of_a_persistent_store_is_made_with_its_size_and_kept() {
    let dir = Dir::new();
    let store = "<pstore backend='acpi-erst'><size unit='KiB'>64</size></pstore>";
    drop(dir.start(&guest_with("store", "", "", store)));
    let path = dir.path("root/lib/nvram/store_PSTORE.raw");
    assert_eq!(fs::metadata(&path).unwrap().len(), 64 << 10);
    let content = fs::read(&path).unwrap();
    assert!(content.iter().any(|byte| *byte != 0), "QEMU has written its header");
    drop(dir.start(&guest_with("store", "", "", store)));
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn threads_that_allocated_memory_are_deleted_before_the_guest_runs() {
    if !Path::new("/sys/devices/system/node/node0").exists() {
        return eprintln!("skipped: the host has no NUMA nodes");
    }
    let dir = Dir::new();
    let elements = format!(
        "<memoryBacking><allocation mode='immediate'/></memoryBacking>\
         <numatune><memory mode='strict' nodeset='0'/></numatune>{TRACE}"
    );
    let _running = dir.start(&guest_with("threads", &elements, "", ""));
    let commands = commands(&dir, "threads");
    let deleted = position(&commands, "object-del").unwrap();
    assert_eq!(commands[deleted]["arguments"]["id"], "tc-pc.ram");
    assert!(deleted < position(&commands, "cont").unwrap());
}
