//! Events of a guest as lines.

use std::path::Path;

use capscache::Escaped;
use capscache_run::{Event, Placement};
use serde_json::{Value, json};

/// Returns the line that reports that a guest runs.
pub(super) fn running(
    pid: i32,
    monitor: Option<&Path>,
    placement: &Placement,
    as_json: bool,
) -> String {
    let mut data = json!({"pid": pid});
    if let Some(data) = data.as_object_mut() {
        if let Some(monitor) = monitor {
            data.insert("monitor".to_owned(), monitor.to_string_lossy().into());
        }
        if let Placement::Scope { unit } = placement {
            data.insert("scope".to_owned(), unit.as_str().into());
        }
    }
    line("RUNNING", &data, None, as_json)
}

/// Returns the line of an event.
pub(super) fn event(event: &Event, as_json: bool) -> String {
    let missed =
        (event.missed > 0).then(|| line("MISSED", &json!({"events": event.missed}), None, as_json));
    let data = Value::Object(event.data.clone());
    let time = event.time.as_micros();
    let line = line(&event.name, &data, Some(time), as_json);
    missed.unwrap_or_default() + &line
}

fn line(name: &str, data: &Value, time: Option<u128>, as_json: bool) -> String {
    if as_json {
        let mut object = json!({"event": name, "data": data});
        if let (Some(time), Some(object)) = (time, object.as_object_mut()) {
            let time = u64::try_from(time).unwrap_or(u64::MAX);
            object.insert("time_us".to_owned(), time.into());
        }
        return format!("{object}\n");
    }
    let mut line = Escaped::new(name).to_string();
    for (key, value) in data.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        line.push_str(&format!(" {}={}", Escaped::new(key), Escaped::new(&value)));
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_data_of_its_event() {
        let data = json!({"guest": true, "reason": "guest-\nshutdown"});
        assert_eq!(
            line("SHUTDOWN", &data, Some(3), false),
            "SHUTDOWN guest=true reason=guest-\\nshutdown\n"
        );
        assert_eq!(
            line("SHUTDOWN", &data, Some(3), true),
            "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-\\nshutdown\"},\"time_us\":3}\n"
        );
    }
}
