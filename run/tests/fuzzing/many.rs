//! Guests with very many parts: they have a command line, or are refused, in time that grows with their size.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::emulators::Emulators;
use crate::run;

/// Parts that a guest repeats; `#` stands for the number of each, from 0, and `@` for the same in letters.
const PARTS: &[(&str, &str)] = &[
    (
        "devices",
        "<disk type='file'><source file='/#'/><target dev='vd@' bus='virtio'/><boot order='1#'/></disk>",
    ),
    (
        "devices",
        "<disk type='file'><source file='/#'/><target dev='sd@' bus='scsi'/><driver iothread='1'/></disk>",
    ),
    (
        "devices",
        "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>",
    ),
    (
        "devices",
        "<interface type='ethernet'><mac address='52:54:00:00:00:01'/><model type='virtio'/><driver queues='256'/></interface>",
    ),
    ("devices", "<channel type='null'><target type='virtio' name='c#'/></channel>"),
    ("devices", "<serial type='null'/>"),
    ("devices", "<console type='null'><target type='virtio'/></console>"),
    ("devices", "<controller type='scsi' index='#' model='virtio-scsi'/>"),
    ("devices", "<controller type='usb' index='#' model='qemu-xhci'/>"),
    ("devices", "<controller type='virtio-serial' index='#'/>"),
    ("devices", "<input type='tablet' bus='usb'/>"),
    ("devices", "<input type='keyboard' bus='ps2'/>"),
    ("devices", "<graphics type='vnc' port='5900'/>"),
    ("devices", "<audio id='1#' type='none'/>"),
    ("devices", "<video><model type='virtio'/></video>"),
    ("devices", "<hub type='usb'/>"),
    ("devices", "<rng model='virtio'><backend model='random'>/dev/random</backend></rng>"),
    ("devices", "<redirdev bus='usb' type='spicevmc'/>"),
    (
        "devices",
        "<memory model='virtio-mem'><target><size unit='M'>2</size><node>0</node><block unit='M'>2</block></target></memory>",
    ),
    ("devices", "<smartcard mode='host'/>"),
    ("devices", "<panic model='isa'/>"),
    ("devices", "<watchdog model='i6300esb'/>"),
    (
        "devices",
        "<hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>",
    ),
    (
        "devices",
        "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='1'/></source></hostdev>",
    ),
    ("cpu mode='custom'", "<model>qemu64</model><feature policy='require' name='f#'/>"),
    ("cpu mode='host-passthrough'", "<feature policy='require' name='f#'/>"),
    ("cpu", "<numa><cell id='#' cpus='#' memory='1' unit='GiB'/></numa>"),
    ("iothreadids", "<iothread id='1#'/>"),
    ("vcpus", "<vcpu id='#' enabled='yes'/>"),
    ("cputune", "<vcpupin vcpu='#' cpuset='0'/>"),
    ("cputune", "<iothreadpin iothread='#' cpuset='0'/>"),
    ("sysinfo type='smbios'", "<oemStrings><entry>#</entry></oemStrings>"),
    ("sysinfo type='fwcfg'", "<entry name='opt/#'>x</entry>"),
    ("clock offset='utc'", "<timer name='rtc'/>"),
    ("os", "<boot dev='hd'/>"),
    ("features", "<hyperv><relaxed state='on'/></hyperv>"),
    ("q:commandline", "<q:arg value='#'/><q:env name='e#' value='1'/>"),
    (
        "q:override",
        "<q:device alias='a#'><q:frontend><q:property name='p#' type='bool' value='true'/></q:frontend></q:device>",
    ),
];

/// The number of parts.
const COUNT: u32 = 5_000;
/// The processor time in which a guest must be done: far more than is needed, and far less than a loop in a loop takes.
const TIME: Duration = Duration::from_secs(30);

/// Returns the processor time of this thread: other programs do not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Returns a number as letters, as names of disks have it.
fn letters(number: u32) -> String {
    let last = char::from(b'a' + u8::try_from(number % 26).unwrap());
    match number / 26 {
        0 => last.to_string(),
        rest => format!("{}{last}", letters(rest - 1)),
    }
}

fn guest(arch: &str, machine: &str, parent: &str, part: &str, count: u32) -> String {
    let part = |number: u32| part.replace('#', &number.to_string()).replace('@', &letters(number));
    let parts: String = (0..count).map(part).collect();
    let name = parent.split(' ').next().unwrap_or_default();
    let os = format!("<type arch='{arch}' machine='{machine}'>hvm</type>");
    let mut xml = "<domain type='qemu' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>\
        <name>many</name><uuid>7a9d6b2e-3f0c-4a55-9d1e-0c5f2b8e6a02</uuid>\
        <memory unit='GiB'>1</memory><iothreads>1</iothreads>"
        .to_owned();
    match name {
        "os" => xml.push_str(&format!("<os>{os}{parts}</os>")),
        _ => xml.push_str(&format!("<os>{os}</os><{parent}>{parts}</{name}>")),
    }
    xml.push_str("</domain>");
    xml
}

#[test]
fn guests_with_very_many_parts_are_done_in_time() {
    let mut emulators = Emulators::default();
    for (arch, machine) in [("x86_64", "q35"), ("s390x", "s390-ccw-virtio")] {
        for (parent, part) in PARTS {
            let text = guest(arch, machine, parent, part, COUNT);
            let start = processor_time();
            let outcome = run::xml(text.as_bytes(), &mut emulators);
            let time = processor_time() - start;
            println!("{time:?} {arch} {outcome:?} {part}");
            assert!(time < TIME, "{time:?} for {part} on {arch}");
        }
    }
}
