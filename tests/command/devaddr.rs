//! `devaddr`: addresses for the devices of a guest.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use snapbox::str;

use crate::{Dir, text, x86_64};

const GUEST: &str = "\
<domain type='kvm'>
  <name>web</name>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'>
      <model type='virtio'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
  </devices>
</domain>
";

/// Writes a file of a test, and returns its path.
fn write(dir: &Dir, name: &str, content: &str) -> String {
    fs::write(dir.path(name), content).expect("a file");
    text(&dir.path(name))
}

#[test]
fn every_device_gets_an_address_and_keeps_it_when_the_guest_is_read_again() {
    let dir = Dir::new();
    let guest = write(&dir, "guest.xml", GUEST);
    let completed = dir.answer(&["devaddr", &guest]);
    for device in [
        "<target dev='vda' bus='virtio'/>\n      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>",
        "<model type='virtio'/>\n      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>",
        "<target type='virtio' name='org.qemu.guest_agent.0'/>\n      <address type='virtio-serial' controller='0' bus='0' port='1'/>",
    ] {
        assert!(completed.contains(device), "{device}\nis not in\n{completed}");
    }
    assert!(completed.contains("<name>web</name>"), "what has no address is kept");
    let again = write(&dir, "again.xml", &completed);
    assert_eq!(dir.answer(&["devaddr", &again]), completed);
    // A device that is added gets a free place, and no other one moves.
    let disk = "    <disk type='file' device='disk'>\n      <target dev='vdb' bus='virtio'/>\n    </disk>\n";
    let at = completed.find("    <disk").expect("a disk");
    let more = write(&dir, "more.xml", &(completed[..at].to_owned() + disk + &completed[at..]));
    let extended = dir.answer(&["devaddr", &more]);
    for line in completed.lines().filter(|line| line.contains("<address")) {
        assert!(extended.contains(line), "{line}\nis not in\n{extended}");
    }
}

#[test]
fn reasons_and_buses_are_shown_a_line_for_each_device() {
    let dir = Dir::new();
    let guest = write(&dir, "guest.xml", GUEST);
    let shown = dir.session(&[
        &["devaddr", "--explain", &guest],
        &["devaddr", "--tree", "--spare", "2", &guest],
        &["devaddr", "--tree", "--slot", "pci", "--packed", &guest],
    ]);
    dir.assert_snapshot(&shown, str![[r#"
$ capscache devaddr --explain [DIR]/guest.xml
disk vda at PCI 0000:04:00.0: the lowest free slot that accepts it
usb controller 0 (qemu-xhci) at PCI 0000:02:00.0: a guest has it unless it says otherwise; the lowest free slot that accepts it
sata controller 0 at PCI 0000:00:1f.2: the machine always has it; the machine has a fixed place for it
pci controller 0 (pcie-root): the machine always has it
pci controller 1 (pcie-root-port) at PCI 0000:00:01.0: no free slot was left for a device; the lowest free slot that accepts it
pci controller 2 (pcie-root-port) at PCI 0000:00:01.1: no free slot was left for a device; the lowest free slot that accepts it
pci controller 3 (pcie-root-port) at PCI 0000:00:01.2: no free slot was left for a device; the lowest free slot that accepts it
pci controller 4 (pcie-root-port) at PCI 0000:00:01.3: no free slot was left for a device; the lowest free slot that accepts it
pci controller 5 (pcie-root-port) at PCI 0000:00:01.4: no free slot was left for a device; the lowest free slot that accepts it
pci controller 6 (pcie-root-port) at PCI 0000:00:01.5: it keeps a slot free for a device that is added later; the lowest free slot that accepts it
virtio-serial controller 0 at PCI 0000:03:00.0: another device needs it; the lowest free slot that accepts it
interface/0 at PCI 0000:01:00.0: the lowest free slot that accepts it
channel org.qemu.guest_agent.0 at virtio-serial controller 0 port 1: the lowest free port of the first controller
ps2 mouse: the machine always has it
ps2 keyboard: the machine always has it
watchdog itco: the machine always has it
memory balloon at PCI 0000:05:00.0: a guest has it unless it says otherwise; the lowest free slot that accepts it
$ capscache devaddr --tree --spare 2 [DIR]/guest.xml
web  (x86_64 q35)
├─ controller pcie-root 0
│  ├─ 00:01.0  controller pcie-root-port 1  (chassis 1, port 0x8, hotplug, multifunction)
│  │  └─ 01:00.0  interface virtio-net
│  ├─ 00:01.1  controller pcie-root-port 2  (chassis 2, port 0x9, hotplug)
│  │  └─ 02:00.0  controller usb 0 qemu-xhci
│  ├─ 00:01.2  controller pcie-root-port 3  (chassis 3, port 0xa, hotplug)
│  │  └─ 03:00.0  controller virtio-serial 0
│  │     └─ 0.1  channel org.qemu.guest_agent.0 virtio
│  ├─ 00:01.3  controller pcie-root-port 4  (chassis 4, port 0xb, hotplug)
│  │  └─ 04:00.0  disk vda virtio
│  ├─ 00:01.4  controller pcie-root-port 5  (chassis 5, port 0xc, hotplug)
│  │  └─ 05:00.0  memballoon virtio
│  ├─ 00:01.5  controller pcie-root-port 6  (chassis 6, port 0xd, hotplug, free)
│  ├─ 00:01.6  controller pcie-root-port 7  (chassis 7, port 0xe, hotplug, free)
│  └─ 00:1f.2  controller sata 0
└─ no address
   ├─ input mouse ps2
   ├─ input keyboard ps2
   └─ watchdog itco
$ capscache devaddr --tree --slot pci --packed [DIR]/guest.xml
web  (x86_64 q35)
├─ controller pcie-root 0
│  ├─ 00:01.0  controller pcie-root-port 1  (chassis 1, port 0x8, hotplug, multifunction)
│  │  └─ 01:00.0  controller pcie-to-pci-bridge 2
│  │     ├─ 02:01.0  interface virtio-net  (multifunction)
│  │     ├─ 02:01.1  controller usb 0 qemu-xhci
│  │     ├─ 02:01.2  controller virtio-serial 0
│  │     │  └─ 0.1  channel org.qemu.guest_agent.0 virtio
│  │     ├─ 02:01.3  disk vda virtio
│  │     └─ 02:01.4  memballoon virtio
│  ├─ 00:01.1  controller pcie-root-port 3  (chassis 3, port 0x9, hotplug, free)
│  └─ 00:1f.2  controller sata 0
└─ no address
   ├─ input mouse ps2
   ├─ input keyboard ps2
   └─ watchdog itco

"#]]);
}

#[test]
fn a_guest_in_json_is_completed_and_can_be_read_again() {
    let dir = Dir::new();
    let minimal = write(
        &dir,
        "guest.json",
        r#"{
            "guest": {
                "os": {"type": "hvm", "arch": "x86_64", "machine": "q35"},
                "devices": [{"device": {"kind": "disk", "dev": "vda", "bus": "virtio"}}]
            },
            "policy": {"spare": 0}
        }"#,
    );
    let completed = dir.json(&["devaddr", "--json", &minimal]);
    assert_eq!(completed["facts"], "built-in");
    assert_eq!(completed["policy"]["spare"], 0);
    let devices = completed["guest"]["devices"].as_array().expect("devices");
    let disk = devices.iter().find(|device| device["device"]["kind"] == "disk").expect("the disk");
    assert_eq!(disk["address"]["type"], "pci");
    let at = devices.iter().position(|device| device == disk);
    let reasons = completed["reasons"].as_array().expect("reasons").iter();
    let of_disk: Vec<&Value> =
        reasons.filter(|one| one["device"].as_u64() == at.map(|at| at as u64)).collect();
    assert_eq!(of_disk[0]["why"], "lowest-free");

    let again = write(&dir, "again.json", &completed.to_string());
    let repeated = dir.json(&["devaddr", "--json", &again]);
    assert_eq!(repeated["guest"], completed["guest"]);
    assert_eq!(repeated["reasons"][0]["why"], "given");
    let xml = write(&dir, "guest.xml", &dir.answer(&["devaddr", &minimal]));
    assert_eq!(dir.json(&["devaddr", "--json", &xml])["guest"], completed["guest"]);
    // The command line comes before the file, which comes before the input.
    let policy = write(&dir, "policy.json", r#"{"spare": 1, "packed": true}"#);
    let of = |arguments: &[&str]| {
        dir.json(&[&["devaddr", "--json"], arguments].concat())["policy"].clone()
    };
    assert_eq!(of(&["--policy", &policy, &minimal])["spare"], 1);
    assert_eq!(of(&["--policy", &policy, "--spare", "3", &minimal])["spare"], 3);
}

#[test]
fn the_examples_of_the_document_are_a_policy_and_a_guest() {
    let dir = Dir::new();
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/devaddr.md"));
    let document = document.expect("the document");
    let examples =
        document.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (mut guests, mut policies) = (0, 0);
    for example in examples {
        let file = write(&dir, "example.json", example);
        if example.contains("\"guest\"") {
            let tree = dir.answer(&["devaddr", "--tree", &file]);
            assert!(tree.contains("00:05.0  interface virtio-net\n"), "{tree}");
            guests += 1;
        } else {
            let hostdev = "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>";
            let numa = "<cpu><numa><cell id='0' cpus='0' memory='1024'/><cell id='1' cpus='1' memory='1024'/></numa></cpu>";
            let guest = GUEST.replace("    <disk", &format!("    {hostdev}\n    <disk"));
            let guest = write(
                &dir,
                "guest.xml",
                &guest.replace("  <devices>", &format!("  {numa}\n  <devices>")),
            );
            let tree = dir.answer(&["devaddr", "--tree", "--policy", &file, &guest]);
            assert!(tree.contains("pcie-expander-bus"), "the disk is near node 1: {tree}");
            policies += 1;
        }
    }
    assert_eq!((guests, policies), (1, 1));
}

#[test]
fn the_guest_can_come_from_standard_input() {
    let dir = Dir::new();
    let mut command = dir.command();
    command.args(["devaddr", "--svg", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    child.stdin.take().expect("a pipe").write_all(GUEST.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let picture = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success() && picture.starts_with("<svg"), "{picture}");
}

#[test]
fn facts_come_from_an_emulator_a_transcript_or_the_table() {
    let dir = Dir::new();
    let guest = write(&dir, "guest.xml", GUEST);
    let transcript =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/qemu-10.0-x86_64-kvm.qmp.gz");
    let table = dir.run(&["--verbose", "devaddr", &guest]);
    assert!(table.stderr.contains("facts are those of QEMU since 4.2"), "{table:?}");
    for facts in [["--emulator", &x86_64()], ["--transcript", transcript]] {
        let completed = dir.run(&["--verbose", "devaddr", facts[0], facts[1], &guest]);
        assert_eq!(completed.stdout, table.stdout, "{facts:?}");
        assert!(!completed.stderr.contains("facts are those"), "{completed:?}");
    }
}

#[test]
fn what_is_wrong_with_a_guest_is_named_with_its_place_and_a_remedy() {
    let dir = Dir::new();
    let guest = |name: &str, from: &str, to: &str| {
        assert!(GUEST.contains(from), "{from}");
        write(&dir, name, &GUEST.replacen(from, to, 1))
    };
    let address = |slot: &str| {
        format!(
            "<target dev='vda' bus='virtio'/><address type='pci' bus='0' slot='{slot}' function='0'/>"
        )
    };
    let target = "<target dev='vda' bus='virtio'/>";
    let unknown = guest("unknown.xml", "<vcpu>2</vcpu>", "<vcpucount>2</vcpucount>");
    let cut = guest("cut.xml", "</domain>", "");
    let taken = guest("taken.xml", target, &address("0x1f"));
    let no_bus = guest("no-bus.xml", target, &address("3").replace("bus='0'", "bus='9'"));
    let policy = write(&dir, "policy.json", r#"{"spares": 1}"#);
    let plain = write(&dir, "guest.xml", GUEST);
    let arm = guest("arm.xml", "arch='x86_64' machine='q35'", "arch='aarch64' machine='virt'");
    let no_arch = guest("no-arch.xml", "arch='x86_64' ", "");
    let transcript = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/qemu-7.2-avr.qmp.gz");
    let shown = dir.session(&[
        &["devaddr", &unknown],
        &["devaddr", &cut],
        &["devaddr", &taken],
        &["devaddr", &no_bus],
        &["devaddr", "--policy", &policy, &plain],
        &["devaddr", &policy],
        &["devaddr", &no_arch],
        &["devaddr", "--json", "--keep-unknown", &plain],
        &["devaddr", "gone.xml"],
    ]);
    dir.assert_snapshot(&shown, str![[r#"
$ capscache devaddr [DIR]/unknown.xml
! capscache: cannot read the guest in [DIR]/unknown.xml: line 3, column 4: /domain/vcpucount: the element is not understood; remove it, or keep unknown elements
exit code: 2
$ capscache devaddr [DIR]/cut.xml
! capscache: cannot read the guest in [DIR]/cut.xml: line 19, column 1: /domain: the text is not well-formed XML: the text ends within an element
exit code: 2
$ capscache devaddr [DIR]/taken.xml
! capscache: cannot place disk vda at PCI 0000:00:1f.0: a part of the chipset is there already; leave the address out
exit code: 2
$ capscache devaddr [DIR]/no-bus.xml
! capscache: cannot place disk vda at PCI 0000:09:03.0: PCI controller 9 (pcie-root-port) has slots 0 to 0; 0000:01:00.0 would fit; use that, or leave the address out
exit code: 2
$ capscache devaddr --policy [DIR]/policy.json [DIR]/guest.xml
! capscache: cannot read the policy in [DIR]/policy.json: unknown field `spares`, expected one of `definition`, `spare`, `slot`, `hotplug`, `packed`, `expanders`, `devices` at line 1 column 9
exit code: 2
$ capscache devaddr [DIR]/policy.json
! capscache: cannot read the guest in [DIR]/policy.json: unknown field `spares`, expected one of `guest`, `policy`, `facts`, `reasons` at line 1 column 9
exit code: 2
$ capscache devaddr [DIR]/no-arch.xml
! capscache: cannot complete the guest: it has no architecture; add arch to its type, or give --emulator
exit code: 2
$ capscache devaddr --json --keep-unknown [DIR]/guest.xml
! capscache: the argument '--json' cannot be used with '--keep-unknown'; usage: capscache devaddr --json <GUEST>
exit code: 2
$ capscache devaddr gone.xml
! capscache: cannot read gone.xml: No such file or directory
exit code: 2

"#]]);
    let other = dir.run(&["devaddr", "--transcript", transcript, &arm]);
    let expected = "cannot use facts about avr for a guest of aarch64";
    assert!(other.complaint().starts_with(expected), "{other:?}");
    let kept = dir.answer(&["devaddr", "--keep-unknown", &unknown]);
    assert!(kept.contains("<vcpucount>2</vcpucount>"), "{kept}");
}
