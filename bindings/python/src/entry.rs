//! The capabilities of one emulator.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use capscache::firmware::FirmwareList;
use capscache::format::{Accelerated, NameList, Unanswered};
use capscache::{Capabilities, Error, Escaped, Tri, chain};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::error::{internal, of_cache, of_unanswered};
use crate::lists::Lists;
use crate::names::{accelerator as parse, names_of};
use crate::python::{VERSION, path_text, tri};
use crate::query::with_query;
use crate::views::{CpuModel, Machine, Property, object};

/// The capabilities of one emulator, on its mapped entry. Its answers do not change, also after the entry was replaced or
/// removed; threads may share it.
#[pyclass(module = "capscache", frozen)]
pub(crate) struct Entry {
    caps: Capabilities,
    version: PyOnceLock<Py<PyAny>>,
    lists: Lists,
}

impl Entry {
    pub(crate) fn new(caps: Capabilities) -> Entry {
        Entry { caps, version: PyOnceLock::new(), lists: Lists::default() }
    }

    /// Returns the answers under the accelerator of a name, the best one for `None`.
    fn under(&self, py: Python<'_>, name: Option<&str>) -> PyResult<Accelerated<'_>> {
        let found = self.find(name)?;
        found.map_err(|reason| of_unanswered(py, &reason))
    }

    fn find(&self, name: Option<&str>) -> PyResult<Result<Accelerated<'_>, Unanswered>> {
        Ok(match parse(name)? {
            Some(accelerator) => self.caps.accelerator(accelerator),
            None => self.caps.best(),
        })
    }

    /// Returns a list of names, which is built once.
    fn list<'py>(&self, py: Python<'py>, list: NameList) -> PyResult<Bound<'py, PyTuple>> {
        self.lists.get(py, list, |list| {
            self.caps.names(list).map_err(|reason| of_unanswered(py, &reason))
        })
    }
}

#[pymethods]
impl Entry {
    /// Opens the entry in a file. It is not compared with the present. For files that another process passes: a descriptor
    /// `fd` is at `/proc/self/fd/{fd}`.
    #[staticmethod]
    fn in_file(py: Python<'_>, path: PathBuf) -> PyResult<Entry> {
        let opened = py.detach(|| match File::open(&path) {
            Ok(file) => Capabilities::in_file(&file),
            Err(source) => Err(Error::Entry { action: "read", path, source: Arc::new(source) }),
        });
        opened.map(Entry::new).map_err(|error| of_cache(py, &error))
    }

    /// The path of the emulator, as it was given and made absolute.
    #[getter]
    fn emulator(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        path_text(py, &self.caps.emulator())
    }

    /// The path of the file that runs: another one behind a link or a wrapper script.
    #[getter]
    fn executable(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        path_text(py, &self.caps.executable())
    }

    /// The version of QEMU (`query-version`), a tuple to compare: `entry.version >= (8, 2)`.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let make = || {
            let version = self.caps.version();
            let parts = (version.major, version.minor, version.micro);
            Ok::<_, PyErr>(VERSION.get(py)?.call1(parts)?.unbind())
        };
        Ok(self.version.get_or_try_init(py, make)?.clone_ref(py))
    }

    /// The distributor's name for this build, often empty (`query-version`).
    #[getter]
    fn package(&self) -> &str {
        self.caps.package()
    }

    /// QEMU's name of the guest's architecture, such as `x86_64` (`query-target`).
    #[getter]
    fn arch(&self) -> &str {
        self.caps.arch()
    }

    /// The groups that were probed beside the core group, in a fixed order.
    #[getter]
    fn groups<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        names_of(py, self.caps.groups())
    }

    /// The reason why the answers could not be written to disk: they are correct, but the next process has to probe again.
    /// None if they were written.
    #[getter]
    fn persist_error(&self) -> Option<String> {
        self.caps.persist_error().map(|error| chain(error))
    }

    /// Answers a query: True, False, or None for *unknown*, which may mean that a group was not probed: see `groups_for`.
    fn query(&self, query: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        Ok(tri(with_query(query, |query| query.answer(&self.caps))?))
    }

    /// Returns the reason for the answer of a query, in one line.
    fn explain(&self, query: &Bound<'_, PyAny>) -> PyResult<String> {
        with_query(query, |query| Escaped::new(&query.explain(&self.caps)).to_string())
    }

    /// Returns the groups without which the answer of a query is unknown for now. With them `Cache.get` returns an entry
    /// that knows more.
    fn groups_for<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        names_of(py, with_query(query, |query| query.groups(&self.caps))?)
    }

    /// Returns whether the emulator ran under an accelerator: it works on this host. False if the emulator or the host does
    /// not have it, None if it should have run and failed.
    fn has_accelerator(&self, accelerator: &str) -> PyResult<Option<bool>> {
        Ok(tri(Tri::from(&self.find(Some(accelerator))?)))
    }

    /// The best accelerator that the emulator ran under; None in a damaged entry.
    #[getter]
    fn best_accelerator(&self) -> Option<&'static str> {
        self.caps.best().ok().map(|best| best.accelerator().name())
    }

    /// Returns the reason why the emulator did not run under an accelerator, in one line; None if it did.
    fn accelerator_reason(&self, accelerator: &str) -> PyResult<Option<String>> {
        let accelerator = parse(Some(accelerator))?;
        let reason = accelerator.and_then(|accelerator| self.caps.explain_accelerator(accelerator));
        Ok(reason.map(|why| Escaped::new(&why).to_string()))
    }

    /// Returns the machine type whose name or, if there is none, whose alias is `name`.
    #[pyo3(signature = (name, accelerator=None))]
    fn machine(&self, py: Python<'_>, name: &str, accelerator: Option<&str>) -> PyResult<Machine> {
        let found = self.under(py, accelerator)?.machine(name);
        Ok(Machine::new(py, found.map_err(|reason| of_unanswered(py, &reason))?))
    }

    /// Returns the machine type that QEMU uses by default; ARM has none.
    #[pyo3(signature = (accelerator=None))]
    fn default_machine(&self, py: Python<'_>, accelerator: Option<&str>) -> PyResult<Machine> {
        let found = self.under(py, accelerator)?.default_machine();
        Ok(Machine::new(py, found.map_err(|reason| of_unanswered(py, &reason))?))
    }

    /// Returns the CPU model of a name.
    #[pyo3(signature = (name, accelerator=None))]
    fn cpu_model(
        &self,
        py: Python<'_>,
        name: &str,
        accelerator: Option<&str>,
    ) -> PyResult<CpuModel> {
        let found = self.under(py, accelerator)?.cpu_model(name);
        CpuModel::new(py, found.map_err(|reason| of_unanswered(py, &reason))?)
    }

    /// Returns a property of a type: as a device, else as an object.
    fn property(&self, py: Python<'_>, type_name: &str, name: &str) -> PyResult<Property> {
        let found = self.caps.property(type_name, name);
        Property::new(py, found.map_err(|reason| of_unanswered(py, &reason))?)
    }

    /// Returns the names of the machine types, in the order of `query-machines`.
    #[pyo3(signature = (accelerator=None))]
    fn machines<'py>(
        &self,
        py: Python<'py>,
        accelerator: Option<&str>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Machines(self.under(py, accelerator)?.accelerator()))
    }

    /// Returns the names of the CPU models, in the order of `query-cpu-definitions`.
    #[pyo3(signature = (accelerator=None))]
    fn cpu_models<'py>(
        &self,
        py: Python<'py>,
        accelerator: Option<&str>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::CpuModels(self.under(py, accelerator)?.accelerator()))
    }

    /// Returns the names of the concrete QOM types, in the order of `qom-list-types`.
    fn types<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Types)
    }

    /// Returns the names of the devices that `device_add` can create, in QEMU's order.
    fn devices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Devices)
    }

    /// Returns the names of the objects that `object_add` can create, in QEMU's order.
    fn objects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Objects)
    }

    /// Returns the names of the QMP commands, in the order of `query-commands`.
    fn commands<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Commands)
    }

    /// Returns the names of the QMP events, in the order of `query-qmp-schema`.
    fn events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Events)
    }

    /// Returns the names of the accelerators that QEMU was built with, whether or not they work here: `has_accelerator` has
    /// that.
    fn accelerators_present<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::AcceleratorsPresent)
    }

    /// Returns the names of the properties of a type as a device, else as an object, in QEMU's order.
    fn properties<'py>(&self, py: Python<'py>, type_name: &str) -> PyResult<Bound<'py, PyTuple>> {
        self.list(py, NameList::Properties(type_name.to_owned()))
    }

    /// Returns the firmware of this host at present for a machine type, as path and content of its descriptors: the first is
    /// to be used.
    fn firmware<'py>(&self, py: Python<'py>, machine: &str) -> PyResult<Bound<'py, PyTuple>> {
        let list = py.detach(FirmwareList::of_this_host);
        let found = list.matching(&self.caps, machine);
        let found = found.map_err(|reason| of_unanswered(py, &reason))?.into_iter();
        let pairs = found.map(|one| Ok((path_text(py, &one.path)?, object(py, one)?)));
        PyTuple::new(py, pairs.collect::<PyResult<Vec<_>>>()?)
    }

    /// Returns the entry as the JSON of `capscache export`.
    fn json(&self, py: Python<'_>) -> PyResult<String> {
        let text = py.detach(|| serde_json::to_string(&*self.caps));
        text.map_err(|error| internal(py, &error.to_string()))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let emulator = self.emulator(py)?;
        let (version, arch) = (self.caps.version(), self.caps.arch());
        Ok(format!("<capscache.Entry {} QEMU {version} {arch}>", emulator.bind(py).repr()?))
    }
}
