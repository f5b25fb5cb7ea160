//! Events of a guest as lines.

use std::io;
use std::path::Path;

use capscache::Escaped;
use capscache_run::{Event, Placement};
use serde_json::{Value, json};

use crate::format::DocumentFormat;

/// Returns the line that reports that a guest runs.
pub(super) fn running(
    pid: i32,
    monitor: Option<&Path>,
    placement: &Placement,
    format: Option<DocumentFormat>,
) -> io::Result<String> {
    let mut data = json!({"pid": pid});
    if let Some(data) = data.as_object_mut() {
        if let Some(monitor) = monitor {
            data.insert("monitor".to_owned(), monitor.to_string_lossy().into());
        }
        if let Placement::Scope { unit } = placement {
            data.insert("scope".to_owned(), unit.as_str().into());
        }
    }
    line("RUNNING", &data, None, format)
}

/// Returns the line of an event.
pub(super) fn event(event: &Event, format: Option<DocumentFormat>) -> io::Result<String> {
    let missed = match event.missed {
        0 => String::new(),
        events => line("MISSED", &json!({"events": events}), None, format)?,
    };
    let data = Value::Object(event.data.clone());
    let time = event.time.as_micros();
    Ok(missed + &line(&event.name, &data, Some(time), format)?)
}

fn line(
    name: &str,
    data: &Value,
    time: Option<u128>,
    format: Option<DocumentFormat>,
) -> io::Result<String> {
    if let Some(format) = format {
        let mut object = json!({"event": name, "data": data});
        if let (Some(time), Some(object)) = (time, object.as_object_mut()) {
            let time = u64::try_from(time).unwrap_or(u64::MAX);
            object.insert("time_us".to_owned(), time.into());
        }
        return format.event(&object);
    }
    let mut line = Escaped::new(name).to_string();
    for (key, value) in data.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        line.push_str(&format!(" {}={}", Escaped::new(key), Escaped::new(&value)));
    }
    Ok(line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_data_of_its_event() {
        let data = json!({"guest": true, "reason": "guest-\nshutdown"});
        assert_eq!(
            line("SHUTDOWN", &data, Some(3), None).unwrap(),
            "SHUTDOWN guest=true reason=guest-\\nshutdown\n"
        );
        assert_eq!(
            line("SHUTDOWN", &data, Some(3), Some(DocumentFormat::Json)).unwrap(),
            "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-\\nshutdown\"},\"time_us\":3}\n"
        );
    }
}
