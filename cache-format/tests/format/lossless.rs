//! JSON is read from a file as it was written.

use std::fmt::Write;

use capscache_format::{Model, ModelError, Node};
use proptest::prelude::*;
use serde_json::Value;

use crate::example::{answer_of, entry_of, intern};
use crate::strategies::{config, value};

/// Writes `json` to a file, and returns the JSON that is read from it.
fn through_a_file(json: &str) -> String {
    let entry = entry_of(json);
    let read = serde_json::to_string(&answer_of(&entry)).unwrap();
    let again = entry.to_model().unwrap().encode().unwrap();
    assert!(again == entry.bytes(), "reading back changes the file of {json:.200}");
    read
}

#[test]
fn the_text_that_is_read_is_the_text_that_was_written() {
    for json in [
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "0",
        "268435455",
        "268435456",
        "4294967296",
        "18446744073709551615",
        "9223372036854775808",
        "-1",
        "-9223372036854775808",
        "0.1",
        "1.0",
        "-0.0",
        "1e+308",
        "5e-324",
        "1.7976931348623157e+308",
        "0.30000000000000004",
        r#""""#,
        r#"" both ends  ""#,
        r#""\" \\ \n \t \u0000 \u001f /""#,
        r#""é ß 日本 🦀 e\u0301""#,
        r#""null""#,
        "[[],[[]],{},[{}],[[[[[[]]]]]]]",
        r#"{"":{"":[null]}}"#,
        r#"{"z":1,"a":2,"m":{"z":1,"a":2},"b":{"a":2,"z":1}}"#,
        r#"[{"a":1,"b":2},{"b":2,"a":1},{"a":2,"b":1}]"#,
        r#"[0,0.0,"0",false,null,[0],{"0":0}]"#,
    ] {
        let expected = json.replace("e\\u0301", "e\u{301}");
        assert_eq!(through_a_file(json), expected);
    }
}

#[test]
fn numbers_beyond_the_range_of_integers_become_the_nearest_double() {
    assert_eq!(through_a_file("18446744073709551616"), "1.8446744073709552e+19");
    assert_eq!(through_a_file("-9223372036854775809"), "-9.223372036854776e+18");
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
fn objects_with_many_keys_keep_values_and_order() {
    for keys in [7, 8, 255, 256, 257, 300] {
        // Two values, and as many values as keys: packed and not packed.
        for values in [2, keys] {
            let mut json = String::from("{");
            for key in 0..keys {
                let shuffled = key * 7919 % keys;
                write!(json, r#""key{shuffled}-{key}":{},"#, key % values).unwrap();
            }
            json.pop();
            json.push('}');
            assert_eq!(through_a_file(&json), json);
        }
    }
}

#[test]
fn a_palette_of_256_values_is_used_to_its_last() {
    let pairs: Vec<String> = (0..1024).map(|key| format!(r#""k{key}":"v{}""#, key % 256)).collect();
    let json = format!("{{{}}}", pairs.join(","));
    let entry = entry_of(&json);
    assert_eq!(serde_json::to_string(&answer_of(&entry)).unwrap(), json);
    assert_eq!(answer_of(&entry).get("k255").unwrap().as_str(), Some("v255"));
    assert_eq!(answer_of(&entry).get("k1023").unwrap().as_str(), Some("v255"));
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
fn lists_of_any_length_keep_their_order_and_are_found_by_name() {
    for length in [0_usize, 1, 7, 8, 9, 65_535, 65_536] {
        let elements: Vec<String> = (0..length)
            .map(|position| format!(r#"{{"name":"n{}"}}"#, position * 40_503 % 65_537))
            .collect();
        let json = format!("[{}]", elements.join(","));
        let entry = entry_of(&json);
        let list = answer_of(&entry).as_array().unwrap();
        assert!(serde_json::to_string(&answer_of(&entry)).unwrap() == json, "{length}");
        assert_eq!(list.len(), length);
        for position in [0, length / 2, length.saturating_sub(1)] {
            let name = format!("n{}", position * 40_503 % 65_537);
            let found = list.find("name", &name).and_then(|one| one.get("name")?.as_str());
            assert_eq!(found, (length > 0).then_some(&*name), "{position} of {length}");
        }
        assert!(list.find("name", "n").is_none());
    }
}

#[test]
fn of_equal_names_the_first_is_found() {
    for length in [4, 8, 64] {
        let elements: Vec<String> = (0..length)
            .map(|position| format!(r#"{{"at":{position},"name":"n{}"}}"#, position % 3))
            .collect();
        let entry = entry_of(&format!("[{}]", elements.join(",")));
        let list = answer_of(&entry).as_array().unwrap();
        for first in 0..3 {
            let found = list.find("name", &format!("n{first}")).unwrap();
            assert_eq!(found.get("at").unwrap().as_u64(), Some(first));
        }
    }
}

#[test]
fn of_equal_keys_the_last_value_counts_in_place_of_the_first() {
    assert_eq!(through_a_file(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
    assert_eq!(through_a_file(r#"[{"a":1,"b":2},{"a":1,"a":2}]"#), r#"[{"a":1,"b":2},{"a":2}]"#);
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn random_values_are_read_as_they_were_written(value in value(4)) {
        let json = value.to_string();
        let entry = entry_of(&json);
        prop_assert_eq!(serde_json::to_string(&answer_of(&entry)).unwrap(), json);
        prop_assert_eq!(serde_json::to_value(answer_of(&entry)).unwrap(), value);
    }

    #[test]
    fn a_decoded_model_encodes_to_the_same_file_for_random_values(value in value(4)) {
        let entry = entry_of(&value.to_string());
        prop_assert!(entry.to_model().unwrap().encode().unwrap() == entry.bytes());
    }
}

#[test]
fn equal_values_are_stored_once() {
    let one = entry_of(r#"[{"name":"a","list":[1,2,3]}]"#).bytes().len();
    let elements = vec![r#"{"name":"a","list":[1,2,3]}"#; 101].join(",");
    let many = entry_of(&format!("[{elements}]")).bytes().len();
    // A word in the array, half a word in its sorted order, for each of a hundred more.
    assert!(many - one <= 100 * 4 + 102 * 2 + 8, "{one} and {many}");
}

#[test]
fn strings_that_no_fact_reaches_are_left_out() {
    let mut model = Model::default();
    intern(&mut model, r#"{"unused":["unused text"]}"#);
    assert_eq!(model.encode().unwrap().len(), Model::default().encode().unwrap().len());
}

#[test]
fn values_that_nest_to_the_limit_are_kept_and_deeper_ones_refused() {
    let mut model = Model::default();
    let mut value = intern(&mut model, "0");
    for depth in 1..=160 {
        value = model.pool.array(vec![value]).unwrap_or_else(|error| panic!("{depth}: {error}"));
    }
    let error = model.pool.object([("key", value)]).unwrap_err();
    assert!(matches!(error, ModelError::TooDeep { limit: 160 }), "{error:?}");
    let key = crate::example::key(
        capscache_format::Group::Core,
        capscache_format::Accelerator::Tcg,
        capscache_format::FactKind::Sgx,
    );
    model.set(key, capscache_format::Fact::Answered(value));
    let entry = crate::example::entry(&model);
    assert_eq!(entry.verify(), Ok(()));
    let text = serde_json::to_string(&answer_of(&entry)).unwrap();
    assert_eq!(text, "[".repeat(160) + "0" + &"]".repeat(160));
}

#[test]
fn a_pool_returns_its_values_unchanged() {
    let mut model = Model::default();
    let value = intern(&mut model, r#"{"b":[1,-1,0.5],"a":"text"}"#);
    let Node::Object(keys, values) = model.pool.node(value) else { panic!("an object") };
    assert_eq!(keys.iter().collect::<Vec<_>>(), ["b", "a"]);
    let numbers: Vec<String> = model
        .pool
        .elements(values[0])
        .iter()
        .map(|one| format!("{:?}", model.pool.node(*one)))
        .collect();
    assert_eq!(numbers, ["Unsigned(1)", "Signed(-1)", "Double(0.5)"]);
    assert_eq!(model.pool.get_str(value, "a"), Some("text"));
    assert_eq!(model.pool.get(value, "c"), None);
}

#[test]
fn getters_of_another_type_return_none() {
    let entry = entry_of(r#"[null,true,1,-1,0.5,"s",[],{}]"#);
    let kinds: Vec<Value> = answer_of(&entry)
        .as_array()
        .unwrap()
        .iter()
        .map(|value| {
            serde_json::json!([
                value.is_null(),
                value.as_bool().is_some(),
                value.as_u64().is_some(),
                value.as_i64().is_some(),
                value.as_f64().is_some(),
                value.as_str().is_some(),
                value.as_array().is_some(),
                value.as_object().is_some(),
            ])
        })
        .collect();
    let row = |yes: &[usize]| Value::from((0..8).map(|at| yes.contains(&at)).collect::<Vec<_>>());
    let expected = [&[0][..], &[1], &[2, 3], &[3], &[4], &[5], &[6], &[7]].map(row);
    assert_eq!(kinds, expected);
}
