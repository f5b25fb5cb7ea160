//! The committed JSON Schema describes the types.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use capscache_devaddr::Document;
use serde_json::{Value, json};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/devaddr.schema.json");

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let schema = schemars::schema_for!(Document);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("SNAPSHOTS").is_some_and(|action| action == "overwrite") {
        std::fs::write(COMMITTED, &text).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(
        committed == text,
        "docs/devaddr.schema.json is not that of the types: write it with SNAPSHOTS=overwrite cargo test -p \
         capscache-devaddr --features json-schema --test schema"
    );
}

#[test]
fn the_schema_names_devices_addresses_and_policies_in_the_words_of_the_document() {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(COMMITTED).unwrap()).unwrap();
    let types = schema["$defs"].as_object().unwrap();
    let words = |name: &str| types[name]["enum"].as_array().cloned();
    assert_eq!(words("Switch"), None, "each word has a description");
    let kinds = types["DeviceKind"]["oneOf"].as_array().unwrap().iter();
    let kinds: Vec<&str> =
        kinds.filter_map(|kind| kind["properties"]["kind"]["const"].as_str()).collect();
    assert!(kinds.contains(&"disk") && kinds.contains(&"controller"), "{kinds:?}");
    assert_eq!(types["Policy"]["additionalProperties"], json!(false));
    assert_eq!(schema["required"], json!(["guest"]));
}
