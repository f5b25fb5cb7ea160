//! Guests that run in a real QEMU, without KVM. The kernels are a few instructions each.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod disks;
mod ends;
mod failures;
mod faults;
mod helpers;
mod kernel;
mod linux;
mod locks;
mod refusals;
mod scopes;
mod secrets;
mod settings;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use capscache_domain::Guest;
use capscache_format::Entry;
use capscache_probe::{Options, probe};
use capscache_run::{Prepared, Root, Run, Running};
use tempfile::TempDir;

/// The variable that names the entry of the emulator to a runner of a test.
const ENTRY: &str = "CAPSCACHE_TEST_ENTRY";

/// Returns the capabilities of the emulator, in the form of an entry.
fn answers() -> &'static [u8] {
    static ANSWERS: OnceLock<Vec<u8>> = OnceLock::new();
    ANSWERS.get_or_init(|| match std::env::var_os(ENTRY) {
        Some(path) => fs::read(path).unwrap(),
        None => {
            let emulator = test_support::x86_64();
            let probed = probe(emulator.as_ref(), &Options::default()).unwrap();
            probed.model.encode().unwrap()
        }
    })
}

/// A root of one test.
struct Dir(TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn root(&self) -> Root {
        Root::new(self.path("root")).unwrap()
    }

    /// Writes a kernel, and returns the element that boots it.
    fn kernel(&self, code: &[u8]) -> String {
        let path = self.path("kernel");
        fs::write(&path, kernel::multiboot(code)).unwrap();
        format!("<kernel>{}</kernel>", path.display())
    }

    /// Prepares a guest.
    fn prepare(&self, xml: &str) -> Prepared {
        self.run(xml).prepare(&entry()).unwrap()
    }

    fn run(&self, xml: &str) -> Run {
        Run::new(Guest::from_xml(xml).unwrap(), self.root())
    }

    /// Starts a guest.
    fn start(&self, xml: &str) -> Running {
        self.prepare(xml).start().unwrap()
    }

    /// The files and directories below the root, without the locks, which stay.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        list(&self.path("root"), &self.path("root"), &mut files);
        files.retain(|file| !file.starts_with("run/lock/"));
        files.sort();
        files
    }
}

fn list(root: &Path, directory: &Path, files: &mut Vec<String>) {
    let directory = match fs::read_dir(directory) {
        // A guest that ends meanwhile removes its files.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        directory => directory.unwrap(),
    };
    for file in directory {
        let path = file.unwrap().path();
        if path.is_dir() {
            list(root, &path, files);
        }
        files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
    }
}

fn entry() -> Entry<&'static [u8]> {
    Entry::open(answers()).unwrap()
}

/// A guest with elements in its root, in `<os>`, and among its devices.
fn guest_with(name: &str, elements: &str, os: &str, devices: &str) -> String {
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
           <name>{name}</name>
           <memory unit='MiB'>64</memory>
           <vcpu>1</vcpu>
           <os><type arch='x86_64' machine='pc'>hvm</type>{os}</os>
           <features><acpi/></features>
           {elements}
           <devices>
             <emulator>{}</emulator>
             <controller type='usb' model='none'/>
             <memballoon model='none'/>
             {devices}
           </devices>
         </domain>",
        test_support::x86_64()
    )
}

/// A guest that boots a kernel.
fn guest_of(name: &str, kernel: &str, elements: &str) -> String {
    guest_with(name, elements, kernel, "")
}

/// A guest that does nothing.
fn guest(name: &str) -> String {
    guest_with(name, "", "", "")
}

/// Returns true while there is a process, also one that has ended and was not reaped.
fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
