//! Strategies for JSON values, and the configuration of the properties that are checked on them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Number, Value};

use crate::file::ONE_IN;

/// The configuration of a property with this many cases.
pub(crate) fn config(cases: usize) -> ProptestConfig {
    const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/format/regressions.txt");
    test_support::property(cases.div_ceil(ONE_IN).try_into().unwrap(), REGRESSIONS)
}

/// A short string; few enough of them that many are equal.
pub(crate) fn name() -> impl Strategy<Value = String> {
    vec(select(&['a', 'b', '-', 'Z', 'é', '\u{0}', '"', '🦀']), 0..4)
        .prop_map(|letters| letters.into_iter().collect())
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<u64>().prop_map(Number::from),
        any::<i64>().prop_map(Number::from),
        (0..1000_u64).prop_map(Number::from),
        (0..64_u32).prop_map(|bit| Number::from(1_u64 << bit)),
        any::<u64>().prop_map(|bits| {
            Number::from_f64(f64::from_bits(bits)).unwrap_or_else(|| Number::from(0))
        }),
    ]
}

/// A value that nests at most `depth` deep.
pub(crate) fn value(depth: usize) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        name().prop_map(Value::String),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![
        4 => leaf,
        1 => vec(value(depth - 1), 0..12).prop_map(Value::Array),
        1 => named_list(depth),
        1 => object(depth).prop_map(Value::Object),
    ]
    .boxed()
}

fn object(depth: usize) -> impl Strategy<Value = Map<String, Value>> {
    let entries = |values, count| vec((proptest::option::of(name()), values), count);
    // Many keys and few values now and then: these are packed.
    prop_oneof![3 => entries(value(depth - 1), 0..6), 1 => entries(value(0), 0..60)].prop_map(
        |entries| {
            let numbered = entries.into_iter().enumerate();
            numbered
                .map(|(number, (key, value))| (key.unwrap_or(format!("key-{number}")), value))
                .collect()
        },
    )
}

/// Objects with a name each, or all but one: these get a sorted order, or just do not.
fn named_list(depth: usize) -> impl Strategy<Value = Value> {
    let key = select(&["name", "option", "capability"]);
    let nameless = proptest::option::weighted(1.0 / 3.0, 0..20_usize);
    (key, nameless, vec((object(depth), name()), 0..20)).prop_map(|(key, nameless, objects)| {
        let numbered = objects.into_iter().enumerate();
        numbered
            .map(|(position, (mut object, name))| {
                if nameless != Some(position) {
                    object.insert(key.to_owned(), Value::String(name));
                }
                Value::Object(object)
            })
            .collect()
    })
}
