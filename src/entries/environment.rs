//! Compares the environment of emulators with the one that was recorded.

use std::path::PathBuf;

use capscache_format::{Evidence, Input, InputKind, Scope, Variable};

use super::Entries;
use crate::capabilities::Loaded;
use crate::inputs::{environment, wrapper};
use crate::status::Stale;

impl Entries {
    /// The environment of emulators, as far as wrappers resolve through it.
    pub(crate) fn variables(&self) -> Vec<Variable> {
        wrapper::environment(&self.settings.environment)
    }

    /// Returns whether emulators get from this cache the environment that was recorded. Under another `PATH`
    /// a wrapper may find the same files.
    pub(super) fn has_environment_of(&self, inputs: &[Input]) -> bool {
        let recorded = environment::recorded(inputs);
        let (path, others) = environment::split_path(recorded);
        let (_, own_others) =
            environment::split_path(&environment::sorted(&self.settings.environment));
        let (own_path, _) = environment::split_path(&self.variables());
        others == own_others && (path.is_empty() || path == own_path || self.resolves_alike(inputs))
    }

    /// Returns whether a wrapper resolves, in the present environment, through the files that were recorded.
    fn resolves_alike(&self, inputs: &[Input]) -> bool {
        let is_recorded = |input: &&Input| {
            matches!(input.evidence, Evidence::Route | Evidence::Executable { .. })
        };
        let emulator = inputs.iter().find(|input| input.kind() == InputKind::Emulator);
        let Some(emulator) = emulator else { return false };
        let recorded: Vec<_> = inputs.iter().filter(is_recorded).map(Input::path).collect();
        let found = wrapper::routes(emulator.path(), &self.variables());
        found.files.iter().all(|file| recorded.contains(&&**file))
    }

    /// The reason why an entry does not answer under the environment that emulators get from this
    /// cache; `None` if it does.
    pub(super) fn environment_differs(&self, loaded: &Loaded) -> Option<Stale> {
        if self.has_environment_of(loaded.inputs()) {
            return None;
        }
        let words = |variables: &[Variable]| match environment::describe(variables) {
            nothing if nothing.is_empty() => "nothing set".to_owned(),
            words => words,
        };
        Some(Stale {
            input: InputKind::Environment,
            scope: Scope::Binary,
            path: PathBuf::new(),
            recorded: words(environment::recorded(loaded.inputs())),
            found: words(&environment::sorted(&self.variables())),
        })
    }
}
