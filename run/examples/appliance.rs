//! Boots a kernel with an initrd, reads its console until it is ready, and shuts it down by ACPI: what a program needs
//! that runs an appliance of its own.
//!
//! usage: appliance KERNEL INITRD ROOT

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;

use capscache::Cache;
use capscache_domain::Guest;
use capscache_run::{End, Root, Run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [kernel, initrd, root] => boot(kernel, initrd, root, |line| println!("{line}")),
        _ => Err("usage: appliance KERNEL INITRD ROOT".into()),
    }
}

/// Boots a kernel, passes each line of its console on, and presses its power button when it is ready.
pub(crate) fn boot(
    kernel: &str,
    initrd: &str,
    root: &str,
    mut console_line: impl FnMut(&str),
) -> Result<(), Box<dyn std::error::Error>> {
    let emulator = "/usr/bin/qemu-system-x86_64";
    let console = format!("{root}/console");
    let guest = Guest::from_xml(&format!(
        "<domain type='qemu'>
           <name>appliance</name><memory unit='MiB'>256</memory>
           <os><type arch='x86_64' machine='q35'>hvm</type>
             <kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>console=ttyS0 quiet</cmdline></os>
           <features><acpi/></features>
           <devices><emulator>{emulator}</emulator>
             <serial type='unix'><source mode='bind' path='{console}'/></serial></devices>
         </domain>"
    ))?;
    let capabilities = Cache::open(format!("{root}/cache"))?.get(emulator)?;
    let running = Run::new(guest, Root::new(root)?).prepare(&capabilities)?.start()?;
    eprintln!("runs after {} µs", running.timing().total().as_micros());
    for line in BufReader::new(UnixStream::connect(&console)?).lines() {
        let line = line?;
        console_line(&line);
        if line.contains("READY") {
            running.shutdown();
        }
    }
    match running.wait() {
        End::ShutDown => Ok(()),
        end => Err(end.to_string().into()),
    }
}
