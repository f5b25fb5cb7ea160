//! Files that an attacker made.

use std::io;

use capscache_format::layout::{InputRecord, tag};
use capscache_format::{Entry, FormatError};

use crate::example::answer_of;
use crate::file::{self, pool_file, raw_pool_file};
use crate::golden::GOLDEN;

// Tags of words, see docs/format.md.
const SMALL: u32 = 3 << 28;
const STRING: u32 = 4 << 28;
const UNSIGNED: u32 = 5 << 28;
const ARRAY: u32 = 8 << 28;
const LIST: u32 = 9 << 28;
const OBJECT: u32 = 10 << 28;
const PACKED: u32 = 11 << 28;

/// Checks that `verify` finds the damage, and that an export ends with an error.
fn check(file: &[u8], what: &str) {
    let entry = Entry::open(file).unwrap();
    let error = serde_json::to_writer(io::sink(), &answer_of(&entry)).unwrap_err();
    assert_eq!(error.to_string(), "damaged entry: verify it, and probe again");
    let found = entry.verify().unwrap_err();
    match found {
        FormatError::DamagedRecord { what: found, .. } => assert_eq!(found, what),
        other => panic!("{other}"),
    }
    file::walk(&entry);
}

#[test]
fn a_file_assembled_by_hand_is_read_as_intended() {
    // {"a": [7, "b"]}: a shape at 0, an array at 3, an object at 6.
    let words = [1, 0, 0, 2, SMALL | 7, STRING | 1, 0, ARRAY | 3];
    let file = pool_file(&["a", "b"], &words, OBJECT | 6);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(serde_json::to_string(&answer_of(&entry)).unwrap(), r#"{"a":[7,"b"]}"#);
    assert_eq!(entry.verify(), Ok(()));
}

#[test]
fn an_object_that_holds_itself_is_damage() {
    check(&pool_file(&["a"], &[1, 0, 0, 0, OBJECT | 3], OBJECT | 3), "object");
}

#[test]
fn an_array_that_holds_a_later_container_is_damage() {
    check(&pool_file(&[], &[1, ARRAY | 2, 1, ARRAY], ARRAY | 2), "array");
}

#[test]
#[cfg_attr(miri, ignore = "four million values take Miri over six minutes")]
fn a_small_file_that_expands_without_bound_is_not_exported() {
    // Forty arrays, each of which holds the previous one twice: 2⁴⁰ values in 480 bytes.
    let mut words = vec![1, SMALL];
    let mut before = 0;
    for _ in 0..40 {
        let at = u32::try_from(words.len()).unwrap();
        words.extend([2, ARRAY | before, ARRAY | before]);
        before = at;
    }
    let file = pool_file(&[], &words, ARRAY | before);
    let entry = Entry::open(&file[..]).unwrap();
    let error = serde_json::to_writer(io::sink(), &answer_of(&entry)).unwrap_err();
    assert_eq!(error.to_string(), "damaged entry: verify it, and probe again");
    // It is well-formed, and as a model it is as small as the file.
    assert_eq!(entry.verify(), Ok(()));
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
fn devices_that_each_expand_without_bound_are_not_exported() {
    let mut words = vec![1, SMALL];
    let mut before = 0;
    for _ in 0..40 {
        let at = u32::try_from(words.len()).unwrap();
        words.extend([2, ARRAY | before, ARRAY | before]);
        before = at;
    }
    let shape = u32::try_from(words.len()).unwrap();
    words.extend([3, 0, 1, 2, 0, 1, 2]);
    let object = u32::try_from(words.len()).unwrap();
    words.extend([shape, ARRAY | before, ARRAY | before, ARRAY | before]);
    let file = pool_file(&["a", "b", "c"], &words, OBJECT | object);
    let entry = Entry::open(&file[..]).unwrap();
    let error = serde_json::to_writer(io::sink(), &entry).unwrap_err();
    assert_eq!(error.to_string(), "damaged entry: verify it, and probe again");
}

#[test]
#[cfg_attr(miri, ignore = "a million words take Miri an hour")]
fn a_long_string_that_is_held_a_million_times_is_read_once() {
    let long = "x".repeat(1 << 20);
    let count = 1 << 20;
    let mut words = vec![STRING; count + 1];
    words[0] = u32::try_from(count).unwrap();
    let file = pool_file(&[&long], &words, ARRAY);
    let entry = Entry::open(&file[..]).unwrap();
    // Otherwise both would take a day.
    assert!(answer_of(&entry).as_array().unwrap().find("name", &long).is_none());
    assert_eq!(entry.verify(), Ok(()));
}

#[test]
fn arrays_that_overlap_are_damage_before_they_are_copied() {
    // Ten thousand words that are a count, and a null, at once: each begins an array of them all.
    let count = 10_000;
    let mut words = vec![count; usize::try_from(2 * count).unwrap()];
    let at = 2 * count;
    words.push(count);
    words.extend((0..count).map(|at| ARRAY | at));
    let file = pool_file(&[], &words, ARRAY | at);
    let error = Entry::open(&file[..]).unwrap().verify().unwrap_err();
    let what = "extent of an array";
    assert_eq!(error, FormatError::DamagedRecord { section: *b"POOL", what, at: 11 });
}

/// The same as [`check`], where an export need not fail.
fn check_verify(file: &[u8], what: &str) {
    let entry = Entry::open(file).unwrap();
    match entry.verify().unwrap_err() {
        FormatError::DamagedRecord { what: found, .. } => assert_eq!(found, what),
        other => panic!("{other}"),
    }
    file::walk(&entry);
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
fn values_that_nest_without_bound_are_damage() {
    let mut words = vec![1, SMALL];
    for at in 0..100_000 {
        words.extend([1, ARRAY | (at * 2)]);
    }
    check(&pool_file(&[], &words, ARRAY | 200_000), "depth of a value");
}

#[test]
fn values_that_nest_too_deep_through_a_shared_one_are_damage() {
    // The root holds every array of a chain, the deepest last: none is new when it is reached.
    let mut words = vec![1, SMALL];
    for at in 0..200 {
        words.extend([1, ARRAY | (at * 2)]);
    }
    let root = u32::try_from(words.len()).unwrap();
    words.push(201);
    words.extend((0..201).map(|at| ARRAY | (at * 2)));
    check(&pool_file(&[], &words, ARRAY | root), "depth of a value");
}

/// Eight objects `{"name": "a"}` … in a list whose order and key can be chosen.
fn list(key: u32, order: [u16; 8]) -> Vec<u8> {
    let strings = ["a", "b", "c", "d", "e", "f", "g", "h", "name"];
    let mut words = vec![1, 8, 0];
    let objects: Vec<u32> = (0..8)
        .map(|name| {
            let at = u32::try_from(words.len()).unwrap();
            words.extend([0, STRING | name]);
            OBJECT | at
        })
        .collect();
    let at = u32::try_from(words.len()).unwrap();
    words.extend([8, key]);
    words.extend(objects);
    words.extend(order.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16));
    pool_file(&strings, &words, LIST | at)
}

#[test]
fn a_list_has_every_element_once_in_its_order() {
    let sound = list(8, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(Entry::open(&sound[..]).unwrap().verify(), Ok(()));
    check_verify(&list(8, [0, 1, 2, 3, 4, 5, 6, 8]), "array");
    check_verify(&list(8, [0, 1, 2, 3, 4, 5, 6, 0xFFFF]), "array");
    check_verify(&list(8, [0, 1, 2, 3, 4, 5, 7, 6]), "array");
    check_verify(&list(8, [0, 1, 2, 3, 4, 5, 6, 6]), "array");
    check_verify(&list(8, [0; 8]), "array");
    check_verify(&list(7, [0, 1, 2, 3, 4, 5, 6, 7]), "array");
    check_verify(&list(u32::MAX, [0, 1, 2, 3, 4, 5, 6, 7]), "array");
}

#[test]
fn counts_and_offsets_near_the_integer_limit_are_damage() {
    for tag in [UNSIGNED, ARRAY, LIST, OBJECT, PACKED] {
        let root = tag | 0x0FFF_FFFF;
        check(&pool_file(&["a"], &[u32::MAX; 8], root), "value");
        if tag != UNSIGNED {
            check(&pool_file(&["a"], &[u32::MAX; 8], tag | 1), "value");
        }
    }
    check(&pool_file(&["a"], &[], STRING | 1), "string");
    check(&pool_file(&["a"], &[], u32::MAX), "value");
}

#[test]
fn a_shape_that_lies_after_its_object_is_damage() {
    check(&pool_file(&["a"], &[2, SMALL, 1, 0, 0], OBJECT), "value");
    check(&pool_file(&["a"], &[0, SMALL, 1, 0, 0], OBJECT), "value");
}

#[test]
fn a_shape_has_every_key_once_in_its_order() {
    let object = |order: [u32; 2], keys: [u32; 2]| {
        let words = [2, keys[0], keys[1], order[0], order[1], 0, SMALL, SMALL];
        pool_file(&["a", "b"], &words, OBJECT | 5)
    };
    assert_eq!(Entry::open(&object([1, 0], [1, 0])[..]).unwrap().verify(), Ok(()));
    check_verify(&object([0, 1], [1, 0]), "order of keys");
    check_verify(&object([0, 0], [0, 1]), "order of keys");
    check_verify(&object([0, 2], [0, 1]), "order of keys");
    check_verify(&object([0, 1], [0, 0]), "order of keys");
    check(&object([0, 1], [0, 2]), "string");
}

#[test]
fn a_code_beyond_its_palette_is_damage() {
    // Four keys, a palette of one: codes 0, 0, 0 and 1.
    let words = [4, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, SMALL | 7, 0x0100_0000];
    check(&pool_file(&["a", "b", "c", "d"], &words, PACKED | 9), "object");
    let mut sound = words;
    sound[12] = 0;
    let file = pool_file(&["a", "b", "c", "d"], &sound, PACKED | 9);
    assert_eq!(
        serde_json::to_string(&answer_of(&Entry::open(&file[..]).unwrap())).unwrap(),
        r#"{"a":7,"b":7,"c":7,"d":7}"#
    );
}

#[test]
fn a_string_table_that_announces_too_much_is_damage() {
    let object = [1, 0, 0, 0, SMALL].map(u32::to_le_bytes).concat();
    for count in [2, 1000, 0x3FFF_FFFF, 0x4000_0000, u32::MAX] {
        let strings = [count, 1].map(u32::to_le_bytes).concat();
        check(&raw_pool_file(strings, object.clone(), OBJECT | 3), "string");
    }
    check(&raw_pool_file(vec![1, 0], object, OBJECT | 3), "string");
}

#[test]
fn strings_are_utf_8_and_in_order() {
    let table = |ends: [u32; 3], text: &[u8]| {
        let ends = ends.map(u32::to_le_bytes).concat();
        raw_pool_file([&ends[..], text].concat(), Vec::new(), SMALL)
    };
    assert_eq!(Entry::open(&table([2, 1, 2], b"ab")[..]).unwrap().verify(), Ok(()));
    check_verify(&table([2, 1, 2], b"ba"), "order of strings");
    check_verify(&table([2, 1, 2], b"aa"), "order of strings");
    check_verify(&table([2, 2, 1], b"ab"), "string");
    check_verify(&table([2, 1, 3], b"ab"), "string");
    check_verify(&table([2, 1, 2], b"a\xff"), "string");
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri over six minutes")]
fn a_search_through_a_wide_shape_takes_no_longer_than_through_a_narrow_one() {
    // 65,535 times one object with 65,535 keys, by the last of which the list is sorted.
    let names: Vec<String> = (0..65_535).map(|key| format!("{key:05}")).collect();
    let mut strings: Vec<&str> = names.iter().map(String::as_str).collect();
    strings.push("name");
    let keys: u32 = 65_536;
    let mut words = vec![keys];
    words.extend(0..keys);
    words.extend(0..keys);
    let object = u32::try_from(words.len()).unwrap();
    words.push(0);
    words.extend((0..keys).map(|_| STRING));
    let at = u32::try_from(words.len()).unwrap();
    let count = 65_535;
    words.extend([count, keys - 1]);
    words.extend((0..count).map(|_| OBJECT | object));
    words.extend((0..count.div_ceil(2)).map(|pair| (2 * pair) | ((2 * pair + 1) & 0xFFFF) << 16));
    let file = pool_file(&strings, &words, LIST | at);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.verify(), Ok(()));
    assert!(answer_of(&entry).as_array().unwrap().find("name", "00000").is_some());
}

#[test]
fn inputs_that_share_their_text_are_read_once_and_damage() {
    let mut sections = file::sections(GOLDEN);
    let inputs = sections.iter_mut().find(|one| one.tag == tag::INPUTS).unwrap();
    let record = size_of::<InputRecord>();
    let second = inputs.bytes[4 + record..4 + 2 * record].to_vec();
    let text = inputs.bytes[4 + 2 * record..].to_vec();
    inputs.bytes = [&1000_u32.to_le_bytes()[..], &second.repeat(1000), &text].concat();
    let file = file::assemble(&sections);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.inputs().count(), 1);
    assert!(
        matches!(entry.verify(), Err(FormatError::DamagedRecord { section, .. }) if section == tag::INPUTS)
    );
}
