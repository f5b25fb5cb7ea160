//! Synthetic QMP sessions, in the form of libvirt's recordings.

use capscache_format::{Accelerator, Entry};
use capscache_libvirt::{Host, QemuCaps, Release};
use capscache_probe::{TranscriptError, replay_under};
use serde_json::{Value, json};

/// The release that tests are about unless they name another.
pub(crate) const REFERENCE: Release = Release::V11_3;

/// The replies of one emulator, by pass and query.
#[derive(Clone)]
pub(crate) struct Replies {
    passes: Vec<Vec<(String, Value, Value)>>,
    first: Option<Accelerator>,
    /// The CPUID leaves that KVM supports; `null` if not queried.
    cpuid: Value,
}

impl Replies {
    /// A minimal emulator of this architecture.
    pub(crate) fn new(arch: &str) -> Replies {
        let mut replies = Replies { passes: vec![Vec::new()], first: None, cpuid: Value::Null };
        let version = json!({"qemu": {"major": 8, "minor": 2, "micro": 1}, "package": "v8.2.1"});
        replies.reply("query-version", version);
        replies.reply("query-target", json!({"arch": arch}));
        replies.reply("query-qmp-schema", json!([]));
        replies.reply("query-kvm", json!({"enabled": false, "present": false}));
        replies.reply("qom-list-types", json!([]));
        replies.reply("query-machines", json!([]));
        replies.reply("query-command-line-options", json!([]));
        replies.reply("query-migrate-capabilities", json!([]));
        replies
    }

    /// A minimal emulator that runs under KVM and TCG.
    pub(crate) fn with_kvm(arch: &str) -> Replies {
        let mut replies = Replies::new(arch);
        replies.reply("query-kvm", json!({"enabled": true, "present": true}));
        replies.add_type("tcg-accel");
        replies.passes.push(Vec::new());
        replies.second("query-machines", json!([]));
        replies
    }

    pub(crate) fn under(mut self, first: Accelerator) -> Replies {
        self.first = Some(first);
        self
    }

    pub(crate) fn on_host_with(mut self, cpuid: Value) -> Replies {
        self.cpuid = cpuid;
        self
    }

    /// Replaces the reply to a command without arguments.
    pub(crate) fn reply(&mut self, command: &str, answer: Value) {
        self.answer(command, Value::Null, json!({"return": answer}));
    }

    pub(crate) fn refuse(&mut self, command: &str, class: &str) {
        self.answer(command, Value::Null, json!({"error": {"class": class, "desc": "no"}}));
    }

    pub(crate) fn omit(&mut self, command: &str) {
        self.passes[0].retain(|(known, ..)| known != command);
    }

    pub(crate) fn reply_to(&mut self, command: &str, arguments: Value, answer: Value) {
        self.answer(command, arguments, json!({"return": answer}));
    }

    pub(crate) fn answer(&mut self, command: &str, arguments: Value, reply: Value) {
        put(&mut self.passes[0], command, arguments, reply);
    }

    pub(crate) fn second(&mut self, command: &str, answer: Value) {
        put(&mut self.passes[1], command, Value::Null, json!({"return": answer}));
    }

    pub(crate) fn second_to(&mut self, command: &str, arguments: Value, answer: Value) {
        put(&mut self.passes[1], command, arguments, json!({"return": answer}));
    }

    /// Adds an element to a reply that is a list.
    pub(crate) fn add(&mut self, command: &str, element: Value) {
        let known = self.passes[0].iter_mut().find(|(known, ..)| known == command);
        let Some((_, _, reply)) = known else { return self.reply(command, json!([element])) };
        reply["return"].as_array_mut().unwrap().push(element);
    }

    pub(crate) fn add_type(&mut self, name: &str) {
        self.add("qom-list-types", json!({"name": name, "parent": "object"}));
    }

    pub(crate) fn add_command(&mut self, name: &str) {
        let entry = json!({"name": name, "meta-type": "command", "arg-type": "0", "ret-type": "0"});
        self.add("query-qmp-schema", entry);
    }

    /// Adds a property to the list of a type.
    pub(crate) fn add_property(&mut self, command: &str, typename: &str, property: Value) {
        let arguments = json!({"typename": typename});
        let known = self.passes[0].iter_mut().find(|(c, a, _)| c == command && *a == arguments);
        match known {
            Some((_, _, reply)) => reply["return"].as_array_mut().unwrap().push(property),
            None => self.reply_to(command, arguments, json!([property])),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut objects = Vec::new();
        for (which, pass) in self.passes.iter().enumerate() {
            let mut number = 1;
            let mut add = |command: &str, arguments: &Value, reply: &Value| {
                let id = format!("libvirt-{number}");
                number += 1;
                let mut query = json!({"execute": command});
                if !arguments.is_null() {
                    query["arguments"] = arguments.clone();
                }
                query["id"] = id.clone().into();
                let mut reply = reply.clone();
                reply["id"] = id.into();
                objects.push(query);
                objects.push(reply);
            };
            add("qmp_capabilities", &Value::Null, &json!({"return": {}}));
            pass.iter().for_each(|(command, arguments, reply)| add(command, arguments, reply));
            if which == 0 && !self.cpuid.is_null() {
                objects.push(json!({"supported-cpuid": self.cpuid}));
            }
        }
        let objects = objects.iter().map(|object| serde_json::to_string_pretty(object).unwrap());
        objects.collect::<Vec<_>>().join("\n\n") + "\n"
    }

    pub(crate) fn entry(&self) -> Entry<Vec<u8>> {
        entry_of(&self.text(), self.first).unwrap()
    }

    pub(crate) fn caps(&self) -> QemuCaps {
        self.caps_of(REFERENCE)
    }

    pub(crate) fn caps_of(&self, release: Release) -> QemuCaps {
        QemuCaps::from_entry(&self.entry(), Host::default(), release).unwrap()
    }

    pub(crate) fn xml(&self) -> String {
        self.caps().to_xml()
    }
}

/// The entry of a recording.
pub(crate) fn entry_of(
    text: &str,
    first: Option<Accelerator>,
) -> Result<Entry<Vec<u8>>, TranscriptError> {
    let model = replay_under(text, first)?;
    Ok(Entry::open(model.encode().unwrap()).unwrap())
}

fn put(pass: &mut Vec<(String, Value, Value)>, command: &str, arguments: Value, reply: Value) {
    match pass.iter_mut().find(|(known, query, _)| known == command && *query == arguments) {
        Some(known) => known.2 = reply,
        None => pass.push((command.to_owned(), arguments, reply)),
    }
}
