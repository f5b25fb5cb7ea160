//! The domain capabilities of every machine type of every emulator here: those that libvirt reports.

use crate::{Scene, can_be_apart, element};

/// The end of a document.
const END: &str = "</domainCapabilities>\n";

/// Returns the value of an attribute in a line of libvirt's XML.
fn attribute<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_once(&format!(" {name}='"))?.1.split('\'').next()
}

/// Returns the types of domains that an emulator has here, each with no machine type, and with the names and aliases of
/// those that it has, from the file that libvirt keeps of it.
fn domains(xml: &str) -> Vec<(&'static str, Option<&str>)> {
    let mut domains = Vec::new();
    for (virt_type, accelerator) in [("kvm", "kvm"), ("qemu", "tcg")] {
        let start = format!("<machine type='{accelerator}' ");
        let lines = xml.lines().filter(|line| line.trim_start().starts_with(&start));
        let names = lines.flat_map(|line| [attribute(line, "name"), attribute(line, "alias")]);
        let names: Vec<_> = names.flatten().collect();
        if !names.is_empty() {
            domains.push((virt_type, None));
        }
        domains.extend(names.into_iter().map(|name| (virt_type, Some(name))));
    }
    domains
}

impl Scene {
    /// Compares all domains of an emulator, which libvirt reports in one process; returns their number.
    fn compare_domains(&self, emulator: &str, xml: &str) -> usize {
        let domains = domains(xml);
        let options = |(virt_type, machine): &(&str, Option<&str>)| {
            let machine = machine.map(|name| format!(" --machine {name}")).unwrap_or_default();
            format!("--virttype {virt_type}{machine}")
        };
        let arch = element(xml, "arch");
        let command = |domain| {
            format!("domcapabilities --emulatorbin {emulator} --arch {arch} {}", options(domain))
        };
        let commands: Vec<String> = domains.iter().map(command).collect();
        let theirs = self.libvirt("theirs", &["-q", &commands.join(" ; ")]).output;
        assert!(theirs.status.success(), "{emulator}: {theirs:?}");
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        let theirs: Vec<&str> = theirs.split_inclusive(END).collect();
        assert_eq!(theirs.len(), domains.len(), "{emulator}: {theirs:?}");
        for (domain, theirs) in domains.iter().zip(theirs) {
            let options = options(domain);
            let mut arguments = vec!["export", emulator, "--format", "domcapabilities"];
            arguments.extend(options.split(' '));
            let ours = self.capscache(&arguments);
            let ours = String::from_utf8(ours.stdout).unwrap();
            let differs = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
            assert!(ours == theirs, "{emulator} {options}: ours, theirs: {differs:?}");
        }
        domains.len()
    }

    /// Compares all domains of all emulators that libvirt can describe.
    fn compare_all_domains(&self) {
        let (mut all, mut emulators) = (0, 0);
        for emulator in self.emulators() {
            let arguments = ["export", &emulator, "--format", "libvirt-xml"];
            let ours = self.capscache(&arguments);
            // Refusals are compared elsewhere.
            if ours.status.success() {
                all += self.compare_domains(&emulator, &String::from_utf8(ours.stdout).unwrap());
                emulators += 1;
            }
        }
        println!("{all} domain capabilities of {emulators} emulators are the same, byte for byte");
        assert!(emulators >= 8, "too few emulators are compared: {emulators}");
    }
}

#[test]
fn domain_capabilities_of_every_machine_here_are_those_of_libvirt() {
    Scene::new().compare_all_domains();
}

#[test]
fn domain_capabilities_of_every_machine_without_kvm_are_those_of_libvirt() {
    if let Some(scene) = Scene::without_kvm() {
        scene.compare_all_domains();
    }
}

/// Replaces the firmware, the emulator of TPMs and the helper of RDP of this host, and becomes the rest of its arguments.
const OTHER_HOST: &str = r#"
mount -t tmpfs etc /etc/qemu
mkdir /etc/qemu/firmware /etc/qemu/bin
for name in swtpm swtpm_ioctl qemu-rdp; do printf '#!/bin/sh\n' >/etc/qemu/bin/$name; done
printf '#!/bin/sh\necho '\''{"type": "swtpm_setup", "features": ["tpm-1.2", "tpm-2.0", "x"]}'\''\n' \
    >/etc/qemu/bin/swtpm_setup
chmod 755 /etc/qemu /etc/qemu/bin /etc/qemu/bin/* /etc/qemu/firmware
firmware() {
    printf '{"description": "", "interface-types": ["%s"], "features": [%s], "tags": [], "mapping": %s,
        "targets": [{"architecture": "x86_64", "machines": ["%s"]}]}' "$2" "$3" "$4" "$5" >/etc/qemu/firmware/"$1"
}
flash() {
    printf '{"device": "flash", "executable": {"filename": "%s", "format": "raw"},
        "nvram-template": {"filename": "/none", "format": "raw"}}' "$1"
}
touch /etc/qemu/a.fd /etc/qemu/b.fd
firmware 10.json uefi '"requires-smm", "secure-boot"' "$(flash /etc/qemu/b.fd)" 'pc-q35-*'
firmware 20.json uefi '' "$(flash /etc/qemu/a.fd)" 'pc-*'
firmware 30.json uefi '' "$(flash /etc/qemu/b.fd)" 'pc-q35-*'
firmware 40.json bios '' '{"device": "memory", "filename": "/none"}' 'pc-i440fx-*'
PATH=/etc/qemu/bin:$PATH exec "$@"
"#;

#[test]
fn firmware_and_helpers_of_the_host_are_those_that_libvirt_reports() {
    if !can_be_apart() {
        println!("SKIPPED: no namespaces can be made here: the host cannot be another one");
        return;
    }
    let mut scene = Scene::new();
    scene.prefix = ["unshare", "-m", "sh", "-euc", OTHER_HOST, "sh"].map(str::to_owned).to_vec();
    // A place to mount the other host's files on.
    let is_new = std::fs::create_dir("/etc/qemu").is_ok();
    let emulator = "/usr/bin/qemu-system-x86_64";
    for machine in ["pc", "q35", "isapc", "microvm"] {
        let options = ["--machine", machine, "--virttype", "qemu"];
        let theirs = ["domcapabilities", "--emulatorbin", emulator, "--arch", "x86_64"];
        let theirs = scene.libvirt("theirs", &[&["-q"], &theirs[..], &options].concat()).output;
        let ours = ["export", emulator, "--format", "domcapabilities"];
        let ours = scene.capscache(&[&ours[..], &options].concat());
        let [ours, theirs] =
            [ours.stdout, theirs.stdout].map(|xml| String::from_utf8(xml).unwrap());
        assert!(ours.contains("<value>1.2</value>"), "{ours}");
        let has_efi = ours.contains("<value>efi</value>");
        assert_eq!(has_efi, ["pc", "q35"].contains(&machine), "{ours}");
        assert_eq!(ours, theirs, "{machine}");
    }
    if is_new {
        std::fs::remove_dir("/etc/qemu").unwrap();
    }
}

/// Replaces the descriptors of firmware of this host, in layers below `$0`, with those of the kind `$1`, and becomes the rest of its
/// arguments. Each descriptor has a file of its own name.
const ODD_FIRMWARE: &str = r#"
layers=$0 kind=$1
shift
mount -t tmpfs layers "$layers"
mkdir "$layers/etc" "$layers/share" "$layers/etc.work" "$layers/share.work"
mount -t overlay etc -o "lowerdir=/etc,upperdir=$layers/etc,workdir=$layers/etc.work" /etc
mount -t overlay share -o "lowerdir=/usr/share,upperdir=$layers/share,workdir=$layers/share.work" /usr/share
rm -rf /etc/qemu/firmware /usr/share/qemu/firmware
mkdir -p /etc/qemu/firmware /usr/share/qemu/firmware /usr/share/OVMF
touch /usr/share/OVMF/OVMF_CODE.fd
cd /usr/share/qemu/firmware
odd() {
    touch "/etc/qemu/$1.fd"
    printf '{"interface-types": ["uefi"], "features": [], "mapping": {"device": "flash",
        "executable": {"filename": "/etc/qemu/%s.fd", "format": "raw"},
        "nvram-template": {"filename": "/none", "format": "raw"}},
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}]}' "$1" | sed "${2-}" >"$1"
}
odd plain.json
case $kind in
well-formed)
    for name in 10.json.bak 20.JSON x.conf .hidden.json device directory fifo empty; do odd "$name"; done
    ln -s /dev/null /etc/qemu/firmware/device
    mkdir /etc/qemu/firmware/directory
    mkfifo /etc/qemu/firmware/fifo
    : >/etc/qemu/firmware/empty
    odd brackets 's/q35-\*/q35-[0-9]*/'
    odd question 's/q35-\*/q35-*.?/'
    odd alias 's/pc-q35-\*/q35/'
    odd case 's/pc-q35/PC-Q35/'
    odd number 's/"pc-q35/1, "pc-q35/'
    odd features 's/"features": \[/&"future", 1, "requires-smm"/'
    odd interfaces 's/uefi/bios", "openfirmware", "uboot/'
    odd stateless 's/"flash",/& "mode": "stateless",/; s/nvram-template/unread/'
    odd other 's/x86_64/parisc/'
    odd format 's/raw/vmdk/'
    odd missing 's/missing.fd/none.fd/'
    ;;
malformed)
    odd key 's/{/{"features": 1, /'
    odd interface 's/"uefi"/&, "future"/'
    odd device 's/"flash"/"future"/'
    odd mode 's/"flash",/& "mode": "future",/'
    odd template 's/nvram-template/unread/'
    odd architecture 's/x86_64/future/'
    odd list 's/"features": \[\]/"features": null/'
    odd garbage 's/.$//'
    ;;
dangling) ln -s /none dangling ;;
kernel) rm plain.json; odd kernel 's/"flash",/"kernel", "filename": "x",/' ;;
esac
exec "$@"
"#;

#[test]
fn odd_descriptors_of_firmware_count_as_they_do_for_libvirt() {
    if !can_be_apart() {
        println!("SKIPPED: no namespaces can be made here: the host cannot have odd descriptors");
        return;
    }
    let mut scene = Scene::new();
    let layers = scene.path("layers");
    std::fs::create_dir(&layers).unwrap();
    let layers = layers.to_str().unwrap();
    let emulator = "/usr/bin/qemu-system-x86_64";
    for (kind, machine) in [
        ("well-formed", "q35"),
        ("well-formed", "isapc"),
        ("malformed", "q35"),
        ("kernel", "q35"),
        ("dangling", "q35"),
    ] {
        scene.prefix =
            ["unshare", "-m", "sh", "-euc", ODD_FIRMWARE, layers, kind].map(str::to_owned).to_vec();
        let options = ["--machine", machine, "--virttype", "qemu"];
        let theirs = ["-q", "domcapabilities", "--emulatorbin", emulator, "--arch", "x86_64"];
        let theirs = scene.libvirt("theirs", &[&theirs[..], &options].concat()).output;
        let ours = ["export", emulator, "--format", "domcapabilities"];
        let ours = scene.capscache(&[&ours[..], &options].concat());
        assert_eq!(ours.status.success(), theirs.status.success(), "{kind}: {ours:?} {theirs:?}");
        let [xml, theirs] = [&ours, &theirs].map(|output| String::from_utf8_lossy(&output.stdout));
        assert_eq!(xml, theirs, "{kind} {machine}");
        // What is compared is there.
        let error = String::from_utf8_lossy(&ours.stderr);
        let expected = match (kind, machine) {
            (_, "isapc") | ("kernel", _) => "<value>/usr/share/OVMF/OVMF_CODE.fd</value>",
            ("dangling", _) => "/usr/share/qemu/firmware/dangling",
            _ => "<value>/etc/qemu/plain.json.fd</value>",
        };
        assert!(xml.contains(expected) || error.contains(expected), "{kind} {machine}: {ours:?}");
    }
}
