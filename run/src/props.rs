//! Options of QEMU: objects in JSON, and lists of `key=value`.

use std::fmt::Display;

use serde_json::{Map, Value};

/// An object in JSON, whose members keep their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Props(Map<String, Value>);

impl Props {
    /// Creates an object with the member by which QEMU finds the type: `driver` of a device.
    pub(crate) fn device(driver: impl Into<String>) -> Props {
        Props::default().with("driver", driver.into())
    }

    /// Creates the options of `-object`.
    pub(crate) fn object(qom_type: &str, id: impl Into<String>) -> Props {
        Props::default().with("qom-type", qom_type).with("id", id.into())
    }

    /// Adds a member at the end.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Adds a member at the end, if there is a value.
    pub(crate) fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Adds a member at the end.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Props {
        self.set(key, value);
        self
    }

    /// Adds a member at the end, if there is a value.
    #[must_use]
    pub(crate) fn with_some(mut self, key: &str, value: Option<impl Into<Value>>) -> Props {
        self.set_some(key, value);
        self
    }

    /// Returns the same as a list of `key=value`, for a QEMU that does not take JSON; it starts with the value of the
    /// member that has the type. Members of members get keys with dots, and those of an array, of which each has one
    /// member, repeat the key.
    pub(crate) fn to_list(&self, first: &str) -> List {
        let mut list = List::new(self.0.get(first).and_then(Value::as_str).unwrap_or_default());
        for (key, value) in self.0.iter().filter(|(key, _)| *key != first) {
            add_to_list(&mut list, key, value);
        }
        list
    }

    /// Returns whether there are no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a member.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Returns the text of a member.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// Removes a member, and adds it at the end if there is a value.
    pub(crate) fn replace(&mut self, key: &str, value: Option<Value>) {
        self.0.shift_remove(key);
        self.set_some(key, value);
    }

    /// Adds the members of another object at the end.
    pub(crate) fn append(&mut self, other: Props) {
        self.0.extend(other.0);
    }
}

fn add_to_list(list: &mut List, key: &str, value: &Value) {
    match value {
        Value::Bool(on) => list.set_switch(key, *on),
        Value::String(text) => list.set(key, text),
        Value::Array(members) => {
            for member in members {
                let members = member.as_object().into_iter().flat_map(Map::values);
                members.for_each(|value| add_to_list(list, key, value));
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                add_to_list(list, &format!("{key}.{name}"), value);
            }
        }
        Value::Number(_) | Value::Null => list.set(key, value),
    }
}

impl From<Props> for Value {
    fn from(props: Props) -> Value {
        Value::Object(props.0)
    }
}

impl Display for Props {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Value::Object(self.0.clone()).to_string())
    }
}

/// A list of `key=value`, separated by commas; commas in values are doubled.
#[derive(Clone, Debug, Default)]
pub(crate) struct List(String);

impl List {
    /// Starts a list with a word, as in `-machine WORD,key=value`.
    pub(crate) fn new(first: &str) -> List {
        List(escape(first))
    }

    /// Adds an option.
    pub(crate) fn set(&mut self, key: &str, value: impl Display) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(&escape(&value.to_string()));
    }

    /// Adds `on` or `off`.
    pub(crate) fn set_switch(&mut self, key: &str, on: bool) {
        self.set(key, if on { "on" } else { "off" });
    }

    /// Returns whether the list has no option.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a word without a value.
    pub(crate) fn push(&mut self, word: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(word);
    }
}

impl Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Props;

    #[test]
    fn backends_of_old_qemu_are_lists() {
        let tap = Props::default()
            .with("type", "tap")
            .with("fd", "3")
            .with("vhost", true)
            .with("sndbuf", 1600)
            .with("id", "a,b");
        assert_eq!(tap.to_list("type").to_string(), "tap,fd=3,vhost=on,sndbuf=1600,id=a,,b");
        let forward = |port: u16| json!({"str": format!("tcp:10.0.2.1:{port}-chardev:c")});
        let user =
            Props::default().with("type", "user").with("guestfwd", json!([forward(1), forward(2)]));
        assert_eq!(
            user.to_list("type").to_string(),
            "user,guestfwd=tcp:10.0.2.1:1-chardev:c,guestfwd=tcp:10.0.2.1:2-chardev:c"
        );
    }
}
