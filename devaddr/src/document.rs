//! The JSON document of `capscache devaddr --json`.

use capscache_domain::Guest;
use serde::{Deserialize, Serialize};

use crate::explain::Reason;
use crate::facts::Source;
use crate::policy::Policy;

/// A guest, the policy for its addresses, and what assigning them reported: the JSON document that
/// `capscache devaddr --json` reads and prints. What was printed can be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Document {
    /// The guest. One that is read may have as few devices and addresses as its author cares about.
    pub guest: Guest,
    /// The policy; libvirt's if it is missing.
    #[serde(default)]
    pub policy: Policy,
    /// The source of the facts. Ignored where a document is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Source>,
    /// The reasons, in the order of the devices. Ignored where a document is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}
