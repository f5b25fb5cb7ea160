//! Random changes in any order and at any speed: in the end all entries are fresh, and watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use capscache::Lookup;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::fixture::{AVR, Fixture, RX, rewarm};

const VERSIONS: [&str; 2] = ["opt/a", "opt/b"];

/// An action of a package manager, an administrator or an accident, and a pause after it, in milliseconds.
#[derive(Clone, Debug)]
struct Disturbance {
    version: &'static str,
    target: &'static str,
    kind: u8,
    pause: Option<u64>,
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    let pause = proptest::option::weighted(0.25, 0..60_u64);
    (select(&VERSIONS[..]), select(&[AVR, RX][..]), 0..11_u8, pause)
        .prop_map(|(version, target, kind, pause)| Disturbance { version, target, kind, pause })
}

/// Paths of the emulators: their own ones, and others through links whose targets change.
fn emulators(fixture: &Fixture) -> Vec<PathBuf> {
    ["opt/a/bin/qemu", "opt/b/bin/qemu", "current/bin/qemu", "bin/qemu"]
        .map(|name| fixture.path(name))
        .to_vec()
}

impl Fixture {
    /// Performs the action, which may fail.
    fn disturb(&self, disturbance: &Disturbance, count: usize) {
        let Disturbance { version, target, kind, .. } = *disturbance;
        let file = format!("{version}/bin/qemu");
        let aside = self.path("aside");
        let _ = match kind {
            0..=2 => {
                self.wrapper(&file, target);
                Ok(())
            }
            3 => fs::remove_file(self.path(&file)),
            4 => fs::remove_dir_all(self.path(version)),
            5 => fs::rename(self.path(version), &aside),
            6 => fs::rename(&aside, self.path(version)),
            7 => fs::rename(self.path("opt"), self.path(&format!("old-{count}"))),
            8 => fs::write(self.path(&file), format!("#!/bin/sh\nexec {target} \"$@\"\n")),
            9 => self.link("current", version),
            _ => fs::File::open(self.path(&file))
                .and_then(|file| file.set_modified(std::time::UNIX_EPOCH)),
        };
    }

    fn link(&self, link: &str, target: &str) -> std::io::Result<()> {
        let new = self.path("new-link");
        let _ = fs::remove_file(&new);
        symlink(target, &new)?;
        fs::rename(new, self.path(link))
    }
}

/// Checks one sequence of disturbances, the same in every run. It is shown whole where it fails: what depends on time
/// cannot be made shorter.
fn after_random_changes_all_entries_are_fresh_and_watched(seed: u64) {
    if !test_support::rights::is_run_protected() {
        return;
    }
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    });
    let checked = runner.run(&vec(disturbance(), 120), |disturbances| {
        check(&disturbances);
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

fn check(disturbances: &[Disturbance]) {
    let fixture = Fixture::new();
    for version in VERSIONS {
        fixture.wrapper(&format!("{version}/bin/qemu"), AVR);
    }
    fixture.link("current", VERSIONS[0]).unwrap();
    fixture.link("bin", "current/bin").unwrap();
    for emulator in emulators(&fixture) {
        fixture.cache.get(&emulator).unwrap();
    }
    let watching = fixture.watch(rewarm());
    for (count, disturbance) in disturbances.iter().enumerate() {
        fixture.disturb(disturbance, count);
        if let Some(pause) = disturbance.pause {
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
    // A known end: two emulators, and links to the second.
    let _ = fs::remove_dir_all(fixture.path("opt"));
    fixture.wrapper("opt/a/bin/qemu", AVR);
    fixture.wrapper("opt/b/bin/qemu", RX);
    fixture.link("current", VERSIONS[1]).unwrap();
    let expected = ["avr", "rx", "rx", "rx"];
    for (emulator, arch) in emulators(&fixture).iter().zip(expected) {
        let is_fresh =
            || matches!(fixture.cache.lookup(emulator), Ok(Lookup::Hit(hit)) if hit.arch() == arch);
        while !is_fresh() {
            // Only the watcher probes.
            watching.until(|_| true);
        }
    }
    // All of it is still watched. Events until now are of earlier changes.
    for name in ["opt/a/bin/qemu", "opt/b/bin/qemu"] {
        while !emulators(&fixture).iter().all(|emulator| fixture.is_hit(emulator)) {
            watching.until(|_| true);
        }
        watching.events.try_iter().for_each(drop);
        let emulator = fixture.path(name);
        let starts = fixture.starts(&emulator);
        fixture.upgrade(name);
        watching.dropped(&emulator);
        watching.refreshed(&emulator);
        assert!(fixture.starts(&emulator) > starts);
    }
}

#[test]
fn after_random_changes_all_entries_are_fresh_and_watched_1() {
    after_random_changes_all_entries_are_fresh_and_watched(1);
}

#[test]
fn after_random_changes_all_entries_are_fresh_and_watched_2() {
    after_random_changes_all_entries_are_fresh_and_watched(2);
}
