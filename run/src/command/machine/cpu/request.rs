//! The CPU that a guest requests.

use std::collections::HashSet;

use capscache_libvirt::Policy;

use super::mode::Mode;
use crate::error::Error;
use crate::view::View;

/// A CPU that a guest requests.
pub(super) struct Request<'a> {
    pub(super) mode: Mode,
    pub(super) model: Option<&'a str>,
    pub(super) vendor: Option<&'a str>,
    pub(super) matching: Match,
    /// True if another model may take the place of one that the emulator does not have.
    pub(super) has_fallback: bool,
    pub(super) features: Vec<(String, Policy)>,
}

/// The relation of the CPU to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The CPU is what the guest requests.
    Exact,
    /// The CPU is that of the host, which has what the guest requests.
    Minimum,
    /// The host has nothing else than the guest requests.
    Strict,
}

impl<'a> Request<'a> {
    /// Reads a request.
    pub(super) fn read(view: View<'a>, mode: Mode) -> Result<Request<'a>, Error> {
        let matching = match view.one_of("@match", &["exact", "strict", "minimum"])? {
            Some("minimum") => Match::Minimum,
            Some("strict") => Match::Strict,
            _ => Match::Exact,
        };
        let fallback = view.one_of("model@fallback", &["allow", "forbid"])?;
        let has_fallback = fallback != Some("forbid");
        // libvirt reads an element without text as none.
        let text = |place| view.text(place).filter(|text| !text.is_empty());
        let (model, vendor) = (text("model"), text("vendor"));
        let features = features(view)?;
        Ok(Request { mode, model, vendor, matching, has_fallback, features })
    }
}

/// Reads features with their policies.
pub(super) fn features(view: View<'_>) -> Result<Vec<(String, Policy)>, Error> {
    let mut features: Vec<(String, Policy)> = Vec::new();
    let mut names = HashSet::new();
    let policies = ["force", "require", "optional", "disable", "forbid"];
    for feature in view.children("feature") {
        let name = feature.require("@name")?;
        if name.is_empty() || !names.insert(name) {
            return Err(feature.invalid("@name", "a feature needs a name, and only once"));
        }
        let policy = match feature.one_of("@policy", &policies)? {
            Some("force") => Policy::Force,
            Some("optional") => Policy::Optional,
            Some("disable") => Policy::Disable,
            Some("forbid") => Policy::Forbid,
            _ => Policy::Require,
        };
        features.push((name.to_owned(), policy));
    }
    Ok(features)
}
