//! Debian's Linux as a guest: it boots with each kind of firmware, writes to its console, and shuts down by ACPI.

#[path = "../../examples/appliance.rs"]
#[allow(dead_code, reason = "its main is for users")]
mod appliance;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use capscache_run::{Deadlines, End, Running};

use crate::{Dir, guest_with};

/// The longest time for a boot without KVM, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(240);

/// Returns the folder with kernel and initrd, and makes it first. Where that is not possible, reports a skip.
fn linux() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/linux.sh");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linux");
    let made = Command::new(script).arg(&folder).output().unwrap();
    if !made.status.success() {
        println!("SKIPPED: no Linux to boot: {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    Some(folder)
}

/// Starts Linux with firmware, waits until it is there, and returns what it wrote to its console.
fn boot(dir: &Dir, linux: &Path, firmware: &str) -> (Running, String) {
    let console = dir.path("console");
    let os = format!(
        "{firmware}<kernel>{0}/vmlinuz</kernel><initrd>{0}/initrd.gz</initrd>
         <cmdline>console=ttyS0 quiet</cmdline>",
        linux.display()
    );
    let serial = format!("<serial type='file'><source path='{}'/></serial>", console.display());
    let xml = guest_with("linux", "", &os, &serial).replace("'MiB'>64<", "'MiB'>256<");
    let xml = xml.replace("machine='pc'", "machine='q35'");
    let deadlines = Deadlines { shutdown: PATIENCE, ..Deadlines::default() };
    let entry = crate::entry();
    let running = dir.run(&xml).deadlines(deadlines).prepare(&entry).unwrap().start().unwrap();
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(&console).unwrap_or_default();
        if text.contains("READY") {
            return (running, text);
        }
        assert!(began.elapsed() < PATIENCE, "Linux does not boot: {text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Presses the button until the guest has ended: Linux may not have its driver yet, and QEMU drops the press then.
fn press(running: &Running) -> End {
    std::thread::scope(|scope| {
        let end = scope.spawn(|| running.wait());
        while !end.is_finished() {
            running.shutdown();
            std::thread::sleep(Duration::from_millis(500));
        }
        end.join().unwrap()
    })
}

#[test]
fn linux_boots_from_its_kernel_and_shuts_down_when_its_button_is_pressed() {
    let Some(linux) = linux() else { return };
    let dir = Dir::new();
    let (running, console) = boot(&dir, &linux, "");
    assert!(console.contains("FIRMWARE BIOS"), "{console}");
    assert_eq!(press(&running), End::ShutDown);
    let console = fs::read_to_string(dir.path("console")).unwrap();
    assert!(console.contains("reboot: Power down"), "{console}");
}

#[test]
fn linux_boots_with_uefi_whose_variables_are_kept() {
    let Some(linux) = linux() else { return };
    let dir = Dir::new();
    let firmware = format!(
        "<loader readonly='yes' type='pflash'>{0}/firmware/OVMF_CODE_4M.fd</loader>
         <nvram template='{0}/firmware/OVMF_VARS_4M.fd'/>",
        linux.display()
    );
    let (running, console) = boot(&dir, &linux, &firmware);
    assert!(console.contains("FIRMWARE UEFI"), "{console}");
    assert_eq!(press(&running), End::ShutDown);
    let kept = fs::read(dir.path("root/lib/nvram/linux_VARS.fd")).unwrap();
    let template = fs::read(linux.join("firmware/OVMF_VARS_4M.fd")).unwrap();
    assert_eq!(kept.len(), template.len());
    assert!(kept != template, "the firmware wrote no variable");
}

#[test]
fn the_example_boots_linux_reads_its_console_and_stops_it() {
    let Some(linux) = linux() else { return };
    let dir = Dir::new();
    let (kernel, initrd) = (linux.join("vmlinuz"), linux.join("initrd.gz"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut console = Vec::new();
    let root = dir.path("root");
    fs::create_dir(&root).unwrap();
    let line = |line: &str| console.push(line.trim().to_owned());
    appliance::boot(&text(&kernel), &text(&initrd), &text(&root), line).unwrap();
    assert!(console.contains(&"READY".to_owned()), "{console:?}");
    assert!(console.last().unwrap().contains("Power down"), "{console:?}");
}
