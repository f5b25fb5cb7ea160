//! libvirt's own guests, if present: the command line of each is that which libvirt writes, or it is refused.
//!
//! The folder is `shared/libvirt` beside the repository, or `$CAPSCACHE_LIBVIRT_CORPUS`. It holds `guests/`, with a guest
//! as a user wrote it and libvirt's command line for it, and `corpus/`, with recordings of the emulators.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../../../devaddr/tests/corpus/cases.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod cases;
mod firmware;
mod secrets;
mod settings;
mod shell;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use capscache_domain::Guest;
use capscache_format::{Accelerator, Entry};
use capscache_run::{CharacterTls, Command, Descriptor, Host, Link, Spice, Tls, Vnc, command};

use self::cases::{Case, cases, entry, folder, policy, special};

/// The host that libvirt's tests pretend.
fn host(name: &str, arch: &str) -> Host {
    let environment = [("LC_ALL", "C"), ("PATH", "/bin")];
    let user = [("USER", "test"), ("LOGNAME", "test")];
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let short: String = name.chars().take(20).collect();
    Host {
        emulator: format!("/usr/bin/qemu-system-{arch}").into(),
        guest_dir: format!("/var/lib/libvirt/qemu/domain--1-{short}").into(),
        channel_dir: format!("/var/run/libvirt/qemu/channel/-1-{short}").into(),
        nvram_dir: "/var/lib/libvirt/qemu/nvram".into(),
        cpu_map: Some("/usr/share/libvirt/cpu_map".into()),
        firmware: firmware::all,
        flash_pairs: firmware::pairs(),
        memory_dir: format!("/var/lib/libvirt/qemu/ram/-1-{short}").into(),
        page_kib: 4,
        hugepages: vec![
            (2048, format!("/dev/hugepages2M/libvirt/qemu/-1-{short}").into()),
            (1 << 20, format!("/dev/hugepages1G/libvirt/qemu/-1-{short}").into()),
        ],
        now: UNIX_EPOCH + Duration::from_secs(1_234_567_890),
        environment: owned(&environment),
        user: owned(&user),
        number,
        network,
        nodes: (0..8).collect(),
        advised_nodes: |_, _| Some(vec![0, 1, 2, 3]),
        node_of_cpu: |cpu| Some(cpu / 4),
        vsock_cid: 42,
        virtiofsd: "/usr/libexec/virtiofsd".into(),
        passt_prefix: format!("/var/run/libvirt/qemu/passt/-1-{short}").into(),
        usb_device: |_, _| None,
        probe: |_, _| Ok(None),
        exists: |_| true,
        opens: |_| true,
        is_cdrom: |path| path == Path::new("/dev/cdrom"),
        nbd_tls: Some(Tls {
            dir: "/etc/pki/libvirt-nbd".into(),
            secret: Some("6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea".to_owned()),
            verify: true,
        }),
        scsi_generic: |_, _| Some("/dev/sg0".into()),
        vhost_without_kvm: true,
        allows_host_audio: false,
        variables: owned(&[("PIPEWIRE_RUNTIME_DIR", "/run/user/1000")]),
        tpm_socket: "/dev/test".into(),
        bus_socket: format!("/var/run/libvirt/qemu/dbus/-1-{short}-dbus.sock").into(),
        character_tls: CharacterTls::default(),
        vnc: Vnc::default(),
        spice: Spice { password: Some("123456".to_owned()), ..Spice::default() },
        render_node: Some("/dev/dri/foo".into()),
    }
}

/// The numbers of descriptors that libvirt's tests pretend, by their kinds.
fn number(descriptor: &Descriptor, _: usize) -> i32 {
    let queued = |first: i32, queue: u16| first + i32::from(queue);
    match descriptor {
        Descriptor::Tap { link, queue } => match **link {
            Link::Bridge { .. } => queued(102, *queue),
            _ => queued(3, *queue),
        },
        Descriptor::VhostNet { queue, .. } => queued(44, *queue),
        Descriptor::Vdpa { .. } => 1732,
        Descriptor::VhostScsi => 3,
        Descriptor::VhostVsock { .. } => 6789,
        Descriptor::Tpm { .. } => 1730,
        Descriptor::TpmCancel { .. } => 1731,
        Descriptor::Output { .. } => 1750,
        Descriptor::Log { .. } => 1751,
        _ => 1729,
    }
}

/// The networks that libvirt's tests pretend: their names have the kind of link after a semicolon.
fn network(name: &str) -> Option<Link> {
    let (bridge, kind) = name.split_once(';')?;
    let is_bridge = kind.starts_with("plug-bridge") || kind.starts_with("plug-network");
    let (port, tap) = Default::default();
    is_bridge.then(|| Link::Bridge { bridge: bridge.to_owned(), port, tap })
}

/// Returns the arguments of a command, with its environment and program, as one list.
fn words(command: &Command) -> Vec<String> {
    let environment = command.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let program = std::iter::once(command.program.display().to_string());
    environment.chain(program).chain(command.args.iter().cloned()).collect()
}

/// Replaces the alias of a machine type, which libvirt's tests keep, by the name that libvirt writes otherwise.
fn name_machine(words: &mut [String], entry: &Entry<Vec<u8>>) {
    let Some(at) = words.iter().position(|word| word == "-machine") else { return };
    let Some(word) = words.get_mut(at + 1) else { return };
    let (alias, rest) = word.split_once(',').unwrap();
    let accelerators = [Accelerator::Kvm, Accelerator::Hvf, Accelerator::Tcg];
    let mut answered = accelerators.iter().filter_map(|a| entry.accelerator(*a).ok());
    if let Some(machine) = answered.find_map(|accelerated| accelerated.machine(alias).ok()) {
        *word = format!("{},{rest}", machine.name());
    }
}

fn run(case: &Case, entry: &Entry<Vec<u8>>) -> Result<Vec<String>, String> {
    let guest = fs::read_to_string(&case.guest).unwrap();
    let guest = Guest::from_xml(&guest).map_err(|error| error.to_string())?;
    let mut host = host(guest.name.as_deref().unwrap_or_default(), &case.arch);
    settings::apply(&case.name, &mut host);
    let command = command(&guest, entry, &policy(case), &host, &secrets::Same)
        .map_err(|error| error.to_string())?;
    Ok(words(&command))
}

#[test]
fn every_command_line_is_that_of_libvirt_or_is_refused() {
    let Some(folder) = folder() else { return };
    // `CAPSCACHE_CASE=disk` shows those with the word in their names.
    let only = std::env::var("CAPSCACHE_CASE").unwrap_or_default();
    let mut special = special(&folder);
    let gic = |name: &str| (name.to_owned(), "the host has only version 2 of the GIC".to_owned());
    special.extend(["aarch64-gic-default-v2", "aarch64-gic-none-v2"].map(gic));
    let mut entries: HashMap<String, Option<Entry<Vec<u8>>>> = HashMap::new();
    let (mut identical, mut refused, mut different, mut total) = (0, 0, 0, 0);
    for case in cases(&folder, "args").iter().filter(|case| case.name.contains(&only)) {
        total += 1;
        let setting = special.iter().find(|(name, _)| case.name.starts_with(&format!("{name}.")));
        let entry = entries.entry(case.recording()).or_insert_with(|| entry(&folder, case));
        let mut expected = shell::split(&fs::read_to_string(&case.result).unwrap());
        if let Some(entry) = &entry {
            name_machine(&mut expected, entry);
        }
        let result = match (&entry, setting) {
            (_, Some((_, setting))) => Err(format!("it was run under a setting: {setting}")),
            // It serves disks in the network where libvirt is configured to use it.
            _ if case.name.contains("-nbdkit") => Err("it was run with nbdkit".to_owned()),
            (None, None) => Err("there is no recording of its emulator".to_owned()),
            (Some(entry), None) => run(case, entry),
        };
        match result {
            Err(error) => {
                println!("refused: {}: {error}", case.name);
                refused += 1;
            }
            Ok(words) if words == expected => identical += 1,
            Ok(words) => {
                println!("different: {}:", case.name);
                shell::print_difference(&words, &expected);
                different += 1;
            }
        }
    }
    println!("run: {identical} identical, {refused} refused, {different} different of {total}");
    assert_eq!(different, 0);
}
