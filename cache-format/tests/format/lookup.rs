//! Lookups by name, compared with a linear search.

use capscache_format::Value;

use crate::example::{answer_of, entry_of};
use crate::file;
use crate::random::Random;

/// Checks every lookup in `value` and below it: by every present name, and by some absent ones.
fn check(value: Value<'_>, random: &mut Random, seed: u64) {
    if let Some(object) = value.as_object() {
        let mut keys: Vec<String> = object.iter().map(|(key, _)| key.to_owned()).collect();
        keys.extend((0..4).map(|_| random.name()));
        for key in keys {
            let linear = object.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
            let found = object.get(&key);
            assert_eq!(text(found), text(linear), "key {key:?}, seed {seed}");
        }
        object.iter().for_each(|(_, value)| check(value, random, seed));
    }
    if let Some(array) = value.as_array() {
        for key in ["name", "option", "capability", "key-1"] {
            let named = |element: Value<'_>, name: &str| {
                element.get(key).and_then(Value::as_str) == Some(name)
            };
            let mut names: Vec<String> = array
                .iter()
                .filter_map(|element| Some(element.get(key)?.as_str()?.to_owned()))
                .collect();
            names.extend((0..4).map(|_| random.name()));
            for name in names {
                let linear = array.iter().find(|element| named(*element, &name));
                let found = array.find(key, &name);
                assert_eq!(text(found), text(linear), "{key} {name:?}, seed {seed}");
            }
        }
        array.iter().for_each(|value| check(value, random, seed));
    }
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    value.map(|value| serde_json::to_string(&value).unwrap())
}

#[test]
fn every_lookup_equals_a_linear_search() {
    for seed in (0..100).step_by(file::ONE_IN) {
        let mut random = Random(seed);
        let entry = entry_of(&random.value(3).to_string());
        check(answer_of(&entry), &mut random, seed);
    }
}
