//! The host's CPU, from the recorded expansions of CPU models.

use capscache_format::{Accelerator, FactKind, Object, Value};

use crate::arch;
use crate::caps::{CpuProperty, CpuValue, HostCpu};
use crate::flags::Emulator;
use crate::release::Deprecated;
use crate::values::{boolean, elements, text};

/// The replies of `query-cpu-model-expansion` under one accelerator, by their arguments.
pub(crate) struct Expansions<'e, 'a> {
    emulator: &'e Emulator<'a>,
    arch: &'e str,
    accelerator: Accelerator,
    /// The model that libvirt expands: without hardware the first pass expands the host's too.
    name: &'static str,
    /// True if libvirt sends the query.
    is_sent: bool,
    /// True if libvirt expands the static expansion again, whose names differ in older QEMUs.
    is_twofold: bool,
}

impl<'e, 'a> Expansions<'e, 'a> {
    pub(crate) fn new(emulator: &'e Emulator<'a>, arch: &'e str, accelerator: Accelerator) -> Self {
        let has = |flag| emulator.has_named(flag).is_yes();
        // A release that does not query the accelerator treats a first pass without hardware as accelerated.
        let is_known = emulator.hardware.is_some()
            || emulator.release.facts().queries_accelerators && has("query-accelerators");
        let name = if accelerator == Accelerator::Tcg && is_known { "max" } else { "host" };
        Expansions {
            emulator,
            arch,
            accelerator,
            name,
            is_sent: has("query-cpu-model-expansion"),
            is_twofold: arch::is_x86(arch) && !has("canonical-cpu-features"),
        }
    }

    /// Returns true if libvirt expands the CPU of the host, and not the maximal one.
    pub(crate) fn is_of_host(&self) -> bool {
        self.name == "host"
    }

    /// The CPU that a guest can have, as libvirt keeps it.
    pub(crate) fn host_cpu(&self) -> Option<HostCpu> {
        let plain = self.expanded(&[])?;
        let model = text(plain.get("model")?, "name")?;
        let props = plain.get("model")?.get("props").and_then(Value::as_object);
        if props.is_none() && !arch::is_s390(self.arch) {
            return None;
        }
        let others = self.unmigratable();
        let properties = props.into_iter().flat_map(Object::iter);
        let properties = properties.filter_map(|(name, value)| {
            let other = others.and_then(|others| boolean(others, name));
            property(name, value, other)
        });
        let (deprecated, host_deprecated) = self.deprecated(plain);
        Some(HostCpu {
            model,
            migratability: others.is_some(),
            properties: properties.collect(),
            deprecated,
            host_deprecated,
        })
    }

    /// The deprecated features of the full expansion, and those of the given one if a release keeps them apart.
    fn deprecated(&self, plain: Value<'_>) -> (Vec<String>, Vec<String>) {
        let of = |answer: Value<'_>| -> Vec<String> {
            let names = elements(answer.get("deprecated-props"));
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let lists = self.emulator.release.facts().deprecated;
        if lists == Deprecated::Absent {
            return Default::default();
        }
        let is_static = !arch::is_arm(self.arch) && !self.is_twofold;
        let (mut full, host) = match lists {
            Deprecated::Separate if is_static => (Vec::new(), of(plain)),
            _ => (of(plain), Vec::new()),
        };
        if self.emulator.has_named("query-cpu-model-expansion.deprecated-props").is_yes() {
            let answer = self.answer("full", |model| is_model(model, self.name, &[]));
            let names = answer.map(of).unwrap_or_default();
            if !names.is_empty() {
                full = names;
            }
        }
        (full, host)
    }

    /// The properties of the expansion that includes features that cannot be migrated.
    fn unmigratable(&self) -> Option<Value<'a>> {
        if !arch::is_x86(self.arch) {
            return None;
        }
        self.expanded(&[("migratable", false)])?.get("model")?.get("props")
    }

    /// The expansion that libvirt uses: its kind depends on the architecture and on QEMU's version.
    fn expanded(&self, props: &[(&str, bool)]) -> Option<Value<'a>> {
        let is_wanted = |model: Value<'_>| is_model(model, self.name, props);
        if arch::is_arm(self.arch) {
            return self.answer("full", is_wanted);
        }
        let fixed = self.answer("static", is_wanted)?;
        if self.is_twofold {
            let model = fixed.get("model")?;
            return self.answer("full", |other| is_equal(other, model));
        }
        Some(fixed)
    }

    /// The model in the reply to the query with these properties.
    pub(crate) fn model(&self, kind: &str, props: &[(&str, bool)]) -> Option<Value<'a>> {
        self.answer(kind, |model| is_model(model, self.name, props))?.get("model")
    }

    /// The reply to the first query of this kind for a matching model, if it was not refused.
    fn answer(&self, kind: &str, is_wanted: impl Fn(Value<'_>) -> bool) -> Option<Value<'a>> {
        if !self.is_sent {
            return None;
        }
        let queries = elements(self.emulator.answer(self.accelerator, FactKind::HostCpu));
        let mut matching = queries.filter(|query| {
            let arguments = query.get("arguments");
            let kind_is = arguments.and_then(|a| a.get("type")?.as_str()) == Some(kind);
            kind_is && arguments.and_then(|a| a.get("model")).is_some_and(&is_wanted)
        });
        matching.next()?.get("return").filter(|answer| !answer.is_null())
    }
}

/// Returns true if a model has this name and exactly these properties.
fn is_model(model: Value<'_>, name: &str, props: &[(&str, bool)]) -> bool {
    let own = model.get("props").and_then(Value::as_object);
    model.get("name").and_then(Value::as_str) == Some(name)
        && own.map_or(0, Object::len) == props.len()
        && props
            .iter()
            .all(|(key, value)| own.and_then(|own| own.get(key)?.as_bool()) == Some(*value))
}

/// Returns true if two models have the same name and properties, in any order.
fn is_equal(a: Value<'_>, b: Value<'_>) -> bool {
    let props = |value: Value<'_>| {
        let object = value.get("props").and_then(Value::as_object);
        let pairs = object.into_iter().flat_map(Object::iter);
        let mut pairs: Vec<(String, String)> =
            pairs.map(|(name, value)| (name.to_owned(), scalar(value))).collect();
        pairs.sort();
        pairs
    };
    text(a, "name") == text(b, "name") && props(a) == props(b)
}

/// A text form of a scalar that differs for different scalars.
fn scalar(value: Value<'_>) -> String {
    format!("{:?} {:?} {:?} {:?}", value.as_bool(), value.as_i64(), value.as_u64(), value.as_str())
}

/// A property of the host's CPU, given its value in the expansion that includes features that cannot
/// be migrated: a feature that is on only there is on, and cannot be migrated.
fn property(name: &str, value: Value<'_>, unmigratable: Option<bool>) -> Option<CpuProperty> {
    let name = name.to_owned();
    let plain = |value| Some(CpuProperty { name: name.clone(), value, migratable: None });
    if let Some(on) = value.as_bool() {
        let migratable = match (on, unmigratable) {
            (true, Some(_)) => Some(true),
            (false, Some(true)) => Some(false),
            _ => None,
        };
        let value = CpuValue::Boolean(on || migratable == Some(false));
        return Some(CpuProperty { name, value, migratable });
    }
    if let Some(number) = value.as_i64() {
        return plain(CpuValue::Number(number));
    }
    plain(CpuValue::String(value.as_str()?.to_owned()))
}

impl<'a> Emulator<'a> {
    /// The CPU that a guest can have under an accelerator; `None` if libvirt keeps none.
    pub fn host_cpu(&self, accelerator: Accelerator) -> Option<HostCpuView<'a>> {
        let expansions = Expansions::new(self, self.arch?, accelerator);
        let props = expansions.expanded(&[])?.get("model")?.get("props")?;
        Some(HostCpuView { props, others: expansions.unmigratable() })
    }

    /// The CPU that a guest can have under an accelerator, with all its properties; `None` if libvirt keeps none.
    pub fn whole_host_cpu(&self, accelerator: Accelerator) -> Option<HostCpu> {
        Expansions::new(self, self.arch?, accelerator).host_cpu()
    }
}

/// The CPU that a guest can have, one property at a time.
#[derive(Clone, Copy, Debug)]
pub struct HostCpuView<'a> {
    props: Value<'a>,
    /// The properties of the expansion that includes features that cannot be migrated.
    others: Option<Value<'a>>,
}

impl HostCpuView<'_> {
    /// A property as libvirt keeps it; `None` if it does not.
    pub fn property(&self, name: &str) -> Option<CpuProperty> {
        let other = self.others.and_then(|others| boolean(others, name));
        property(name, self.props.get(name)?, other)
    }
}
