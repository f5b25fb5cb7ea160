//! Machine types, CPU models and properties.

use capscache::format as views;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString, PyTuple};

use crate::error::internal;
use crate::python::tri;

type Text = Py<PyString>;

fn text(py: Python<'_>, text: &str) -> Text {
    PyString::new(py, text).unbind()
}

/// A machine type: QAPI's `MachineInfo`.
#[pyclass(module = "capscache", frozen, get_all)]
#[derive(Debug)]
pub(crate) struct Machine {
    name: Text,
    alias: Option<Text>,
    max_cpus: Option<u64>,
    is_default: bool,
    is_deprecated: Option<bool>,
    has_hotpluggable_cpus: bool,
    has_numa_memory: Option<bool>,
    has_acpi: Option<bool>,
    default_cpu_type: Option<Text>,
    default_ram_id: Option<Text>,
}

impl Machine {
    pub(crate) fn new(py: Python<'_>, view: views::Machine<'_>) -> Machine {
        Machine {
            name: text(py, view.name()),
            alias: view.alias().map(|alias| text(py, alias)),
            max_cpus: view.max_cpus(),
            is_default: view.is_default(),
            is_deprecated: view.deprecated(),
            has_hotpluggable_cpus: view.hotpluggable_cpus(),
            has_numa_memory: view.numa_mem_supported(),
            has_acpi: view.acpi(),
            default_cpu_type: view.default_cpu_type().map(|name| text(py, name)),
            default_ram_id: view.default_ram_id().map(|id| text(py, id)),
        }
    }
}

#[pymethods]
impl Machine {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<capscache.Machine {}>", self.name.bind(py).repr()?))
    }
}

/// A CPU model: QAPI's `CpuDefinitionInfo`.
#[pyclass(module = "capscache", frozen, get_all)]
#[derive(Debug)]
pub(crate) struct CpuModel {
    name: Text,
    is_usable: Option<bool>,
    unavailable_features: Option<Py<PyTuple>>,
    type_name: Option<Text>,
    alias_of: Option<Text>,
    is_static: bool,
    is_migration_safe: Option<bool>,
    is_deprecated: bool,
}

impl CpuModel {
    pub(crate) fn new(py: Python<'_>, view: views::CpuModel<'_>) -> PyResult<CpuModel> {
        let features = view.unavailable_features();
        let tuple = |names: Vec<&str>| Ok::<_, PyErr>(PyTuple::new(py, names)?.unbind());
        Ok(CpuModel {
            name: text(py, view.name()),
            is_usable: tri(view.usable()),
            unavailable_features: features.map(|names| tuple(names.collect())).transpose()?,
            type_name: view.typename().map(|name| text(py, name)),
            alias_of: view.alias_of().map(|name| text(py, name)),
            is_static: view.is_static(),
            is_migration_safe: view.migration_safe(),
            is_deprecated: view.deprecated(),
        })
    }
}

#[pymethods]
impl CpuModel {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<capscache.CpuModel {}>", self.name.bind(py).repr()?))
    }
}

/// A property of a device or object: QAPI's `ObjectPropertyInfo`.
#[pyclass(module = "capscache", frozen, get_all)]
#[derive(Debug)]
pub(crate) struct Property {
    name: Text,
    type_name: Text,
    description: Option<Text>,
    has_default: bool,
    default: Py<PyAny>,
}

impl Property {
    pub(crate) fn new(py: Python<'_>, view: views::Property<'_>) -> PyResult<Property> {
        let value = view.default_value();
        Ok(Property {
            name: text(py, view.name()),
            type_name: text(py, view.type_name()),
            description: view.description().map(|description| text(py, description)),
            has_default: value.is_some(),
            default: value.map_or_else(|| Ok(py.None()), |value| object(py, &value))?,
        })
    }
}

#[pymethods]
impl Property {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<capscache.Property {}>", self.name.bind(py).repr()?))
    }
}

/// Returns what `json.loads` returns for a value.
pub(crate) fn object(py: Python<'_>, value: &impl serde::Serialize) -> PyResult<Py<PyAny>> {
    let text = serde_json::to_string(value).map_err(|error| internal(py, &error.to_string()))?;
    Ok(PyModule::import(py, "json")?.call_method1("loads", (text,))?.unbind())
}
