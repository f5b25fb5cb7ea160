//! The Hyper-V enlightenments of the host's CPU, from the first pass.

use capscache_format::{Object, Value};

use crate::arch;
use crate::caps::{EnlightenmentValues, HYPERV};
use crate::expansion::Expansions;
use crate::flags::Emulator;
use crate::values::is_true;

/// Names and values of the enlightenments that a release keeps.
pub(crate) fn enlightenments(
    emulator: &Emulator<'_>,
    arch: &str,
) -> (Vec<String>, EnlightenmentValues) {
    let expansions = Expansions::new(emulator, arch, emulator.first());
    if !(arch::is_x86(arch) || arch::is_arm(arch)) || !expansions.is_of_host() {
        return Default::default();
    }
    let props = [("migratable", false), ("hv-passthrough", true)];
    let props = expansions.model("full", &props).and_then(|model| model.get("props"));
    let Some(props) = props.and_then(Value::as_object) else { return Default::default() };
    let facts = emulator.release.facts();
    let has_values = facts.has_enlightenment_values;
    let has = |known: &str| {
        props.iter().any(|(name, value)| {
            let is_known = name
                .strip_prefix("hv-")
                .is_some_and(|name| name == known || name.replace('-', "_") == known);
            is_known && is_counted(value) && !(has_values && has_wrong_type(name, value))
        })
    };
    let known = HYPERV.iter().take(facts.enlightenments);
    let names: Vec<String> = known.filter(|one| has(one)).map(|one| (*one).to_owned()).collect();
    let values = if has_values && !names.is_empty() { values(props) } else { Default::default() };
    (names, values)
}

fn is_counted(value: Value<'_>) -> bool {
    is_true(Some(value)) || value.as_i64().is_some_and(|n| n > 0) || value.as_str().is_some()
}

/// Returns true for an enlightenment with a value which is of another type than that.
fn has_wrong_type(name: &str, value: Value<'_>) -> bool {
    match name {
        "hv-spinlocks" => value.as_i64().is_none(),
        "hv-vendor-id" => value.as_str().is_none(),
        _ => false,
    }
}

fn values(props: Object<'_>) -> EnlightenmentValues {
    let value = |name| props.get(name);
    let boolean = |name| value(name).and_then(Value::as_bool);
    // libvirt keeps the lower half of the number; all ones mean that there is no limit.
    let spinlocks = value("hv-spinlocks").and_then(Value::as_i64).unwrap_or(0);
    let spinlocks = u32::try_from(spinlocks & i64::from(u32::MAX)).unwrap_or(0);
    EnlightenmentValues {
        spinlocks: if spinlocks == u32::MAX { 0 } else { spinlocks },
        stimer_direct: boolean("hv-stimer-direct"),
        tlbflush_direct: boolean("hv-tlbflush-direct"),
        tlbflush_extended: boolean("hv-tlbflush-ext"),
        vendor_id: value("hv-vendor-id")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
    }
}
