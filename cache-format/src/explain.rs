//! Reasons for answers, in words: why one is unknown, what a *no* lacks, where a *yes* holds.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::accelerated::Accelerated;
use crate::entry::Entry;
use crate::kind::{Accelerator, FactKind, Group, InputKind};
use crate::query::{Query, VersionQuery};
use crate::report::Source;
use crate::tri::{Tri, Unanswered};
use crate::value::Value;

/// Features of a CPU model that a reason names.
const SHOWN_FEATURES: usize = 8;

/// `/dev/kvm`'s device number, major 10 and minor 232, as [`InputKind::Kvm`] records it
/// (`Documentation/admin-guide/devices.txt` of Linux).
const KVM_DEVICE: &str = "ae8";

impl<B: AsRef<[u8]>> Entry<B> {
    /// Returns why [`answer`](Entry::answer) answers `query` as it does, in one line.
    ///
    /// The line quotes what the emulator said: show it with [`Escaped`](crate::Escaped).
    pub fn explain(&self, query: &Query) -> String {
        let answer = self.answer(query);
        let reason = match query {
            Query::Machine(name) => self.explain_machine(name),
            Query::MachineDeprecated(name) => self.explain_deprecated(name),
            Query::Cpu(name, accelerator) => self.explain_cpu(name, *accelerator),
            Query::CpuModel(name) => self.explain_cpu_model(name),
            Query::Device(name) => match answer {
                Tri::Yes => "it can be made with device_add".to_owned(),
                Tri::No => match self.qom_type(name) {
                    Ok(_) => format!("the type {name} is no device that can be made"),
                    Err(why) => self.why(&why),
                },
                Tri::Unknown => self.why_not_told(FactKind::DeviceTypes),
            },
            Query::Property(name) => self.explain_property(name, answer),
            Query::Type(name) => match self.qom_type(name) {
                Ok(found) if found.is_abstract() => "an abstract type".to_owned(),
                Ok(found) => match found.parent() {
                    Some(parent) => format!("a type that inherits from {parent}"),
                    None => "a type".to_owned(),
                },
                Err(why) => self.why(&why),
            },
            Query::Command(_) => match answer {
                Tri::Unknown => self.why_not_told(FactKind::Commands),
                Tri::Yes => "QEMU lists the command".to_owned(),
                Tri::No => "QEMU lists no such command".to_owned(),
            },
            Query::Event(_) => self.explain_schema(answer, "event"),
            Query::Schema(_) => self.explain_schema(answer, "path"),
            Query::Option(name) => match self.command_line_option(name) {
                Ok(_) => "query-command-line-options lists it".to_owned(),
                Err(why) => self.why(&why),
            },
            Query::Version(asked) => self.explain_version(asked),
            Query::Gic(_) => self.explain_gic(),
        };
        match self.why_incomplete() {
            Some(short) if answer == Tri::Unknown => format!("{reason}; {short}"),
            _ => reason,
        }
    }

    /// Returns what is missing from the answers, a line each with its reason: accelerators that the
    /// emulator should have run under, and what the prober was short of. Empty if nothing is missing.
    ///
    /// The lines quote what the emulator said: show them with [`Escaped`](crate::Escaped).
    pub fn missing(&self) -> Vec<String> {
        let lost = Accelerator::ALL.iter().filter_map(|accelerator| {
            match self.accelerator(*accelerator) {
                Err(why @ Unanswered::DidNotRun { .. }) => Some(self.why(&why)),
                _ => None,
            }
        });
        lost.chain(self.why_incomplete()).collect()
    }

    /// Returns why the emulator did not run under `accelerator`, in one line; `None` if it did.
    ///
    /// The line quotes what the emulator said: show it with [`Escaped`](crate::Escaped).
    pub fn why_not_under(&self, accelerator: Accelerator) -> Option<String> {
        self.accelerator(accelerator).err().map(|why| match why {
            Unanswered::Absent { .. } => self.why_absent(accelerator),
            why => self.why(&why),
        })
    }

    /// What the prober was short of, if answers are missing for that.
    fn why_incomplete(&self) -> Option<String> {
        Some(format!("the answers are incomplete: {}", self.incomplete()?.reason))
    }

    /// Why there is no answer, with what the report says of it.
    fn why(&self, unanswered: &Unanswered) -> String {
        match unanswered {
            Unanswered::DidNotRun { accelerator } => self.why_did_not_run(*accelerator),
            Unanswered::NotQueried { what: what @ "answer", name } => {
                format!(
                    "the emulator was not asked {}, or does not have it",
                    command_of(what, name).0
                )
            }
            Unanswered::NotProbed { group, .. } => {
                format!("the group {group} was not asked yet: {unanswered}")
            }
            Unanswered::Refused { what, name } => {
                self.refusal(what, name).unwrap_or_else(|| unanswered.to_string())
            }
            Unanswered::Quarantined { what, name } => {
                self.quarantine(what, name).unwrap_or_else(|| unanswered.to_string())
            }
            other => other.to_string(),
        }
    }

    fn why_not_told(&self, kind: FactKind) -> String {
        match self.core(kind) {
            Err(why) => self.why(&why),
            Ok(_) => format!("the answer to {} is damaged", command_of("answer", kind.name()).0),
        }
    }

    /// QMP's description of the error.
    fn refusal(&self, what: &str, name: &str) -> Option<String> {
        let (command, by_name) = command_of(what, name);
        let report = self.report()?;
        let refused = report.refused.iter().find(|refused| {
            refused.command == command && names(refused.arguments.as_deref(), name, by_name)
        })?;
        let about = if by_name { format!(" of {name}") } else { String::new() };
        Some(format!("QEMU refuses {command}{about}: {}", refused.desc))
    }

    /// How a question ended the emulator.
    fn quarantine(&self, what: &str, name: &str) -> Option<String> {
        let (command, by_name) = command_of(what, name);
        let report = self.report()?;
        let quarantined = report.quarantined.iter().find(|quarantined| {
            quarantined.command == command && names(quarantined.arguments.as_deref(), name, by_name)
        })?;
        let about = if by_name { format!(" of {name}") } else { String::new() };
        Some(format!("asked for {command}{about}, the emulator {}", quarantined.reason))
    }

    fn why_did_not_run(&self, accelerator: Accelerator) -> String {
        let said = || {
            let source = Source::new(Group::Core, accelerator);
            let passes = self.report()?.passes;
            passes.into_iter().rfind(|pass| pass.source == source)?.failure
        };
        let node = (accelerator == Accelerator::Kvm).then(|| self.kvm()).flatten();
        let (reason, said) = match (node.and_then(Kvm::trouble), said()) {
            (Some(trouble), Some(said)) if !said.starts_with("/dev/kvm cannot be opened") => {
                (trouble, format!(": {said}"))
            }
            (Some(trouble), _) => (trouble, String::new()),
            (None, Some(said)) => (said, String::new()),
            (None, None) => ("the report does not say why".to_owned(), String::new()),
        };
        format!("the emulator did not run under {accelerator}: {reason}{said}")
    }

    /// Why it was not even tried to run the emulator under an accelerator.
    fn why_absent(&self, accelerator: Accelerator) -> String {
        if !self.accelerators_present().contains(&accelerator.name()) {
            return format!("it cannot run under {accelerator}, which is not built in");
        }
        match (accelerator, self.kvm()) {
            (Accelerator::Kvm, Some(kvm)) if kvm.node == "absent" => {
                "it cannot run under kvm: there is no /dev/kvm here".to_owned()
            }
            (Accelerator::Kvm, None) => {
                format!("it cannot run under kvm: this host's does not run {}", self.arch())
            }
            _ => format!("the emulator was not asked under {accelerator}"),
        }
    }

    fn kvm(&self) -> Option<Kvm<'_>> {
        let value = std::str::from_utf8(self.input(InputKind::Kvm)?.value).ok()?;
        let mut lines = value.lines();
        Some(Kvm { node: lines.next()?, view: lines.next().unwrap_or("") })
    }

    fn explain_machine(&self, name: &str) -> String {
        match self.best().and_then(|best| best.machine(name)) {
            Ok(machine) if machine.deprecated() => format!("{}, deprecated", machine.name()),
            Ok(machine) => machine.name().to_owned(),
            Err(why) => self.why(&why),
        }
    }

    fn explain_deprecated(&self, name: &str) -> String {
        match self.best().and_then(|best| best.machine(name)) {
            Ok(machine) => match machine.raw().get("deprecated").and_then(Value::as_bool) {
                Some(true) => format!("QEMU calls {} deprecated", machine.name()),
                Some(false) => format!("QEMU does not call {} deprecated", machine.name()),
                None => "QEMU does not say which machines are deprecated".to_owned(),
            },
            Err(why) => self.why(&why),
        }
    }

    fn explain_cpu(&self, name: &str, accelerator: Option<Accelerator>) -> String {
        let said = |accelerator| match self.cpu_usable(name, accelerator) {
            Err(Unanswered::Absent { what: "accelerator", .. }) => self.why_absent(accelerator),
            answered => self.say_usable(name, accelerator, &answered),
        };
        if let Some(accelerator) = accelerator {
            return said(accelerator);
        }
        // Those that it cannot run under have nothing to say.
        let may_run = Accelerator::ALL.iter().copied().filter(|accelerator| {
            !matches!(self.accelerator(*accelerator), Err(Unanswered::Absent { .. }))
        });
        let all: Vec<String> = may_run.map(said).collect();
        if all.is_empty() { "the emulator has no accelerator".to_owned() } else { all.join("; ") }
    }

    fn say_usable(
        &self,
        name: &str,
        accelerator: Accelerator,
        answered: &Result<Tri, Unanswered>,
    ) -> String {
        match answered {
            Ok(Tri::Yes) => format!("it runs under {accelerator}"),
            Ok(Tri::No) => {
                let lacks = self.accelerator(accelerator).map(|it| unavailable(it, name));
                format!("under {accelerator} it lacks {}", lacks.unwrap_or_default())
            }
            Ok(Tri::Unknown) => format!(
                "under {accelerator} QEMU knows the model and does not say whether it runs \
                 (query-cpu-definitions without unavailable-features)"
            ),
            Err(Unanswered::Absent { .. }) => {
                format!("under {accelerator} the emulator has no CPU model {name:?}")
            }
            Err(Unanswered::NotQueried { .. }) => {
                format!("under {accelerator} this emulator has no query-cpu-definitions")
            }
            Err(why @ Unanswered::DidNotRun { .. }) => self.why(why),
            Err(why) => format!("under {accelerator}: {}", self.why(why)),
        }
    }

    fn explain_cpu_model(&self, name: &str) -> String {
        let mut said = Vec::new();
        for accelerator in self.accelerators() {
            match self.accelerator(accelerator).and_then(|it| it.cpu_model(name)) {
                Ok(_) => return format!("QEMU lists it under {accelerator}"),
                Err(why) => said.push(self.say_usable(name, accelerator, &Err(why))),
            }
        }
        said.join("; ")
    }

    fn explain_property(&self, name: &str, answer: Tri) -> String {
        if answer.is_yes() {
            return "QEMU lists the property".to_owned();
        }
        let mut known = false;
        for (owner, _) in self.owners(name) {
            known = true;
            let is_object = self.has_device(owner).is_no();
            let list = if is_object { self.object(owner) } else { self.device(owner) };
            if let Err(why) = list {
                return self.why(&why);
            }
        }
        if known {
            "QEMU lists the others of the type, not this one".to_owned()
        } else {
            "the emulator has no such type".to_owned()
        }
    }

    fn explain_schema(&self, answer: Tri, what: &str) -> String {
        match answer {
            Tri::Yes => format!("QEMU's schema has the {what}"),
            Tri::No => format!("QEMU's schema has no such {what}"),
            Tri::Unknown => self.why_not_told(FactKind::Schema),
        }
    }

    fn explain_version(&self, _asked: &VersionQuery) -> String {
        match self.core(FactKind::Version) {
            Ok(_) => format!("the version is {}", self.version()),
            Err(why) => self.why(&why),
        }
    }

    fn explain_gic(&self) -> String {
        if !self.has_gic() {
            return format!("guests of {} have no GIC", self.arch());
        }
        let mut said = Vec::new();
        for accelerator in self.accelerators() {
            match self.gic_versions(accelerator) {
                Ok(versions) => said.push(format!(
                    "under {accelerator} {}",
                    versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
                )),
                Err(why) => said.push(format!("under {accelerator}: {}", self.why(&why))),
            }
        }
        said.extend(self.missing());
        said.join("; ")
    }
}

/// What is recorded of KVM: see [`InputKind::Kvm`].
#[derive(Clone, Copy)]
struct Kvm<'a> {
    /// Owner, group, mode and device number of the node, or `absent`.
    node: &'a str,
    /// Who looked, and whether it opened, before all else.
    view: &'a str,
}

impl Kvm<'_> {
    /// What keeps it from being used, as far as that can be seen from outside.
    fn trouble(self) -> Option<String> {
        let mut node = self.node.split(' ');
        let (owner, mode, device) = (node.next()?, node.next()?, node.next()?);
        if device == "0" {
            return Some("/dev/kvm is a file or directory here, not the device of KVM".to_owned());
        }
        if device != KVM_DEVICE {
            return Some(format!(
                "/dev/kvm is another device here (number {device}, in hexadecimal)"
            ));
        }
        let (user, opens) = self.view.strip_prefix("uid ")?.split_once(' ')?;
        if opens != "closed" {
            return None;
        }
        let group = owner.split_once(':').map_or("", |(_, group)| group);
        Some(format!(
            "/dev/kvm could not be opened by user {user}, who probed (it belongs to {owner}, mode {mode}: \
             group {group} or an access list may give the right)"
        ))
    }
}

/// The command that tells about a kind of thing, and whether it is asked for each name alone.
fn command_of<'a>(what: &str, name: &'a str) -> (&'a str, bool) {
    match (what, name) {
        ("machine", _) => ("query-machines", false),
        ("CPU model", _) => ("query-cpu-definitions", false),
        ("device", _) => ("device-list-properties", true),
        ("object", _) => ("qom-list-properties", true),
        ("type", _) => ("qom-list-types", false),
        ("command-line option", _) => ("query-command-line-options", false),
        ("migration capability", _) => ("query-migrate-capabilities", false),
        ("TPM model", _) => ("query-tpm-models", false),
        ("TPM type", _) => ("query-tpm-types", false),
        ("expansion of CPU model", _) => ("query-cpu-model-expansion", true),
        (_, "schema") => ("query-qmp-schema", false),
        (_, "commands") => ("query-commands", false),
        (_, "version") => ("query-version", false),
        (_, "target") => ("query-target", false),
        (_, "types" | "all-types" | "device-types" | "object-types") => ("qom-list-types", false),
        (_, "gic-capabilities") => ("query-gic-capabilities", false),
        (_, "command-line-options") => ("query-command-line-options", false),
        (_, other) => (other, false),
    }
}

/// Whether a command's arguments name it, if it is asked by name.
fn names(arguments: Option<&str>, name: &str, by_name: bool) -> bool {
    let quoted = || serde_json::Value::from(name).to_string();
    !by_name || arguments.is_some_and(|json| json.contains(&quoted()))
}

/// The first of the features that keep a model from running.
fn unavailable(accelerated: Accelerated<'_>, name: &str) -> String {
    let Ok(model) = accelerated.cpu_model(name) else { return String::new() };
    let (mut shown, mut more, mut last) = (Vec::new(), 0_usize, None);
    for feature in model.unavailable_features().into_iter().flatten() {
        // QEMU names some twice.
        if last.replace(feature) == Some(feature) {
            continue;
        }
        if shown.len() < SHOWN_FEATURES {
            shown.push(feature);
        } else {
            more = more.saturating_add(1);
        }
    }
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}
