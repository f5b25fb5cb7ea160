//! Passwords of graphical consoles.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::Request;
use crate::command::Password;
use crate::resources::ResourceError;

/// Returns the commands that set a password and the time at which it expires. An empty one permits no user.
pub(super) fn requests(password: &Password) -> Result<[Request; 2], ResourceError> {
    let Password { protocol, password, connected, valid_to } = password;
    let mut arguments = json!({"protocol": protocol, "password": password.as_str()});
    if let (Some(connected), Some(arguments)) = (connected, arguments.as_object_mut()) {
        arguments.insert("connected".to_owned(), connected.as_str().into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let end =
        valid_to.as_deref().map(|time| seconds(time).ok_or_else(|| wrong(time))).transpose()?;
    let expires = match end {
        _ if password.is_empty() => "now".to_owned(),
        Some(end) if end <= now => "now".to_owned(),
        Some(end) => end.to_string(),
        None => "never".to_owned(),
    };
    let expiry = json!({"protocol": protocol, "time": expires});
    Ok([Request::new("set_password", arguments), Request::new("expire_password", expiry)])
}

fn wrong(time: &str) -> ResourceError {
    ResourceError::host(
        format!("the password of a console is valid to {time:?}, which is not a time"),
        "change passwdValidTo to a time as in 2030-01-31T12:00:00",
    )
}

/// Parses a time as in `2030-01-31T12:00:00`, in UTC, to seconds since 1970.
fn seconds(time: &str) -> Option<u64> {
    let (date, time) = time.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_date =
        year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_date || year > 9999 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| days_of(year, month)).sum();
    let days = years + months + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text
        .split(separator)
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?)
        .collect();
    numbers?.try_into().ok()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00"), Some(0));
        assert_eq!(seconds("2000-03-01T00:00:01"), Some(951_868_801));
        assert_eq!(seconds("2024-02-29T23:59:59"), Some(1_709_251_199));
        for wrong in
            ["2023-02-29T00:00:00", "2023-01-01", "2023-13-01T00:00:00", "2023-01-01T24:00:00"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn passwords_expire_when_they_say() {
        let password = |valid_to: Option<&str>| Password {
            protocol: "vnc",
            password: "secret".to_owned().into(),
            connected: Some("keep".to_owned()),
            valid_to: valid_to.map(str::to_owned),
        };
        let expiry = |valid_to| requests(&password(valid_to)).unwrap()[1].arguments["time"].clone();
        assert_eq!(expiry(None), "never");
        assert_eq!(expiry(Some("1999-12-31T00:00:00")), "now");
        assert_eq!(expiry(Some("2999-12-31T00:00:00")), "32503593600");
        let set = requests(&password(None)).unwrap()[0].arguments.clone();
        assert_eq!(set, json!({"protocol": "vnc", "password": "secret", "connected": "keep"}));
    }
}
