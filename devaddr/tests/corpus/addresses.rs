//! Each guest gets the controllers and addresses that libvirt gave it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use capscache_devaddr::{Facts, assign};
use capscache_domain::{Guest, Unknown};

use crate::cases::{Emulators, apply, cases, folder, policy, special};
use crate::compare::{comparable, difference};

/// Reads what libvirt wrote, which may have elements of a later release.
fn read(file: &Path) -> Guest {
    Guest::from_xml_with(&fs::read_to_string(file).unwrap(), Unknown::Keep).unwrap()
}

/// Prints the cases that differ, of which there may be one in a hundred.
fn assert_few(different: &[String], equal: usize) {
    different.iter().for_each(|case| println!("different: {case}"));
    assert!(different.len() * 100 <= equal, "{} differ, {equal} are equal", different.len());
}

#[test]
fn every_guest_of_libvirt_gets_the_addresses_of_libvirt() {
    let Some(folder) = folder() else { return };
    let special = special(&folder);
    let mut emulators = Emulators { folder: folder.clone(), known: HashMap::new() };
    let (mut equal, mut refused, mut different, mut total) = (0, 0, 0, 0);
    for case in cases(&folder, "xml") {
        let expected = read(&case.result);
        total += 1;
        let mut guest = match Guest::from_xml(&fs::read_to_string(&case.guest).unwrap()) {
            Ok(guest) => guest,
            Err(error) => {
                println!("refused: {}: {error}", case.name);
                refused += 1;
                continue;
            }
        };
        let setting = special
            .iter()
            .find(|(name, _)| case.name.starts_with(&format!("{name}.")))
            .map(|(_, setting)| setting.as_str());
        let facts = apply(emulators.facts(&case), setting.unwrap_or_default());
        let outcome = assign(&mut guest, &facts, &policy(&case));
        let (ours, theirs) = (comparable(&guest), comparable(&expected));
        match outcome {
            Err(error) => {
                println!("refused: {}: {error}", case.name);
                refused += 1;
            }
            Ok(_) if ours == theirs => equal += 1,
            Ok(_) if setting.is_some() => {
                println!("special: {}: {}", case.name, setting.unwrap_or_default());
                refused += 1;
            }
            Ok(_) => {
                let lines = difference(&ours, &theirs).join("\n  ");
                println!("different: {}:\n  {lines}", case.name);
                different += 1;
            }
        }
    }
    println!("devaddr: {equal} equal, {refused} refused, {different} different of {total}");
    assert_eq!(different, 0);
}

#[test]
fn a_guest_that_libvirt_completed_does_not_change() {
    let Some(folder) = folder() else { return };
    let special = special(&folder);
    let mut emulators = Emulators { folder: folder.clone(), known: HashMap::new() };
    let (mut equal, mut different) = (0, Vec::new());
    for case in cases(&folder, "xml") {
        let mut guest = read(&case.result);
        let before = comparable(&guest);
        let is_special = special.iter().any(|(name, _)| case.name.starts_with(&format!("{name}.")));
        match assign(&mut guest, &emulators.facts(&case), &policy(&case)) {
            Ok(_) if comparable(&guest) != before && !is_special => {
                let lines = difference(&comparable(&guest), &before).join("\n  ");
                different.push(format!("{}:\n  {lines}", case.name));
            }
            Ok(_) => equal += 1,
            Err(error) => println!("refused: {}: {error}", case.name),
        }
    }
    println!("completed guests that do not change: {equal}");
    assert_few(&different, equal);
}

#[test]
fn built_in_facts_give_the_addresses_of_libvirt() {
    let Some(folder) = folder() else { return };
    let special = special(&folder);
    let (mut equal, mut different) = (0, Vec::new());
    for case in cases(&folder, "xml") {
        let expected = read(&case.result);
        let Ok(mut guest) = Guest::from_xml(&fs::read_to_string(&case.guest).unwrap()) else {
            continue;
        };
        let setting = special.iter().find(|(name, _)| case.name.starts_with(&format!("{name}.")));
        let facts = Facts::built_in(&case.arch);
        let facts = apply(facts, setting.map_or("", |(_, setting)| setting.as_str()));
        if assign(&mut guest, &facts, &policy(&case)).is_err() {
            continue;
        }
        let (ours, theirs) = (comparable(&guest), comparable(&expected));
        if ours == theirs {
            equal += 1;
        } else {
            different.push(format!("{}: {}", case.name, difference(&ours, &theirs).join("\n  ")));
        }
    }
    println!("equal with built-in facts: {equal}");
    // A recording may be of an emulator that was built with fewer devices.
    assert_few(&different, equal);
}
