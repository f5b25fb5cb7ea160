//! Settings that are a command of the monitor each.

use serde_json::{Value, json};

use super::Request;
use crate::resources::{ResourceError, unsupported};

/// Sets the memory that the guest has at first.
pub(super) fn balloon(kib: u64) -> Request {
    Request::new("balloon", json!({"value": kib.saturating_mul(1024)}))
}

/// Sets the period of the statistics of the balloon.
pub(super) fn balloon_statistics(id: &str, seconds: u32) -> Request {
    let path = format!("/machine/peripheral/{id}");
    let property = "guest-stats-polling-interval";
    Request::new("qom-set", json!({"path": path, "property": property, "value": seconds}))
}

/// Deletes an object.
pub(super) fn delete(id: &str) -> Request {
    Request::new("object-del", json!({"id": id}))
}

/// Takes the link of a network interface down.
pub(super) fn no_link(id: &str) -> Request {
    Request::new("set_link", json!({"name": id, "up": false}))
}

/// Limits the throughput of a disk.
pub(super) fn disk_limits(arguments: &str) -> Result<Request, ResourceError> {
    let arguments: Value =
        serde_json::from_str(arguments).map_err(|_| unsupported("a limit of a disk"))?;
    Ok(Request::new("block_set_io_throttle", arguments))
}
