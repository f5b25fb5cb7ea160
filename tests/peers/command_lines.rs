//! The command lines of the guests in `run/tests/snapshots`: those that the installed libvirt writes.
//!
//! `virsh domxml-to-native` differs from a start in known ways: files and sockets are named where a start passes
//! descriptors. It writes tap devices for all interfaces, and opens the host's TPM: the guests are compared without these.

use std::fs;
use std::path::Path;

use crate::Scene;
use crate::shell::split;

/// The options of a character device that name a socket or file, or the descriptor that a start passes instead.
const FILES: [&str; 5] = ["fd=", "path=", "append=", "logfile=", "logappend="];

/// Returns the words after the environment, in the form in which both sides are compared.
fn comparable(text: &str, guest_dirs: &[String]) -> Vec<String> {
    let words = split(text);
    let is_variable = |word: &&String| word.contains('=') && !word.starts_with(['-', '/']);
    let mut words = words.iter().skip_while(is_variable).peekable();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if word == "-add-fd" {
            words.next();
            continue;
        }
        let mut word = word.clone();
        for dir in guest_dirs {
            word = word.replace(dir, "GUEST");
        }
        if word.contains(",id=char") {
            let is_other = |part: &&str| !FILES.iter().any(|start| part.starts_with(start));
            word = word.split(',').filter(is_other).collect::<Vec<_>>().join(",");
        }
        if word.contains("\"vhostfd\"") {
            let (before, rest) = word.split_once("\"vhostfd\":\"").unwrap();
            word = format!("{before}{}", rest.split_once("\",").unwrap().1);
        }
        found.push(word);
    }
    found
}

/// Returns a guest without the elements of a name.
fn without(mut guest: String, name: &str) -> String {
    let end = format!("</{name}>");
    while let Some(start) = guest.find(&format!("<{name} ")) {
        let length = guest[start..].find(&end).unwrap() + end.len();
        guest.replace_range(start..start + length, "");
    }
    guest
}

#[test]
fn the_command_lines_of_guests_here_are_those_of_libvirt() {
    let scene = Scene::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../run/tests/snapshots");
    // A start copies the variables of firmware.
    let firmware = scene.path("firmware");
    fs::create_dir(&firmware).unwrap();
    ["CODE.fd", "VARS.fd"].iter().for_each(|name| fs::write(firmware.join(name), [0; 64]).unwrap());
    let mut same = 0;
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if file.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let guest = without(without(fs::read_to_string(&file).unwrap(), "interface"), "tpm");
        let file = scene.path(&format!("{name}.xml"));
        fs::write(&file, guest.replace("/srv/firmware", firmware.to_str().unwrap())).unwrap();
        let theirs = scene
            .libvirt("native", &["domxml-to-native", "qemu-argv", "--xml", file.to_str().unwrap()]);
        if !theirs.output.status.success() {
            println!(
                "{name}: libvirt refuses it here: {}",
                String::from_utf8_lossy(&theirs.output.stderr).trim()
            );
            continue;
        }
        let root = scene.path("root").display().to_string();
        let ours = scene.capscache(&["--root", &root, "run", file.to_str().unwrap(), "--dry-run"]);
        assert!(ours.status.success(), "{name}: {ours:?}");
        let dirs = [
            scene.path("native").join(format!("lib/qemu/domain--1-{name}")).display().to_string(),
            scene.path("root").join(format!("run/guest/{name}")).display().to_string(),
        ];
        let [ours, theirs] = [ours.stdout, theirs.output.stdout]
            .map(|text| comparable(&String::from_utf8(text).unwrap(), &dirs));
        let differs = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        assert!(ours == theirs, "{name}: ours, theirs: {differs:#?}");
        same += 1;
    }
    println!("{same} guests have the command lines of libvirt");
    assert!(same >= 12, "libvirt refuses too many: {same} are compared");
}
