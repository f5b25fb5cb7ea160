//! Virtual CPUs that are plugged in before the guest runs.

use serde_json::{Map, Value};

use super::ApplyError;
use crate::qmp::Qmp;
use crate::resources::ResourceError;

/// The properties by which CPUs are numbered, from the outermost.
const TOPOLOGY: &[&str] = &[
    "drawer-id",
    "book-id",
    "socket-id",
    "die-id",
    "cluster-id",
    "module-id",
    "core-id",
    "thread-id",
];

/// CPUs that are plugged in together.
struct Group {
    /// The number of the first.
    first: u32,
    count: u32,
    r#type: String,
    properties: Map<String, Value>,
    is_present: bool,
}

/// Plugs virtual CPUs in, in order.
pub(super) async fn plug(numbers: &[u32], qmp: &mut Qmp) -> Result<(), ApplyError> {
    let reply = qmp.execute("query-hotpluggable-cpus", None).await?;
    let mut groups = groups(&reply);
    for number in numbers {
        let has = |group: &&mut Group| {
            number.checked_sub(group.first).is_some_and(|offset| offset < group.count)
        };
        let Some(group) = groups.iter_mut().find(has) else {
            let what = format!("the emulator has no place for the virtual CPU {number}");
            return Err(ResourceError::host(what, "set its attribute enabled to no").into());
        };
        if !std::mem::replace(&mut group.is_present, true) {
            qmp.execute("device_add", Some(device(group))).await?;
        }
    }
    Ok(())
}

fn device(group: &Group) -> Value {
    let mut device = group.properties.clone();
    device.insert("driver".to_owned(), group.r#type.as_str().into());
    device.insert("id".to_owned(), format!("vcpu{}", group.first).into());
    Value::Object(device)
}

/// Returns the groups, numbered by their topology. QEMU reports them in no order.
fn groups(reply: &Value) -> Vec<Group> {
    let entries = reply.as_array().into_iter().flatten();
    let mut groups: Vec<Group> = entries
        .filter_map(|entry| {
            Some(Group {
                first: 0,
                count: u32::try_from(entry.get("vcpus-count")?.as_u64()?).ok()?,
                r#type: entry.get("type")?.as_str()?.to_owned(),
                properties: entry.get("props")?.as_object()?.clone(),
                is_present: entry.get("qom-path").is_some(),
            })
        })
        .collect();
    let place = |group: &Group| {
        let number = |key: &&str| group.properties.get(*key).and_then(Value::as_u64);
        TOPOLOGY.iter().map(number).collect::<Vec<_>>()
    };
    groups.sort_by_key(place);
    let mut next = 0_u32;
    for group in &mut groups {
        group.first = next;
        next = next.saturating_add(group.count);
    }
    groups
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_numbered_by_their_topology() {
        let group = |core: u64, path: bool| {
            let mut group =
                json!({"type": "power9", "vcpus-count": 4, "props": {"core-id": core * 4}});
            if path {
                group["qom-path"] = "/machine/core".into();
            }
            group
        };
        let groups = groups(&json!([group(2, false), group(0, true), group(1, false)]));
        let found: Vec<_> = groups.iter().map(|g| (g.first, g.is_present)).collect();
        assert_eq!(found, [(0, true), (4, false), (8, false)]);
        assert_eq!(device(&groups[1]), json!({"driver": "power9", "id": "vcpu4", "core-id": 4}));
    }
}
