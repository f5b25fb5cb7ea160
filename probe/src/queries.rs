//! The queries of a pass: the initial ones, and those that an answer leads to.
//!
//! They are everything that a driver of the libvirt family queries at start-up, and the queries of the
//! further groups. Commands that not every emulator has are sent only if `query-commands` lists them, and
//! types are queried only if `qom-list-types` lists them, so that a refusal means something.

use std::collections::HashSet;

use capscache_format::{Group, Groups, Handle, Node, Pool, Version};
use serde_json::{Value, json};

use crate::session::Request;

/// Devices whose properties drivers query at start-up.
pub(crate) const CORE_DEVICES: [&str; 36] = [
    "virtio-blk-pci",
    "virtio-net-pci",
    "virtio-scsi-pci",
    "virtio-blk-ccw",
    "virtio-net-ccw",
    "virtio-scsi-ccw",
    "vfio-pci",
    "scsi-hd",
    "ide-hd",
    "PIIX4_PM",
    "usb-redir",
    "usb-storage",
    "kvm-pit",
    "VGA",
    "vmware-svga",
    "qxl",
    "virtio-gpu-pci",
    "virtio-gpu-device",
    "ICH9-LPC",
    "virtio-balloon-pci",
    "virtio-balloon-ccw",
    "virtio-balloon-device",
    "intel-iommu",
    "spapr-pci-host-bridge",
    "virtio-gpu-ccw",
    "mch",
    "nvdimm",
    "pcie-root-port",
    "usb-host",
    "vhost-user-fs-device",
    "virtio-mem-pci",
    "virtio-iommu-pci",
    "virtio-mem-ccw",
    "amd-iommu",
    "arm-smmuv3",
    "scsi-block",
];

/// Objects whose properties drivers query at start-up.
pub(crate) const CORE_OBJECTS: [&str; 5] = [
    "memory-backend-file",
    "memory-backend-memfd",
    "max-x86_64-cpu",
    "max-arm-cpu",
    "none-machine",
];

/// The abstract type from which all machines of a PC inherit. QEMU lists its properties although it is
/// abstract.
const GENERIC_PC: &str = "generic-pc-machine";

/// Machines, by name or alias, whose type's properties drivers query at start-up.
const CORE_MACHINES: [&str; 2] = ["pseries", "virt"];

/// Commands that every emulator since QEMU 4.2 has, whose answers depend on the binary alone.
const BINARY_COMMANDS: [&str; 4] = [
    "query-version",
    "query-qmp-schema",
    "query-command-line-options",
    "query-migrate-capabilities",
];

/// Commands that only some emulators have, whose answers depend on the binary alone.
const SOME_BINARY_COMMANDS: [&str; 3] =
    ["query-tpm-models", "query-tpm-types", "query-accelerators"];

/// Commands that only some emulators have, whose answers depend on the accelerator.
const SOME_ACCELERATOR_COMMANDS: [&str; 4] = [
    "query-cpu-definitions",
    "query-gic-capabilities",
    "query-sev-capabilities",
    "query-sgx-capabilities",
];

pub(crate) const TYPES: &str = "qom-list-types";
/// The base type of devices, and the interface of types that `object-add` can make.
pub(crate) const DEVICE: &str = "device";
pub(crate) const USER_CREATABLE: &str = "user-creatable";
/// The types of the accelerators that can be built in.
const TCG: &str = "tcg-accel";
const KVM: &str = "kvm-accel";
pub(crate) const COMMANDS: &str = "query-commands";
pub(crate) const EXPAND: &str = "query-cpu-model-expansion";
pub(crate) const DEVICE_PROPERTIES: &str = "device-list-properties";
pub(crate) const OBJECT_PROPERTIES: &str = "qom-list-properties";

/// Returns whether the answer to a command is the same under every accelerator.
pub(crate) fn is_about_binary(command: &str) -> bool {
    ["query-target", TYPES, COMMANDS, DEVICE_PROPERTIES, OBJECT_PROPERTIES].contains(&command)
        || BINARY_COMMANDS.contains(&command)
        || SOME_BINARY_COMMANDS.contains(&command)
}

/// Bounds on the number of queries of a pass, and on their bytes. A full profile of QEMU 7.2 takes about 600,
/// of 100 bytes each; an emulator that lists a million devices is not a QEMU.
const MAX_QUERIES: usize = 50_000;
const MAX_QUERY_BYTES: usize = 4 << 20;

/// Selects the answers of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    /// The core group.
    pub(crate) core: bool,
    /// Further groups.
    pub(crate) groups: Groups,
    /// Includes answers that do not depend on the accelerator.
    pub(crate) binary: bool,
    /// The models whose expansions are about the CPU that a guest can have here.
    pub(crate) host_models: &'static [&'static str],
}

impl Selection {
    /// Returns whether a group is requested.
    pub(crate) fn group(self, group: Group) -> bool {
        match group {
            Group::Core => self.core,
            Group::Devices | Group::Objects => self.binary && self.groups.contains(group),
            _ => self.groups.contains(group),
        }
    }
}

/// Decides the next queries from the answers so far.
#[derive(Debug)]
pub(crate) struct QueryPlan {
    selection: Selection,
    version: Version,
    package: String,
    arch: String,
    /// The emulator's commands and types among those that decide about queries.
    commands: HashSet<&'static str>,
    types: HashSet<&'static str>,
    sent: HashSet<Request>,
    sent_bytes: usize,
    /// The expansions among them that are about the CPU that a guest can have here.
    about_host: HashSet<Request>,
}

impl QueryPlan {
    pub(crate) fn new(selection: Selection) -> QueryPlan {
        QueryPlan {
            selection,
            version: Version::default(),
            package: String::new(),
            arch: String::new(),
            commands: HashSet::new(),
            types: HashSet::new(),
            sent: HashSet::new(),
            sent_bytes: 0,
            about_host: HashSet::new(),
        }
    }

    /// Returns QEMU's name of the guest's architecture.
    pub(crate) fn arch(&self) -> &str {
        &self.arch
    }

    /// Returns the distributor's name for the build.
    pub(crate) fn package(&self) -> &str {
        &self.package
    }

    /// Takes version and package from the greeting.
    pub(crate) fn set_greeting(&mut self, greeting: &str) {
        let greeting: Value = serde_json::from_str(greeting).unwrap_or_default();
        let version = greeting.pointer("/QMP/version/qemu");
        let part = |key| version.and_then(|v| v.get(key)?.as_u64()).unwrap_or(0);
        let package = greeting.pointer("/QMP/version/package").and_then(Value::as_str);
        self.package = package.unwrap_or_default().to_owned();
        self.version = Version { major: part("major"), minor: part("minor"), micro: part("micro") };
    }

    /// Returns whether TCG is built in; false if the types were not queried.
    pub(crate) fn has_tcg(&self) -> bool {
        self.types.contains(TCG)
    }

    /// Returns whether KVM is built in; false if the types were not queried.
    pub(crate) fn has_kvm(&self) -> bool {
        self.types.contains(KVM)
    }

    /// Returns whether the answers led to more queries than any QEMU's do; those beyond are not sent.
    pub(crate) fn exceeds_limit(&self) -> bool {
        self.sent.len() > MAX_QUERIES || self.sent_bytes > MAX_QUERY_BYTES
    }

    /// Returns whether an expansion is about the CPU that a guest can have here, and not only about one
    /// of all models.
    pub(crate) fn is_about_host(&self, request: &Request) -> bool {
        self.about_host.contains(request) || !self.selection.group(Group::CpuModels)
    }

    /// Returns the first queries, which depend on no answer.
    ///
    /// The types come early: listing them loads the modules, without which QEMU 7.2 leaves options
    /// out.
    pub(crate) fn initial_queries(&mut self) -> Vec<Request> {
        let mut requests = vec![Request::new("query-target"), Request::new(COMMANDS)];
        if self.selection.binary {
            requests.push(Request::new(TYPES));
            requests.push(all_types());
            requests.extend([DEVICE, USER_CREATABLE].map(implementations));
        }
        if self.selection.core {
            if self.selection.binary {
                requests.extend(BINARY_COMMANDS.map(Request::new));
            }
            requests.extend(["query-kvm", "query-machines"].map(Request::new));
        }
        self.without_sent(requests)
    }

    /// Returns the queries that an answer leads to.
    pub(crate) fn on_answer(
        &mut self,
        request: &Request,
        pool: &Pool,
        answer: Handle,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        match (request.execute.as_str(), &request.arguments) {
            ("query-target", _) => {
                self.arch = pool.get_str(answer, "arch").unwrap_or_default().to_owned();
            }
            (COMMANDS, _) => {
                self.commands = known(names(pool, answer), decisive_commands());
                self.add_command_queries(&mut requests);
            }
            (TYPES, None) => {
                self.types = known(names(pool, answer), decisive_types());
                self.add_type_queries(&mut requests);
            }
            (TYPES, Some(_))
                if *request == implementations(DEVICE) && self.selection.group(Group::Devices) =>
            {
                requests.extend(for_each_name(pool, answer, DEVICE_PROPERTIES));
            }
            (TYPES, Some(_))
                if *request == implementations(USER_CREATABLE)
                    && self.selection.group(Group::Objects) =>
            {
                requests.extend(for_each_name(pool, answer, OBJECT_PROPERTIES));
            }
            ("query-machines", _) if self.selection.binary && self.selection.core => {
                let machines =
                    CORE_MACHINES.iter().filter_map(|name| canonical(pool, answer, name));
                requests.extend(
                    machines.map(|name| list(OBJECT_PROPERTIES, &format!("{name}-machine"))),
                );
            }
            ("query-cpu-definitions", _)
                if self.selection.group(Group::CpuModels) && self.commands.contains(EXPAND) =>
            {
                for model in names(pool, answer).take(MAX_QUERIES) {
                    requests.push(expand("static", &json!({"name": model})));
                    requests.push(expand("full", &json!({"name": model})));
                }
            }
            (EXPAND, Some(arguments)) if self.selection.core => {
                self.add_expansion_queries(arguments, pool, answer, &mut requests);
            }
            _ => {}
        }
        self.without_sent(requests)
    }

    /// Returns those of the queries that were not sent before.
    fn without_sent(&mut self, requests: Vec<Request>) -> Vec<Request> {
        let mut new = Vec::new();
        for request in requests {
            if self.exceeds_limit() {
                break;
            }
            if self.sent.insert(request.clone()) {
                self.sent_bytes += request.execute.len();
                self.sent_bytes += request.arguments.as_ref().map_or(0, String::len);
                new.push(request);
            }
        }
        new
    }

    fn add_command_queries(&mut self, requests: &mut Vec<Request>) {
        let has = |command: &&str| self.commands.contains(*command);
        if self.selection.core {
            if self.selection.binary {
                requests.extend(
                    SOME_BINARY_COMMANDS.iter().filter(|c| has(c)).map(|c| Request::new(*c)),
                );
            }
            requests.extend(
                SOME_ACCELERATOR_COMMANDS.iter().filter(|c| has(c)).map(|c| Request::new(*c)),
            );
            if has(&EXPAND) {
                let about_host = self.host_queries();
                requests.extend(about_host.iter().cloned());
                self.about_host.extend(about_host);
            }
        } else if self.selection.group(Group::CpuModels) && has(&"query-cpu-definitions") {
            requests.push(Request::new("query-cpu-definitions"));
        }
    }

    fn host_queries(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        for model in self.selection.host_models {
            requests.push(expand(self.host_expansion(), &json!({"name": model})));
            // Its list of deprecated features may differ from the static one's. QEMU's schema has
            // whether there is one, but a pass under KVM does not query it.
            requests.push(expand("full", &json!({"name": model})));
            // Refused on ARM as a rule, and sent by libvirt all the same.
            if *model == "host" && (self.is_x86() || self.is_arm()) {
                let props = json!({"migratable": false, "hv-passthrough": true});
                requests.push(expand("full", &json!({"name": model, "props": props})));
            }
        }
        requests
    }

    fn add_type_queries(&self, requests: &mut Vec<Request>) {
        if self.selection.core {
            let known = |name: &&str| self.types.contains(*name);
            let devices = CORE_DEVICES.iter().filter(|name| known(name));
            requests.extend(devices.map(|name| list(DEVICE_PROPERTIES, name)));
            let objects = CORE_OBJECTS.iter().filter(|name| known(name));
            requests.extend(objects.map(|name| list(OBJECT_PROPERTIES, name)));
            if self.is_x86() {
                requests.push(list(OBJECT_PROPERTIES, GENERIC_PC));
            }
        }
    }

    /// Adds the second expansion of the host's CPU, with features that cannot be migrated, once the first
    /// succeeded; and for an i386 the full expansion of the static one: libvirt relies on it for the
    /// spelling of features, because there is no `max-x86_64-cpu` there.
    fn add_expansion_queries(
        &mut self,
        arguments: &str,
        pool: &Pool,
        answer: Handle,
        requests: &mut Vec<Request>,
    ) {
        let Ok(arguments) = serde_json::from_str::<Value>(arguments) else { return };
        let model = &arguments["model"];
        let Some(name) = model["name"].as_str() else { return };
        let is_static = arguments["type"] == "static";
        if is_static
            && self.arch == "i386"
            && self.selection.host_models.contains(&name)
            && let Some(model) = pool.get(answer, "model")
        {
            let full = expand("full", &to_json(pool, model));
            self.about_host.insert(full.clone());
            requests.push(full);
        }
        let is_first = arguments["type"] == self.host_expansion() && model.get("props").is_none();
        if is_first && self.is_x86() && self.selection.host_models.contains(&name) {
            let props = json!({"migratable": false});
            let again = expand(self.host_expansion(), &json!({"name": name, "props": props}));
            self.about_host.insert(again.clone());
            requests.push(again);
        }
    }

    /// Returns the type of expansion for the host's CPU. ARM has no static expansion.
    fn host_expansion(&self) -> &'static str {
        if self.is_arm() { "full" } else { "static" }
    }

    fn is_x86(&self) -> bool {
        matches!(self.arch.as_str(), "x86_64" | "i386")
    }

    fn is_arm(&self) -> bool {
        matches!(self.arch.as_str(), "aarch64" | "arm")
    }
}

/// Returns the query of all types, abstract ones too.
pub(crate) fn all_types() -> Request {
    Request::with(TYPES, &json!({"abstract": true}))
}

/// Returns the query of the concrete types that implement an interface or inherit from a type.
pub(crate) fn implementations(of: &str) -> Request {
    Request::with(TYPES, &json!({"implements": of}))
}

fn list(command: &str, typename: &str) -> Request {
    Request::with(command, &json!({"typename": typename}))
}

fn expand(kind: &str, model: &Value) -> Request {
    Request::with(EXPAND, &json!({"type": kind, "model": model}))
}

/// Converts a value of the pool to JSON.
fn to_json(pool: &Pool, value: Handle) -> Value {
    match pool.node(value) {
        Node::Null => Value::Null,
        Node::Bool(value) => value.into(),
        Node::Unsigned(value) => value.into(),
        Node::Signed(value) => value.into(),
        Node::Double(value) => value.into(),
        Node::String(value) => value.into(),
        Node::Array(values) => values.iter().map(|value| to_json(pool, *value)).collect(),
        Node::Object(keys, values) => {
            let values = values.iter().map(|value| to_json(pool, *value));
            Value::Object(keys.iter().map(str::to_owned).zip(values).collect())
        }
    }
}

/// Returns one query for each name in an answer; one more than the bound, so that an excess is noticed.
fn for_each_name<'p>(
    pool: &'p Pool,
    answer: Handle,
    command: &'p str,
) -> impl Iterator<Item = Request> + 'p {
    names(pool, answer).take(MAX_QUERIES + 1).map(move |name| list(command, name))
}

/// Returns those of an emulator's commands or types that decide about queries.
fn known<'p>(
    names: impl Iterator<Item = &'p str>,
    decisive: impl Iterator<Item = &'static str>,
) -> HashSet<&'static str> {
    let decisive: HashSet<&'static str> = decisive.collect();
    names.filter_map(|name| decisive.get(name).copied()).collect()
}

fn decisive_commands() -> impl Iterator<Item = &'static str> {
    SOME_BINARY_COMMANDS.into_iter().chain(SOME_ACCELERATOR_COMMANDS).chain([EXPAND])
}

fn decisive_types() -> impl Iterator<Item = &'static str> {
    CORE_DEVICES.into_iter().chain(CORE_OBJECTS).chain([TCG, KVM])
}

fn names(pool: &Pool, answer: Handle) -> impl Iterator<Item = &str> {
    pool.elements(answer).iter().filter_map(|element| pool.get_str(*element, "name"))
}

/// Returns the name of the machine with this name or alias.
fn canonical<'p>(pool: &'p Pool, machines: Handle, name: &str) -> Option<&'p str> {
    let machines = pool.elements(machines);
    let has = |key| machines.iter().find(|machine| pool.get_str(**machine, key) == Some(name));
    pool.get_str(*has("alias").or_else(|| has("name"))?, "name")
}
