//! Starts a wrapper until its emulator greets, and compares the executable.

use std::path::Path;
use std::sync::Arc;

use capscache_format::{Escaped, Evidence, Input, InputKind, Scope, Signature, Variable};
use capscache_probe::{ExchangeError, ProbeError, StartError, locate};

use super::Refresher;
use crate::capabilities::Capabilities;
use crate::error::{Error, chain};
use crate::file::signature;
use crate::inputs::environment;
use crate::lookup::Lookup;
use crate::status::Stale;

impl Refresher {
    /// Examines an entry thoroughly, see [`Entries::examine`](crate::entries::Entries::examine); in addition
    /// starts a wrapper.
    ///
    /// # Errors
    /// See [`Entries::examine`](crate::entries::Entries::examine).
    pub(crate) fn examine_by_starting(&self, emulator: &Path) -> Result<Lookup, Error> {
        let examined = self.entries.examine(emulator, true)?;
        let Lookup::Hit(hit) = &examined else { return Ok(examined) };
        let Some(reason) = self.starts_other(emulator, hit) else { return Ok(examined) };
        self.entries.forget(emulator);
        let entry = hit.0.with_inputs(Vec::new(), &self.entries.host());
        Ok(Lookup::Stale { reason, entry: Capabilities(Arc::new(entry)) })
    }

    /// Compares the executable that a wrapper starts, and the libraries that it starts it with; `None` if
    /// they are as recorded, or if they cannot be found out.
    fn starts_other(&self, emulator: &Path, hit: &Capabilities) -> Option<Stale> {
        let of_kind = |kind| hit.0.inputs().iter().find(|input| input.kind() == kind);
        let recorded = of_kind(InputKind::Executable)?;
        if of_kind(InputKind::Emulator)?.sha256 == recorded.sha256 {
            return None;
        }
        let recorded_environment = recorded_environment(recorded);
        let found = match locate(emulator, &self.probe_options()) {
            Ok(found) => {
                let status = rustix::fs::fstat(&found.file).ok()?;
                let at = |signature: Signature| (signature.device, signature.inode);
                let is_same = recorded.signature.map(at) == Some(at(signature(&status)));
                let environment = environment::sorted(&found.environment);
                if is_same && environment == recorded_environment {
                    return None;
                }
                describe(&found.path, &environment)
            }
            // A failure of the prober is not one of the wrapper.
            Err(
                ProbeError::Start(_)
                | ProbeError::Exchange(ExchangeError::Start(StartError::Spawn { .. })),
            ) => return None,
            Err(error) => chain(&error),
        };
        Some(Stale {
            input: InputKind::Executable,
            scope: Scope::Binary,
            path: recorded.path().to_owned(),
            recorded: describe(recorded.path(), recorded_environment),
            found,
        })
    }
}

fn recorded_environment(executable: &Input) -> &[Variable] {
    match &executable.evidence {
        Evidence::Executable { environment } => environment,
        _ => &[],
    }
}

fn describe(path: &Path, environment: &[Variable]) -> String {
    let environment = environment::describe(environment);
    format!("{} {environment}", Escaped::new(path)).trim_end().to_owned()
}
