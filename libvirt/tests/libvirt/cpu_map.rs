//! The models of hosts' CPUs, if libvirt's CPU map and its domain capabilities are present.

use std::fs;
use std::path::Path;

use capscache_libvirt::{AcceleratorCaps, CpuMap, QemuCaps};

use crate::folder::folder;
use crate::replies::REFERENCE;

/// Returns the value of an attribute in a line of libvirt's XML.
fn attribute<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_once(&format!(" {name}='"))?.1.split('\'').next()
}

/// Returns the model and its features in libvirt's domain capabilities.
fn expected(domcaps: &str) -> (String, Vec<(String, bool)>) {
    let (_, mode) = domcaps.split_once("<mode name='host-model' supported='yes'>").unwrap();
    let (mode, _) = mode.split_once("</mode>").unwrap();
    let model = mode.split_once("<model fallback='forbid'>").unwrap().1.split('<').next().unwrap();
    let features = mode.lines().filter(|line| line.contains("<feature "));
    let feature = |line| {
        let is_on = attribute(line, "policy").unwrap() == "require";
        (attribute(line, "name").unwrap().to_owned(), is_on)
    };
    (model.to_owned(), features.map(feature).collect())
}

fn host_model(map: &CpuMap, caps: &AcceleratorCaps) -> (String, Vec<(String, bool)>) {
    let blockers = |cpu: &capscache_libvirt::Cpu| cpu.blockers.clone();
    let blockers: Vec<Vec<String>> = caps.cpus.iter().map(blockers).collect();
    let names = caps.cpus.iter().map(|cpu| cpu.name.as_str());
    let models: Vec<(&str, Vec<&str>)> =
        names.zip(&blockers).map(|(n, b)| (n, b.iter().map(String::as_str).collect())).collect();
    let cpu = map.host_model(caps.host_cpu.as_ref().unwrap(), &models, false).unwrap();
    (cpu.model, cpu.features)
}

#[test]
fn models_of_hosts_are_those_of_libvirts_domain_capabilities() {
    let Ok(map) = CpuMap::read(Path::new(CpuMap::FOLDER)) else {
        println!("SKIPPED: libvirt's CPU map is not there: {}", CpuMap::FOLDER);
        return;
    };
    for (caps, name, is_tcg) in [
        ("caps_6.2.0_x86_64", "qemu_6.2.0", false),
        ("caps_6.2.0_x86_64", "qemu_6.2.0", true),
        ("caps_8.0.0_x86_64", "qemu_8.0.0", true),
        ("caps_9.2.0_x86_64+amdsev", "qemu_9.2.0", false),
        ("caps_10.0.0_x86_64", "qemu_10.0.0", false),
        ("caps_10.0.0_x86_64", "qemu_10.0.0", true),
    ] {
        let variant = caps.split_once('+').map_or(String::new(), |(_, v)| format!("+{v}"));
        let tcg = if is_tcg { "-tcg" } else { "" };
        let domcaps = folder("domcaps").join(format!("{name}{tcg}.x86_64{variant}.xml"));
        let Ok(domcaps) = fs::read_to_string(domcaps) else {
            println!("SKIPPED: libvirt's domain capabilities are not there: {name}");
            continue;
        };
        let caps = folder("corpus").join(format!("{caps}.xml"));
        let caps = QemuCaps::from_xml(&fs::read_to_string(caps).unwrap(), REFERENCE).unwrap();
        let accelerator = if is_tcg { &caps.tcg } else { &caps.kvm };
        assert_eq!(host_model(&map, accelerator), expected(&domcaps), "{name} {is_tcg}");
    }
}
