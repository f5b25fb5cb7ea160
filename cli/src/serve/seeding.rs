//! `serve --seed-libvirt`: keeps libvirt's own cache filled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use capscache::{Cache, Escaped};
use capscache_libvirt::seed::{Instance, Options, Seeder, State};
use capscache_watcher::Event;
use tracing::{info, warn};

use crate::libvirt::{cpu_data, reason};
use crate::output::chain;

/// Time after which libvirt is examined again, which may have been upgraded.
const INTERVAL: Duration = Duration::from_secs(60);

/// Starts a thread that fills libvirt's cache now and after changes; returns the function that reports them to it.
///
/// # Errors
/// There is no libvirt here whose cache can be filled, or no thread can be started.
pub(super) fn start(
    cache: Cache,
    instance: Instance,
) -> Result<impl Fn(&Event) + Send + Sync + 'static> {
    if instance == Instance::System && !rustix::process::geteuid().is_root() {
        bail!(
            "cannot fill libvirt's cache, which belongs to root: the cache {} belongs to another user, as whom this \
             process runs; give one of root's with --root DIR",
            Escaped::new(cache.root())
        );
    }
    // Before the service starts, so that an error does not go unnoticed.
    let seeder = examine(&instance)?;
    let (sender, changes) = channel();
    let thread = Builder::new().name("seed-libvirt".to_owned());
    thread
        .spawn(move || keep_filled(&cache, &instance, seeder, &changes))
        .context("cannot start a thread")?;
    Ok(move |event: &Event| {
        if let Event::Refreshed { emulator, .. } | Event::Appeared { emulator } = event {
            // Fails at the end of the process only.
            let _ = sender.send(emulator.clone());
        }
    })
}

fn keep_filled(cache: &Cache, instance: &Instance, first: Seeder, changes: &Receiver<PathBuf>) {
    fill(cache, &first, &BTreeSet::new());
    let mut last = first;
    loop {
        let changed: BTreeSet<PathBuf> = match changes.recv_timeout(INTERVAL) {
            Ok(emulator) => [emulator].into_iter().chain(changes.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout) => BTreeSet::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match examine(instance) {
            // Without a change of an emulator, libvirt, the modules or the host may have changed.
            Ok(seeder) if changed.is_empty() && seeder.present().host == last.present().host => {}
            Ok(seeder) => {
                fill(cache, &seeder, &changed);
                last = seeder;
            }
            Err(error) => warn!("{}", chain(error.as_ref())),
        }
    }
}

/// Examines libvirt, which may have been upgraded since.
fn examine(instance: &Instance) -> Result<Seeder> {
    Ok(Options::new(instance.clone()).cpu_data(cpu_data()).open()?)
}

/// Writes the files that libvirt searches for, and those of `changed` emulators that it has already.
fn fill(cache: &Cache, seeder: &Seeder, changed: &BTreeSet<PathBuf>) {
    let found = seeder.emulators().iter();
    let of_guests = changed.iter().filter(|emulator| !seeder.emulators().contains(emulator));
    for (emulator, is_found) in
        found.map(|one| (one, true)).chain(of_guests.map(|one| (one, false)))
    {
        let shown = Escaped::new(emulator);
        match seeder.check(emulator) {
            Ok(State::Accepted) => {}
            Ok(State::Missing) if !is_found => {}
            Ok(state) => match write(cache, seeder, emulator) {
                Ok(()) => info!("wrote libvirt's file of {shown}: {}", reason(&state)),
                Err(error) => warn!("{shown}: {}", chain(error.as_ref())),
            },
            Err(error) => warn!("{shown}: {}", chain(&error)),
        }
    }
}

fn write(cache: &Cache, seeder: &Seeder, emulator: &Path) -> Result<()> {
    let identity = seeder.identify(emulator)?;
    let entry = cache.get(emulator)?;
    Ok(seeder.write(emulator, &entry, &identity)?)
}
