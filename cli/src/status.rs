//! `status`: is an entry valid, and if not, why?

use std::process::ExitCode;

use anyhow::Result;
use capscache::{Error, Lookup};
use serde_json::json;

use crate::args;
use crate::output;
use crate::session::{Session, exists, locate};

pub(crate) fn run(session: &Session, args: &args::Status) -> Result<ExitCode> {
    let cache = session.cache()?;
    let emulator = locate(&args.emulator);
    let name = std::path::absolute(&emulator)?;
    let name = name.display();
    let looked =
        if args.thorough { cache.lookup_thoroughly(&emulator) } else { cache.lookup(&emulator) };
    let (state, line, reason, code) = match looked {
        Ok(Lookup::Hit(_)) => ("valid", String::new(), json!(null), 0),
        Ok(Lookup::Stale(why)) => (
            "stale",
            format!(": {}", output::without_number(&why.to_string())),
            reason(&why),
            output::NO,
        ),
        Ok(Lookup::Failed(failure)) => {
            let hint = format!(": {failure}; `capscache warm {name}` tries at once");
            let reason = json!({
                "reason": failure.reason,
                "age": failure.age.as_secs(),
                "retry-in": failure.retry_in.as_secs(),
            });
            ("failed", hint, reason, output::NO)
        }
        Ok(_) => {
            exists(&emulator)?;
            let hint = format!(": nothing is known yet; `capscache warm {name}` asks");
            ("missing", hint, json!(null), output::UNKNOWN)
        }
        Err(Error::Format { path, source }) => {
            let found = output::chain(&source);
            let reason = json!({
                "input": "entry", "path": path.to_string_lossy(), "recorded": null, "found": found,
            });
            let line = format!(": {}: {found}; `capscache warm` makes it anew", path.display());
            ("damaged", line, reason, output::NO)
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        let status = json!({"emulator": name.to_string(), "state": state, "reason": reason});
        output::print_json_pretty(&status)?;
    } else {
        output::print(&format!("{name}: {state}{line}\n"))?;
    }
    Ok(ExitCode::from(code))
}

/// Why an entry is stale, in JSON.
pub(crate) fn reason(why: &capscache::Stale) -> serde_json::Value {
    json!({
        "input": why.input.name(),
        "path": why.path.to_string_lossy(),
        "recorded": why.recorded,
        "found": output::without_number(&why.found),
    })
}
