//! The daemon of each release, in systems of their own with their QEMUs: with an empty cache, with the files that it wrote, and with
//! those of `libvirt seed`; and in an image that was built elsewhere. `fixtures/libvirtd.sh` starts it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::Scene;
use crate::systems::{run_in, systems};

/// Runs `fixtures/libvirtd.sh`; returns the words of each line. `None`, with a report, if the command does not run in the system.
fn libvirtd(system: &Path, into: &Path, mode: &[&str]) -> Option<Vec<Vec<String>>> {
    fs::create_dir(into).unwrap();
    let lines = run_in(system, "libvirtd.sh", into, mode)?;
    print!("{lines}");
    Some(lines.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect())
}

/// Returns the files of a folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let content = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(content).collect()
}

#[test]
fn the_daemon_of_each_release_starts_no_emulator_where_its_cache_is_seeded() {
    let scene = Scene::new();
    for (name, system) in systems() {
        let into = scene.path(name);
        let Some(lines) = libvirtd(&system, &into, &[]) else { continue };
        let started: HashMap<(&str, &str), u32> = lines
            .iter()
            .filter(|words| words.len() == 4)
            .map(|words| ((&*words[0], &*words[1]), words[3].parse().unwrap()))
            .collect();
        for query in ["domcapabilities", "capabilities"] {
            let started = |state| started[&(query, state)];
            assert!(started("cold") > 0, "{name} {query}: it writes files without emulators");
            assert_eq!((started("own"), started("seeded")), (0, 0), "{name} {query}");
            let files = |state: &str| files(&into.join(format!("{query}-{state}")));
            let (own, written) = (files("own"), files("written"));
            for (file, xml) in &own {
                assert!(written.get(file) == Some(xml), "{name} {query}: {file} is another");
            }
            assert!(!own.is_empty(), "{name} {query}");
            assert!(files("seeded") == written, "{name} {query}: the daemon replaced a file");
            let answer =
                |state| fs::read_to_string(into.join(format!("{query}-{state}.xml"))).unwrap();
            // The host has no identity in a file, so libvirt gives it a random one.
            let named = |xml: String| {
                xml.lines().filter(|line| !line.contains("<uuid>")).map(str::to_owned).collect()
            };
            let answers: [Vec<String>; 3] =
                ["cold", "own", "seeded"].map(|state| named(answer(state)));
            assert!(answers[0] == answers[1], "{name} {query}");
            assert!(answers[1] == answers[2], "{name} {query}");
        }
    }
}

#[test]
fn where_an_image_is_started_only_kvm_is_probed_and_the_daemon_starts_no_emulator() {
    let scene = Scene::new();
    for (name, system) in systems() {
        let into = scene.path(name);
        let Some(lines) = libvirtd(&system, &into, &["--image"]) else { continue };
        let started = |run: &str| {
            let line = lines.iter().find(|words| words[0] == run).unwrap();
            line[1].parse::<u32>().unwrap()
        };
        assert!(started("build") > 0, "{name}");
        assert_eq!((started("second-start"), started("libvirtd")), (0, 0), "{name}");
        let probed = fs::read_to_string(into.join("probed")).unwrap();
        match Path::new("/dev/kvm").exists() && std::env::consts::ARCH == "x86_64" {
            true => assert_eq!(probed, "qemu-system-i386\nqemu-system-x86_64\n", "{name}"),
            false => println!("SKIPPED: no /dev/kvm of x86_64: nothing has to be probed"),
        }
    }
}
