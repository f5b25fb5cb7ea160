//! The flags of a guest's CPU.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::running::QueryError;
use crate::qmp::{Qmp, Refusal};

/// The time that a query may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Flags by name.
pub(super) type Flags = BTreeMap<String, bool>;

/// The receiver of the flags.
pub(super) type Reply = oneshot::Sender<Result<Flags, QueryError>>;

/// A query of the boolean properties of the first CPU: some hundred commands, one after the other. Each reply leads to
/// the next command, so that the runner can do other things meanwhile.
pub(super) struct Query {
    reply: Reply,
    pub(super) deadline: Instant,
    /// The id of the command that was sent last.
    id: u64,
    step: Step,
    path: String,
    /// The properties that were not queried yet.
    names: Vec<String>,
    flags: Flags,
}

/// The command that was sent last.
enum Step {
    Cpus,
    List,
    Get(String),
}

impl Query {
    /// Sends the first command.
    pub(super) fn start(qmp: &mut Qmp, reply: Reply) -> Query {
        Query {
            reply,
            deadline: Instant::now() + TIMEOUT,
            id: qmp.send("query-cpus-fast", None),
            step: Step::Cpus,
            path: String::new(),
            names: Vec::new(),
            flags: Flags::new(),
        }
    }

    /// Returns true if a reply is to this query.
    pub(super) fn awaits(&self, id: u64) -> bool {
        self.id == id
    }

    /// Handles a reply, and sends the next command; returns `None` when there is none, and the flags were returned.
    pub(super) fn handle(mut self, result: Result<Value, Refusal>, qmp: &mut Qmp) -> Option<Query> {
        match (std::mem::replace(&mut self.step, Step::Cpus), result) {
            (Step::Cpus, Ok(cpus)) => {
                let path = cpus.pointer("/0/qom-path").and_then(Value::as_str);
                self.path = path.unwrap_or_default().to_owned();
                self.step = Step::List;
                self.id = qmp.send("qom-list", Some(json!({"path": self.path})));
                return Some(self);
            }
            (Step::List, Ok(properties)) => self.names = names(&properties),
            (Step::Get(name), Ok(value)) => {
                self.flags.extend(value.as_bool().map(|value| (name, value)));
            }
            // A property that can only be written.
            (Step::Get(_), Err(_)) => {}
            (Step::Cpus | Step::List, Err(refusal)) => {
                self.end(Err(QueryError::Monitor(refusal.error("the flags of the CPU"))));
                return None;
            }
        }
        let Some(name) = self.names.pop() else {
            let flags = std::mem::take(&mut self.flags);
            self.end(Ok(flags));
            return None;
        };
        self.id = qmp.send("qom-get", Some(json!({"path": self.path, "property": name})));
        self.step = Step::Get(name);
        Some(self)
    }

    /// Gives the query up.
    pub(super) fn give_up(self) {
        self.end(Err(QueryError::TimedOut { limit: TIMEOUT }));
    }

    fn end(self, result: Result<Flags, QueryError>) {
        // It fails if the caller has given up.
        let _ = self.reply.send(result);
    }
}

/// Returns the names of boolean properties.
fn names(properties: &Value) -> Vec<String> {
    let properties = properties.as_array().into_iter().flatten();
    properties
        .filter(|property| property.get("type").and_then(Value::as_str) == Some("bool"))
        .filter_map(|property| Some(property.get("name")?.as_str()?.to_owned()))
        .collect()
}
