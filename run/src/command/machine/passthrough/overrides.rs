//! Properties of devices that a guest sets itself.

use serde_json::Value;

use super::{children, of_guest};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::view::View;

/// Records the properties that a guest sets or removes, before devices are added.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    for overrides in of_guest(cx, "override") {
        for device in children(overrides, None, cx.domain, "device") {
            let alias = device.require("@alias")?;
            for frontend in children(device, Some(overrides), cx.domain, "frontend") {
                for property in children(frontend, Some(device), cx.domain, "property") {
                    let name = property.require("@name")?;
                    args.override_property(alias, name, value(property, name)?);
                }
            }
        }
    }
    Ok(())
}

/// Returns the value of a property; `None` if it is removed.
fn value(property: View<'_>, name: &str) -> Result<Option<Value>, Error> {
    if name == "id" {
        return Err(property.invalid("@name", "the id is that of the device"));
    }
    property.require("@type")?;
    let types = ["string", "signed", "unsigned", "bool", "remove"];
    let r#type = property.one_of("@type", &types)?;
    if r#type == Some("remove") {
        return match property.peek("@value") {
            Some(_) => Err(property.invalid("@value", "a property that is removed has no value")),
            None => Ok(None),
        };
    }
    let text = property.require("@value")?;
    let value = match r#type {
        Some("signed") => text.parse::<i64>().ok().map(Value::from),
        Some("unsigned") => text.parse::<u64>().ok().map(Value::from),
        Some("bool") => text.parse::<bool>().ok().map(Value::from),
        _ => Some(Value::from(text)),
    };
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(property.invalid("@value", format!("{text:?} has another type"))),
    }
}
