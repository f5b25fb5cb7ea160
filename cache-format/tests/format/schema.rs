//! The rules of the path language, and its special cases.

use capscache_format::{Accelerator, Entry, Fact, FactKind, Group, Model, Tri};

use crate::example;

/// Every meta-type, and every kind of malformed entry.
const SCHEMA: &str = r#"[
    {"name":"act","meta-type":"command","arg-type":"1","ret-type":"[2]","features":["f-cmd"],
        "allow-oob":true,"opaque":"weird"},
    {"name":"bare","meta-type":"command"},
    {"name":"EV","meta-type":"event","arg-type":"1","features":["f-event"]},
    {"name":"1","meta-type":"object","tag":"mode","features":["f-obj"],"members":[
        {"name":"plain","type":"str","features":["f-member"]},
        {"name":"opt","type":"int","default":null},
        {"name":"opt-1","type":"int","default":1},
        {"name":"mode","type":"E"},
        {"name":"old","type":"O"},
        {"name":"alt","type":"A"},
        {"name":"alt-bad","type":"D"},
        {"name":"list","type":"[2]"},
        {"name":"lists","type":"[[2]]"},
        {"name":"ints","type":"[int]"},
        {"name":"loop","type":"1"},
        {"name":"ring","type":"[R]"},
        {"name":"fan","type":"F"},
        {"name":"dangling","type":"nowhere"},
        {"name":"typeless"},
        {"name":"weird","type":"weird"},
        {"name":"-odd","type":"int"},
        {"name":"x-last","type":"bool"}],
        "variants":[{"case":"x","type":"X"},{"case":"y","type":"0"},{"case":"bad","type":"nowhere"}]},
    {"name":"0","meta-type":"object","members":[]},
    {"name":"2","meta-type":"object","members":[{"name":"inner","type":"E"}]},
    {"name":"X","meta-type":"object","members":[{"name":"only-x","type":"int"}]},
    {"name":"[2]","meta-type":"array","element-type":"2"},
    {"name":"[[2]]","meta-type":"array","element-type":"[2]"},
    {"name":"[int]","meta-type":"array","element-type":"int"},
    {"name":"[R]","meta-type":"array","element-type":"[R]"},
    {"name":"E","meta-type":"enum","members":[{"name":"a","features":["f-a"]},{"name":"b"},
        {"name":"1"}],"values":["a","b","ghost"],"features":["f-enum"]},
    {"name":"O","meta-type":"enum","values":["a","old-only"]},
    {"name":"A","meta-type":"alternate","members":[{"type":"int"},{"type":"2"},{"type":"O"}]},
    {"name":"D","meta-type":"alternate","members":[{"type":"nowhere"},{"type":"2"}]},
    {"name":"F","meta-type":"alternate","members":[{"type":"F"},{"type":"F"}]},
    {"name":"str","meta-type":"builtin","json-type":"string"},
    {"name":"int","meta-type":"builtin","json-type":"int"},
    {"name":"bool","meta-type":"builtin","json-type":"boolean"},
    {"name":"weird","meta-type":"something-new","members":[{"name":"a","type":"int"}]}]"#;

const TABLE: &[(&str, bool)] = &[
    // The root is an entry of any kind, by its exact name.
    ("act", true),
    ("EV", true),
    ("1", true),
    ("E", true),
    ("weird", true),
    ("nowhere", false),
    ("", false),
    ("/", false),
    ("/act", false),
    (" act", false),
    ("act/", false),
    ("act//plain", false),
    // command, event
    ("act/arg-type", true),
    ("act/ret-type", true),
    ("EV/arg-type", true),
    ("EV/ret-type", false),
    ("bare/arg-type", false),
    ("act/$f-cmd", true),
    ("act/$f-obj", false),
    ("act/$f-cmd/arg-type", false),
    ("EV/$f-event", true),
    ("bare/$f-cmd", false),
    ("act/^arg-type", false),
    ("act/!arg-type", false),
    ("act/+arg-type", false),
    ("act/*arg-type", false),
    ("act/ arg-type", true),
    ("act/ arg-type/ plain", true),
    ("act/allow-oob", false),
    ("act/plain", false),
    // A key that is a string, but not a type.
    ("act/opaque", true),
    ("act/opaque/a", false),
    ("act/meta-type", false),
    // object
    ("act/arg-type/plain", true),
    ("act/arg-type/Plain", false),
    ("act/arg-type/x-last", true),
    ("act/arg-type/missing", false),
    ("act/arg-type/missing/more", false),
    ("act/arg-type/$f-obj", true),
    ("act/arg-type/$f-none", false),
    ("act/arg-type/$f-obj/plain", false),
    ("act/arg-type/^plain", false),
    ("act/arg-type/!plain", false),
    ("act/arg-type/*opt", true),
    ("act/arg-type/*opt-1", true),
    ("act/arg-type/opt", true),
    ("act/arg-type/*plain", false),
    ("act/arg-type/*missing", false),
    ("act/arg-type/*opt/!int", true),
    ("act/arg-type/+x", true),
    ("act/arg-type/+x/only-x", true),
    ("act/arg-type/+x/plain", false),
    ("act/arg-type/+y", true),
    ("act/arg-type/+y/only-x", false),
    ("act/arg-type/+z", false),
    ("act/arg-type/+plain", false),
    ("act/arg-type/x", false),
    ("act/arg-type/only-x", false),
    // The feature is that of the type at the end, never of the member.
    ("act/arg-type/plain/$f-member", false),
    ("act/arg-type/loop/$f-obj", true),
    ("act/arg-type/mode/$f-enum", false),
    // Any first character that is not a letter is a modifier; here a space is one too.
    ("act/arg-type/-odd", false),
    ("act/arg-type/ -odd", true),
    ("act/arg-type/?-odd", true),
    ("act/arg-type/?plain", true),
    ("act/arg-type/é-odd", true),
    ("act/arg-type/*-odd", false),
    // array
    ("act/ret-type/inner", true),
    ("act/ret-type/inner/^a", true),
    ("act/ret-type/missing", false),
    ("act/arg-type/list", true),
    ("act/arg-type/lists", true),
    ("act/arg-type/lists/inner/^b", true),
    ("act/arg-type/ints/!int", true),
    ("act/arg-type/ints/$f", false),
    ("[2]/inner", true),
    // alternate
    ("act/arg-type/alt", true),
    ("act/arg-type/alt/!int", true),
    ("act/arg-type/alt/inner", true),
    ("act/arg-type/alt/inner/^b", true),
    ("act/arg-type/alt/^old-only", true),
    ("act/arg-type/alt/^missing", false),
    ("act/arg-type/alt/missing", false),
    // The first member is malformed, which decides the result.
    ("act/arg-type/alt-bad", true),
    ("act/arg-type/alt-bad/inner", false),
    // `!int` must be last: an error of the first member, although no other one matches.
    ("act/arg-type/alt/!int/inner", false),
    // enum, new style
    ("act/arg-type/mode", true),
    ("act/arg-type/mode/^a", true),
    ("act/arg-type/mode/^1", true),
    ("act/arg-type/mode/^c", false),
    ("act/arg-type/mode/a", false),
    ("act/arg-type/mode/+a", false),
    ("act/arg-type/mode/^", false),
    ("act/arg-type/mode/^ghost", false),
    ("act/arg-type/mode/^a/$f-a", true),
    ("act/arg-type/mode/^a/$f-b", false),
    ("act/arg-type/mode/^b/$f-a", false),
    ("act/arg-type/mode/^a/f-a", false),
    ("act/arg-type/mode/^a/^a", false),
    ("act/arg-type/mode/^a/$f-a/more", false),
    // enum, old style
    ("act/arg-type/old/^a", true),
    ("act/arg-type/old/^b", false),
    ("act/arg-type/old/a", false),
    ("act/arg-type/old/^a/$f-a", false),
    ("act/arg-type/old/^a/more", false),
    // builtin
    ("act/arg-type/plain/!string", true),
    ("act/arg-type/plain/!int", false),
    ("act/arg-type/plain/string", false),
    ("act/arg-type/plain/^string", false),
    ("act/arg-type/plain/!string/more", false),
    ("act/arg-type/plain/", false),
    // malformed
    ("act/arg-type/dangling", false),
    ("act/arg-type/typeless", false),
    ("act/arg-type/+bad", false),
    ("act/arg-type/weird", true),
    ("act/arg-type/weird/a", false),
    // cyclic
    ("act/arg-type/loop/loop/loop/plain", true),
    ("act/arg-type/ring", true),
    ("act/arg-type/ring/anything", false),
    ("act/arg-type/fan", true),
    ("act/arg-type/fan/anything", false),
];

fn entry_with(schema: &str) -> Entry<Vec<u8>> {
    let mut model = Model::default();
    example::core(&mut model, Accelerator::Tcg, FactKind::Schema, schema);
    example::entry(&model)
}

#[test]
fn every_rule_of_the_path_language_holds() {
    let entry = entry_with(SCHEMA);
    for &(path, expected) in TABLE {
        assert_eq!(entry.schema().has(path), Tri::from(expected), "{path:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
fn a_schema_without_a_sorted_order_is_searched_linearly() {
    // An entry without a name prevents the sorted order.
    let entry = entry_with(&SCHEMA.replacen('[', r#"[{"meta-type":"builtin"},"#, 1));
    for &(path, expected) in TABLE {
        assert_eq!(entry.schema().has(path), Tri::from(expected), "{path:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "it takes Miri more than six minutes")]
fn a_path_leads_through_a_thousand_types_and_no_more() {
    let entry = entry_with(SCHEMA);
    let path = |loops| format!("act/arg-type{}/plain", "/loop".repeat(loops));
    assert_eq!(entry.schema().has(&path(990)), Tri::Yes);
    assert_eq!(entry.schema().has(&path(1000)), Tri::No);
    assert_eq!(entry.schema().has(&path(100_000)), Tri::No);
}

#[test]
fn cyclic_types_do_not_hang() {
    let entry = entry_with(SCHEMA);
    for path in ["act/arg-type/fan/x", "act/arg-type/ring/x", "act/arg-type/fan/fan/fan"] {
        assert_eq!(entry.schema().has(path), Tri::No, "{path}");
    }
}

#[test]
fn every_path_in_a_missing_schema_is_unknown() {
    let mut model = Model::default();
    assert_eq!(example::entry(&model).schema().has("act"), Tri::Unknown);
    let key = example::key(Group::Core, Accelerator::Tcg, FactKind::Schema);
    for fact in [Fact::Refused, Fact::Quarantined] {
        model.set(key, fact);
        assert_eq!(example::entry(&model).schema().has("act"), Tri::Unknown);
        assert_eq!(example::entry(&model).has_command("act"), Tri::Unknown);
    }
}

#[test]
fn commands_and_events_are_distinguished() {
    let entry = entry_with(SCHEMA);
    assert_eq!(entry.commands(), ["act", "bare"]);
    assert_eq!(entry.schema().names("event").collect::<Vec<_>>(), ["EV"]);
    assert_eq!((entry.has_command("act"), entry.has_event("act")), (Tri::Yes, Tri::No));
    assert_eq!((entry.has_command("EV"), entry.has_event("EV")), (Tri::No, Tri::Yes));
    assert_eq!((entry.has_command("E"), entry.has_event("missing")), (Tri::No, Tri::No));
}
