//! Names in arguments: accelerators, groups, checks.

use capscache::{Accelerator, Group, Groups, Validation};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The accelerator of a name; `None` stands for the best one.
pub(crate) fn accelerator(name: Option<&str>) -> PyResult<Option<Accelerator>> {
    let parse = |name| {
        let found = Accelerator::from_name(name);
        found.ok_or_else(|| {
            unknown("accelerator", name, Accelerator::ALL.iter().map(|one| one.name()))
        })
    };
    name.map(parse).transpose()
}

/// The set of groups of these names.
pub(crate) fn groups(names: &[String]) -> PyResult<Groups> {
    names.iter().try_fold(Groups::CORE, |set, name| {
        let found = Group::from_name(name);
        let group =
            found.ok_or_else(|| unknown("group", name, Group::ALL.iter().map(|one| one.name())))?;
        Ok(set | Groups::from(group))
    })
}

/// The names of a set of groups, without the core group, which every entry has.
pub(crate) fn names_of(py: Python<'_>, groups: Groups) -> PyResult<Bound<'_, PyTuple>> {
    let names = groups.iter().filter(|group| *group != Group::Core).map(Group::name);
    PyTuple::new(py, names.collect::<Vec<_>>())
}

/// The checks of a name.
pub(crate) fn validation(name: &str) -> PyResult<Validation> {
    match name {
        "fast" => Ok(Validation::Fast),
        "thorough" => Ok(Validation::Thorough),
        "start" => Ok(Validation::Start),
        _ => Err(unknown("validation", name, ["fast", "thorough", "start"].into_iter())),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> PyErr {
    let known = known.collect::<Vec<_>>().join(", ");
    PyValueError::new_err(format!("{what} {name:?} is unknown: names are {known}"))
}
