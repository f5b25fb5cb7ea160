//! Comparison of where the devices of a running emulator are with where they should be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use serde_json::{Value, json};

use crate::plan::{Expected, Place, Plan};
use crate::qmp::Emulator;

/// The emulators that may still be started: two run at a time, whatever the number of tests.
static PERMITS: (Mutex<usize>, Condvar) = (Mutex::new(2), Condvar::new());

/// The result of a comparison.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All devices are where they should be: their number.
    Agrees(usize),
    /// Some are elsewhere.
    Differs(Vec<String>),
    /// The emulator refuses its arguments.
    Refuses(String),
}

/// Starts an emulator as planned, and compares.
pub(crate) fn run(plan: &Plan) -> Outcome {
    compare(plan, &plan.expected)
}

/// Starts an emulator as planned, once there are not too many, and uses it.
pub(crate) fn start<T>(
    plan: &Plan,
    run: impl FnOnce(&mut Emulator) -> Result<T, String>,
) -> Result<T, String> {
    let (permits, returned) = &PERMITS;
    let mut left = returned.wait_while(permits.lock().unwrap(), |left| *left == 0).unwrap();
    *left -= 1;
    drop(left);
    let result =
        Emulator::start(&plan.program, &plan.arguments).and_then(|mut emulator| run(&mut emulator));
    *permits.lock().unwrap() += 1;
    returned.notify_one();
    result
}

/// Starts an emulator as planned, and compares with other expectations.
pub(crate) fn compare(plan: &Plan, expected: &[Expected]) -> Outcome {
    match start(plan, |emulator| differences(emulator, expected)) {
        Ok(differences) if differences.is_empty() => Outcome::Agrees(expected.len()),
        Ok(differences) => Outcome::Differs(differences),
        Err(message) => Outcome::Refuses(message),
    }
}

/// Starts an emulator for each plan, two at a time; returns the outcomes in order.
pub(crate) fn run_all(plans: &[Plan]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plan) = plans.get(at) else { break };
                    let outcome = run(plan);
                    outcomes.lock().unwrap().insert(at, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap().into_values().collect()
}

/// Returns where devices are that should be elsewhere.
pub(crate) fn differences(
    emulator: &mut Emulator,
    expected: &[Expected],
) -> Result<Vec<String>, String> {
    let parts = if expected.iter().any(|e| matches!(e.place, Place::Part { .. })) {
        parts(emulator)?
    } else {
        Vec::new()
    };
    let mut differences = Vec::new();
    let mut queries: Vec<(&str, Value)> = Vec::new();
    // The device, the property, and its value.
    let mut values: Vec<(&str, &str, Value)> = Vec::new();
    for Expected { name, place } in expected {
        match place {
            Place::Part { slot, function } => {
                if !parts.contains(&(*slot, *function)) {
                    differences.push(format!("{name}: the machine has nothing there"));
                }
            }
            Place::Added { id, bus, properties } => {
                let path = format!("/machine/peripheral/{id}");
                let mut get = |property: &'static str, value: Value| {
                    let arguments = json!({"path": path, "property": property});
                    queries.push(("qom-get", arguments));
                    values.push((name, property, value));
                };
                if let Some(bus) = bus {
                    get("parent_bus", json!(bus));
                }
                properties.iter().for_each(|(property, value)| get(property, value.clone()));
            }
        }
    }
    for (reply, (name, property, value)) in emulator.call_all(&queries)?.into_iter().zip(values) {
        let found = match reply {
            Ok(Value::String(path)) if property == "parent_bus" => {
                json!(path.rsplit('/').next().unwrap_or_default())
            }
            Ok(found) => found,
            Err(error) => json!(error),
        };
        if found != value {
            differences.push(format!("{name}: {property} is {found}, not {value}"));
        }
    }
    Ok(differences)
}

/// Returns slot and function of the devices on the first PCI bus.
fn parts(emulator: &mut Emulator) -> Result<Vec<(u32, u32)>, String> {
    let buses = emulator.call("query-pci", json!({}))?;
    let number =
        |device: &Value, key: &str| device[key].as_u64().map(|n| u32::try_from(n).unwrap());
    // An expander's bus may come first.
    let first = buses.as_array().and_then(|all| all.iter().find(|bus| bus["bus"] == json!(0)));
    let devices = first.and_then(|bus| bus["devices"].as_array()).cloned().unwrap_or_default();
    Ok(devices.iter().filter_map(|d| Some((number(d, "slot")?, number(d, "function")?))).collect())
}
