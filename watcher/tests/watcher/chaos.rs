//! Random changes in any order and at any speed: in the end all entries are fresh, and watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use capscache::Lookup;

use crate::fixture::{AVR, Fixture, RX, rewarm};

/// Random numbers, the same ones for the same seed (xorshift).
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const VERSIONS: [&str; 2] = ["opt/a", "opt/b"];

/// Paths of the emulators: their own ones, and others through links whose targets change.
fn emulators(fixture: &Fixture) -> Vec<PathBuf> {
    ["opt/a/bin/qemu", "opt/b/bin/qemu", "current/bin/qemu", "bin/qemu"]
        .map(|name| fixture.path(name))
        .to_vec()
}

impl Fixture {
    /// Makes one change as package managers, administrators or accidents do; it may fail, as theirs do.
    fn disturb(&self, rng: &mut Rng, count: u64) {
        let version = if rng.below(2) == 0 { VERSIONS[0] } else { VERSIONS[1] };
        let file = format!("{version}/bin/qemu");
        let target = if rng.below(2) == 0 { AVR } else { RX };
        let aside = self.path("aside");
        let _ = match rng.below(11) {
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

fn after_random_changes_all_entries_are_fresh_and_watched(seed: u64) {
    if !test_support::rights::is_run_protected() {
        return;
    }
    let mut rng = Rng(seed);
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
    for count in 0..120 {
        fixture.disturb(&mut rng, count);
        if rng.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(rng.below(60)));
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
    after_random_changes_all_entries_are_fresh_and_watched(0x2545_F491_4F6C_DD1D);
}
