//! An export equals the replies of QEMU, command by command, down to the order of keys.

use capscache::probe::{Options, probe};
use capscache::{Entry, Groups};
use serde_json::{Value, json};

use crate::qmp::{Answer, Qemu};

/// Sends an emulator the commands whose replies are exported, and compares.
struct Comparison {
    export: Value,
    emulator: String,
    /// The number of compared replies.
    compared: usize,
}

impl Comparison {
    fn new(emulator: &str, export: Value) -> Comparison {
        Comparison { export, emulator: emulator.to_owned(), compared: 0 }
    }

    /// Compares one reply, as text: the order of arrays and of keys counts.
    fn same(
        &mut self,
        qemu: &Qemu,
        exported: Option<&Value>,
        command: &str,
        arguments: Option<&Value>,
        answer: Answer,
    ) {
        let question = format!("{} {command} {}", self.emulator, arguments.unwrap_or(&Value::Null));
        match answer {
            Ok(answer) => {
                let exported = exported.unwrap_or_else(|| panic!("{question} was not exported"));
                assert_eq!(exported.to_string(), answer.to_string(), "{question}");
            }
            Err(error) => {
                assert!(exported.is_none_or(Value::is_null), "{question}: {error}");
                let refused = self.export["refused"].as_array().expect("an array");
                let wanted = json!({
                    "accelerator": qemu.accelerator,
                    "command": command,
                    "arguments": arguments.unwrap_or(&Value::Null),
                    "class": error["class"],
                    "desc": error["desc"],
                });
                // A type that an emulator lacks is not queried, and absent.
                assert!(
                    exported.is_none() || refused.contains(&wanted),
                    "{question}: {wanted} is not among the refused"
                );
            }
        }
        self.compared += 1;
    }

    fn simple(&mut self, qemu: &mut Qemu, pointer: &str, command: &str) {
        let answer = qemu.execute(command, None);
        let exported = self.export.pointer(pointer).cloned();
        self.same(qemu, exported.as_ref(), command, None, answer);
    }

    /// The part of a reply that is exported: a name of each element.
    fn names(&mut self, qemu: &mut Qemu, key: &str, command: &str, name: &str) {
        let answer = qemu.execute(command, None).expect(command);
        let names: Vec<&Value> =
            answer.as_array().expect(command).iter().map(|e| &e[name]).collect();
        assert_eq!(self.export[key], json!(names), "{} {key}", self.emulator);
        self.compared += 1;
    }

    fn maps(&mut self, qemu: &mut Qemu, key: &str, command: &str) {
        for (name, list) in self.export[key].as_object().cloned().expect(key) {
            let arguments = json!({"typename": name});
            let answer = qemu.execute(command, Some(&arguments));
            self.same(qemu, Some(&list), command, Some(&arguments), answer);
        }
    }

    fn accelerator(&mut self, qemu: &mut Qemu, accelerator: &str) {
        let part = |key: &str| format!("/accelerators/{accelerator}/{key}");
        self.simple(qemu, &part("machines"), "query-machines");
        self.simple(qemu, &part("cpu-definitions"), "query-cpu-definitions");
        let expand = "query-cpu-model-expansion";
        let expansions = self.export.pointer(&part("host-cpu")).cloned().unwrap_or_default();
        for expansion in expansions.as_array().expect("an array") {
            let answer = qemu.execute(expand, Some(&expansion["arguments"]));
            self.same(
                qemu,
                Some(&expansion["return"]),
                expand,
                Some(&expansion["arguments"]),
                answer,
            );
        }
        let models = self.export.pointer(&part("cpu-models")).cloned();
        for (name, expansions) in models.and_then(|m| m.as_object().cloned()).into_iter().flatten()
        {
            for kind in ["static", "full"] {
                let arguments = json!({"type": kind, "model": {"name": name}});
                let answer = qemu.execute(expand, Some(&arguments));
                self.same(qemu, expansions.get(kind), expand, Some(&arguments), answer);
            }
        }
    }

    /// Everything that does not depend on the accelerator.
    fn binary(&mut self, qemu: &mut Qemu) {
        let version = qemu.execute("query-version", None).expect("a version");
        assert_eq!(self.export["version"], version["qemu"]);
        assert_eq!(self.export["package"], version["package"]);
        let target = qemu.execute("query-target", None).expect("a target");
        assert_eq!(self.export["arch"], target["arch"]);
        self.names(qemu, "commands", "query-commands", "name");
        self.names(qemu, "migration-capabilities", "query-migrate-capabilities", "capability");
        self.simple(qemu, "/types", "qom-list-types");
        self.simple(qemu, "/command-line-options", "query-command-line-options");
        self.simple(qemu, "/tpm-models", "query-tpm-models");
        self.simple(qemu, "/tpm-types", "query-tpm-types");
        self.simple(qemu, "/schema", "query-qmp-schema");
        self.maps(qemu, "devices", "device-list-properties");
        self.maps(qemu, "objects", "qom-list-properties");
        let schema = self.export["schema"].as_array().expect("a schema");
        let is_event = |entry: &&Value| entry["meta-type"] == "event";
        let events: Vec<_> = schema.iter().filter(is_event).map(|entry| &entry["name"]).collect();
        assert_eq!(self.export["events"], json!(events));
    }

    /// The replies that depend on the accelerator and are exported for the best one only.
    fn best(&mut self, qemu: &mut Qemu) {
        self.simple(qemu, "/kvm", "query-kvm");
        self.simple(qemu, "/gic-capabilities", "query-gic-capabilities");
        self.simple(qemu, "/sev-capabilities", "query-sev-capabilities");
        self.simple(qemu, "/sgx-capabilities", "query-sgx-capabilities");
    }
}

/// The export of a probe without KVM.
fn export_without_kvm(emulator: &str) -> Value {
    let options = Options::new().kvm(false);
    let probed = probe(emulator.as_ref(), &options).expect("a probe");
    let entry = Entry::open(probed.model.encode().expect("a file")).expect("an entry");
    serde_json::to_value(&entry).expect("JSON")
}

fn compare_without_kvm(emulator: &str) {
    let mut comparison = Comparison::new(emulator, export_without_kvm(emulator));
    let mut qemu = Qemu::start(emulator, "tcg");
    comparison.binary(&mut qemu);
    comparison.accelerator(&mut qemu, "tcg");
    comparison.best(&mut qemu);
    assert!(comparison.compared > 20, "{} answers were compared", comparison.compared);
}

#[test]
fn the_export_of_x86_64_without_kvm_equals_the_replies_of_qemu() {
    compare_without_kvm("/usr/bin/qemu-system-x86_64");
}

#[test]
fn the_export_of_aarch64_equals_the_replies_of_qemu() {
    compare_without_kvm("/usr/bin/qemu-system-aarch64");
}

#[test]
fn the_export_of_s390x_equals_the_replies_of_qemu() {
    compare_without_kvm("/usr/bin/qemu-system-s390x");
}

#[test]
fn the_export_of_riscv64_equals_the_replies_of_qemu() {
    compare_without_kvm("/usr/bin/qemu-system-riscv64");
}

#[test]
fn the_full_export_of_the_native_emulator_with_kvm_equals_the_replies_of_qemu() {
    if !test_support::kvm_opens() {
        return;
    }
    let emulator = test_support::native();
    let root = tempfile::tempdir().expect("a root");
    let cache = crate::open(root.path()).expect("a cache");
    let caps = cache.get_with(&emulator, Groups::ALL).expect("answers");
    let mut comparison = Comparison::new(&emulator, serde_json::to_value(&*caps).expect("JSON"));
    let (mut kvm, mut tcg) = (Qemu::start(&emulator, "kvm"), Qemu::start(&emulator, "tcg"));
    comparison.binary(&mut tcg);
    comparison.accelerator(&mut tcg, "tcg");
    comparison.accelerator(&mut kvm, "kvm");
    comparison.best(&mut kvm);
    assert!(comparison.compared > 500, "{} answers were compared", comparison.compared);

    // A device that is not exported must be one of those that cannot be queried.
    let arguments = json!({"implements": "device"});
    let devices = tcg.execute("qom-list-types", Some(&arguments)).expect("devices");
    let quarantined = comparison.export["quarantined"].as_array().expect("an array");
    for device in devices.as_array().expect("an array") {
        let name = device["name"].as_str().expect("a name");
        let killed = quarantined.iter().any(|one| one["arguments"]["typename"] == name);
        assert_ne!(comparison.export["devices"].get(name).is_some(), killed, "{name}");
    }
}
