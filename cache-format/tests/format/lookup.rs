//! Lookups by name, compared with a linear search.

use capscache_format::Value;
use proptest::prelude::*;

use crate::example::{answer_of, entry_of};
use crate::strategies::{config, name, value};

/// Every lookup in `value` and below it: by every name that is in it, and by `others`, most of which are not.
fn check(value: Value<'_>, others: &[String]) {
    if let Some(object) = value.as_object() {
        let mut keys: Vec<String> = object.iter().map(|(key, _)| key.to_owned()).collect();
        keys.extend_from_slice(others);
        for key in keys {
            let linear = object.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
            let found = object.get(&key);
            assert_eq!(text(found), text(linear), "key {key:?}");
        }
        object.iter().for_each(|(_, value)| check(value, others));
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
            names.extend_from_slice(others);
            for name in names {
                let linear = array.iter().find(|element| named(*element, &name));
                let found = array.find(key, &name);
                assert_eq!(text(found), text(linear), "{key} {name:?}");
            }
        }
        array.iter().for_each(|value| check(value, others));
    }
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    value.map(|value| serde_json::to_string(&value).unwrap())
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn every_lookup_equals_a_linear_search(
        value in value(3),
        others in proptest::collection::vec(name(), 8),
    ) {
        check(answer_of(&entry_of(&value.to_string())), &others);
    }
}
