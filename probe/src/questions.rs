//! What is asked, and what an answer leads to asking.
//!
//! Everything a driver of the libvirt family asks at start-up is here, and what the further groups
//! ask. Commands that not every emulator has are asked only if `query-commands` lists them, and
//! types are asked about only if `qom-list-types` does, so that a refusal means something.

use std::collections::HashSet;

use capscache_format::{Group, Groups, Handle, Node, Pool, Version};
use serde_json::{Value, json};

use crate::session::Request;

/// Devices whose properties drivers want to know at start-up.
pub(crate) const CORE_DEVICES: [&str; 32] = [
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
];

/// Objects whose properties drivers want to know at start-up.
pub(crate) const CORE_OBJECTS: [&str; 5] = [
    "memory-backend-file",
    "memory-backend-memfd",
    "max-x86_64-cpu",
    "max-arm-cpu",
    "none-machine",
];

/// What all machines of a PC inherit from: an abstract type, which QEMU answers about all the same.
const GENERIC_PC: &str = "generic-pc-machine";

/// Machines, by name or alias, whose type's properties drivers want to know at start-up.
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
/// What a device is, and what `object-add` can make: names for `qom-list-types`.
pub(crate) const DEVICE: &str = "device";
pub(crate) const USER_CREATABLE: &str = "user-creatable";
pub(crate) const COMMANDS: &str = "query-commands";
pub(crate) const EXPAND: &str = "query-cpu-model-expansion";
pub(crate) const DEVICE_PROPERTIES: &str = "device-list-properties";
pub(crate) const OBJECT_PROPERTIES: &str = "qom-list-properties";

/// Which answers a pass is to bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The core group.
    pub(crate) core: bool,
    /// Further groups.
    pub(crate) groups: Groups,
    /// Also what does not depend on the accelerator.
    pub(crate) binary: bool,
    /// The models whose expansions tell about the CPU that a guest can have here.
    pub(crate) host_models: &'static [&'static str],
}

impl Wanted {
    pub(crate) fn group(self, group: Group) -> bool {
        match group {
            Group::Core => self.core,
            Group::Devices | Group::Objects => self.binary && self.groups.contains(group),
            _ => self.groups.contains(group),
        }
    }
}

/// Follows an interview and says what is asked next.
#[derive(Debug)]
pub(crate) struct Questions {
    wanted: Wanted,
    version: Version,
    package: String,
    arch: String,
    commands: HashSet<String>,
    types: HashSet<String>,
    asked: HashSet<Request>,
    /// The expansions among them that tell about the CPU that a guest can have here.
    about_host: HashSet<Request>,
}

impl Questions {
    pub(crate) fn new(wanted: Wanted) -> Questions {
        Questions {
            wanted,
            version: Version::default(),
            package: String::new(),
            arch: String::new(),
            commands: HashSet::new(),
            types: HashSet::new(),
            asked: HashSet::new(),
            about_host: HashSet::new(),
        }
    }

    /// QEMU's name of the guest's architecture.
    pub(crate) fn arch(&self) -> &str {
        &self.arch
    }

    /// The distributor's name for the build.
    pub(crate) fn package(&self) -> &str {
        &self.package
    }

    /// Takes version and package from the greeting.
    pub(crate) fn greeted(&mut self, greeting: &str) {
        let greeting: Value = serde_json::from_str(greeting).unwrap_or_default();
        let version = greeting.pointer("/QMP/version/qemu");
        let part = |key| version.and_then(|v| v.get(key)?.as_u64()).unwrap_or(0);
        let package = greeting.pointer("/QMP/version/package").and_then(Value::as_str);
        self.package = package.unwrap_or_default().to_owned();
        self.version = Version { major: part("major"), minor: part("minor"), micro: part("micro") };
    }

    /// Whether `qom-list-types` told of a type.
    pub(crate) fn knows_type(&self, name: &str) -> bool {
        self.types.contains(name)
    }

    /// Whether an expansion tells about the CPU that a guest can have here, and not only about one
    /// of all models.
    pub(crate) fn is_about_host(&self, request: &Request) -> bool {
        self.about_host.contains(request) || !self.wanted.group(Group::CpuModels)
    }

    /// What can be asked before anything is known.
    ///
    /// The types come early: listing them loads the modules, without which QEMU 7.2 leaves options
    /// out.
    pub(crate) fn opening(&mut self) -> Vec<Request> {
        let mut requests = vec![Request::new("query-target"), Request::new(COMMANDS)];
        if self.wanted.binary {
            requests.push(Request::new(TYPES));
            requests.push(all_types());
            requests.extend([DEVICE, USER_CREATABLE].map(implementations));
        }
        if self.wanted.core {
            if self.wanted.binary {
                requests.extend(BINARY_COMMANDS.map(Request::new));
            }
            requests.extend(["query-kvm", "query-machines"].map(Request::new));
        }
        self.once(requests)
    }

    /// What an answer leads to.
    pub(crate) fn heard(&mut self, request: &Request, pool: &Pool, answer: Handle) -> Vec<Request> {
        let mut requests = Vec::new();
        match (request.execute.as_str(), &request.arguments) {
            ("query-target", _) => {
                self.arch = pool.get_str(answer, "arch").unwrap_or_default().to_owned();
            }
            (COMMANDS, _) => {
                self.commands = names(pool, answer).map(str::to_owned).collect();
                self.command_questions(&mut requests);
            }
            (TYPES, None) => {
                self.types = names(pool, answer).map(str::to_owned).collect();
                self.type_questions(&mut requests);
            }
            (TYPES, Some(_))
                if *request == implementations(DEVICE) && self.wanted.group(Group::Devices) =>
            {
                requests.extend(names(pool, answer).map(|name| list(DEVICE_PROPERTIES, name)));
            }
            (TYPES, Some(_))
                if *request == implementations(USER_CREATABLE)
                    && self.wanted.group(Group::Objects) =>
            {
                requests.extend(names(pool, answer).map(|name| list(OBJECT_PROPERTIES, name)));
            }
            ("query-machines", _) if self.wanted.binary && self.wanted.core => {
                let machines =
                    CORE_MACHINES.iter().filter_map(|name| canonical(pool, answer, name));
                requests.extend(
                    machines.map(|name| list(OBJECT_PROPERTIES, &format!("{name}-machine"))),
                );
            }
            ("query-cpu-definitions", _)
                if self.wanted.group(Group::CpuModels) && self.commands.contains(EXPAND) =>
            {
                for model in names(pool, answer) {
                    requests.push(expand("static", &json!({"name": model})));
                    requests.push(expand("full", &json!({"name": model})));
                }
            }
            (EXPAND, Some(arguments)) if self.wanted.core => {
                self.expansion_questions(arguments, pool, answer, &mut requests);
            }
            _ => {}
        }
        self.once(requests)
    }

    /// Of these, the ones that were not asked before.
    fn once(&mut self, requests: Vec<Request>) -> Vec<Request> {
        requests.into_iter().filter(|request| self.asked.insert(request.clone())).collect()
    }

    fn command_questions(&mut self, requests: &mut Vec<Request>) {
        let has = |command: &&str| self.commands.contains(*command);
        if self.wanted.core {
            if self.wanted.binary {
                requests.extend(
                    SOME_BINARY_COMMANDS.iter().filter(|c| has(c)).map(|c| Request::new(*c)),
                );
            }
            requests.extend(
                SOME_ACCELERATOR_COMMANDS.iter().filter(|c| has(c)).map(|c| Request::new(*c)),
            );
            if has(&EXPAND) {
                let about_host = self.host_questions();
                requests.extend(about_host.iter().cloned());
                self.about_host.extend(about_host);
            }
        } else if self.wanted.group(Group::CpuModels) && has(&"query-cpu-definitions") {
            requests.push(Request::new("query-cpu-definitions"));
        }
    }

    fn host_questions(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        for model in self.wanted.host_models {
            requests.push(expand(self.host_expansion(), &json!({"name": model})));
            // Its list of deprecated features may differ from the static one's. QEMU says in its
            // schema whether there is one, which a pass under KVM does not ask for.
            requests.push(expand("full", &json!({"name": model})));
            // Refused on ARM as a rule, and asked by libvirt all the same.
            if *model == "host" && (self.is_x86() || self.is_arm()) {
                let props = json!({"migratable": false, "hv-passthrough": true});
                requests.push(expand("full", &json!({"name": model, "props": props})));
            }
        }
        requests
    }

    fn type_questions(&self, requests: &mut Vec<Request>) {
        if self.wanted.core {
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

    /// The second look at the host's CPU, with what cannot be migrated, once the first succeeded; and
    /// of an i386 the full expansion of the static one: libvirt relies on it, because there is no
    /// `max-x86_64-cpu` that could tell it how the features are spelt.
    fn expansion_questions(
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
            && self.wanted.host_models.contains(&name)
            && let Some(model) = pool.get(answer, "model")
        {
            let full = expand("full", &to_json(pool, model));
            self.about_host.insert(full.clone());
            requests.push(full);
        }
        let is_first = arguments["type"] == self.host_expansion() && model.get("props").is_none();
        if is_first && self.is_x86() && self.wanted.host_models.contains(&name) {
            let props = json!({"migratable": false});
            let again = expand(self.host_expansion(), &json!({"name": name, "props": props}));
            self.about_host.insert(again.clone());
            requests.push(again);
        }
    }

    /// ARM knows no static expansion.
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

/// All types, abstract ones too.
pub(crate) fn all_types() -> Request {
    Request::with(TYPES, &json!({"abstract": true}))
}

/// The concrete types that implement an interface or inherit from a type.
pub(crate) fn implementations(of: &str) -> Request {
    Request::with(TYPES, &json!({"implements": of}))
}

fn list(command: &str, typename: &str) -> Request {
    Request::with(command, &json!({"typename": typename}))
}

fn expand(kind: &str, model: &Value) -> Request {
    Request::with(EXPAND, &json!({"type": kind, "model": model}))
}

/// A value as it was said.
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

fn names(pool: &Pool, answer: Handle) -> impl Iterator<Item = &str> {
    pool.elements(answer).iter().filter_map(|element| pool.get_str(*element, "name"))
}

/// The name of the machine with this name or alias.
fn canonical<'p>(pool: &'p Pool, machines: Handle, name: &str) -> Option<&'p str> {
    let machines = pool.elements(machines);
    let has = |key| machines.iter().find(|machine| pool.get_str(**machine, key) == Some(name));
    pool.get_str(*has("alias").or_else(|| has("name"))?, "name")
}
