//! Whatever happens, in whatever order and however fast: in the end all is fresh, and watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use capscache::Lookup;

use crate::world::{AVR, RX, World, rewarm};

/// The same numbers for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const VERSIONS: [&str; 2] = ["opt/a", "opt/b"];

/// Where the emulators are asked for: directly, and by way of links that lead here and there.
fn emulators(world: &World) -> Vec<PathBuf> {
    ["opt/a/bin/qemu", "opt/b/bin/qemu", "current/bin/qemu", "bin/qemu"]
        .map(|name| world.path(name))
        .to_vec()
}

impl World {
    /// One thing that package managers, administrators or accidents do; it may fail, as theirs do.
    fn disturb(&self, dice: &mut Dice, count: u64) {
        let version = if dice.throw(2) == 0 { VERSIONS[0] } else { VERSIONS[1] };
        let file = format!("{version}/bin/qemu");
        let target = if dice.throw(2) == 0 { AVR } else { RX };
        let aside = self.path("aside");
        let _ = match dice.throw(11) {
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
            9 => self.lead("current", version),
            _ => fs::File::open(self.path(&file))
                .and_then(|file| file.set_modified(std::time::UNIX_EPOCH)),
        };
    }

    fn lead(&self, link: &str, target: &str) -> std::io::Result<()> {
        let new = self.path("new-link");
        let _ = fs::remove_file(&new);
        symlink(target, &new)?;
        fs::rename(new, self.path(link))
    }
}

fn whatever_happens_all_is_fresh_and_watched_in_the_end(seed: u64) {
    if !test_support::rights::is_run_protected() {
        return;
    }
    let mut dice = Dice(seed);
    let world = World::new();
    for version in VERSIONS {
        world.wrapper(&format!("{version}/bin/qemu"), AVR);
    }
    world.lead("current", VERSIONS[0]).unwrap();
    world.lead("bin", "current/bin").unwrap();
    for emulator in emulators(&world) {
        world.cache.get(&emulator).unwrap();
    }
    let watching = world.watch(rewarm());
    for count in 0..120 {
        world.disturb(&mut dice, count);
        if dice.throw(4) == 0 {
            std::thread::sleep(Duration::from_millis(dice.throw(60)));
        }
    }
    // How it ends is known: two emulators, and the links lead to the second.
    let _ = fs::remove_dir_all(world.path("opt"));
    world.wrapper("opt/a/bin/qemu", AVR);
    world.wrapper("opt/b/bin/qemu", RX);
    world.lead("current", VERSIONS[1]).unwrap();
    let expected = ["avr", "rx", "rx", "rx"];
    for (emulator, arch) in emulators(&world).iter().zip(expected) {
        let is_fresh =
            || matches!(world.cache.lookup(emulator), Ok(Lookup::Hit(hit)) if hit.arch() == arch);
        while !is_fresh() {
            // Nothing but the watcher probes.
            watching.until(|_| true);
        }
    }
    // All of it is still watched. What was told meanwhile is about what happened before.
    for name in ["opt/a/bin/qemu", "opt/b/bin/qemu"] {
        while !emulators(&world).iter().all(|emulator| world.is_hit(emulator)) {
            watching.until(|_| true);
        }
        watching.events.try_iter().for_each(drop);
        let emulator = world.path(name);
        let starts = world.starts(&emulator);
        world.upgrade(name);
        watching.dropped(&emulator);
        watching.refreshed(&emulator);
        assert!(world.starts(&emulator) > starts);
    }
}

#[test]
fn whatever_happens_all_is_fresh_and_watched_in_the_end_1() {
    whatever_happens_all_is_fresh_and_watched_in_the_end(1);
}

#[test]
fn whatever_happens_all_is_fresh_and_watched_in_the_end_2() {
    whatever_happens_all_is_fresh_and_watched_in_the_end(0x2545_F491_4F6C_DD1D);
}
