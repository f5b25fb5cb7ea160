//! Reasons for the results of queries, in one line each.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::accelerated::Accelerated;
use crate::entry::Entry;
use crate::evidence::{DeviceNode, Evidence, KvmState};
use crate::kind::{Accelerator, FactKind, Group, InputKind};
use crate::query::Query;
use crate::report::Source;
use crate::tri::{Tri, Unanswered};

/// The largest number of a CPU model's features in a reason.
const SHOWN_FEATURES: usize = 8;

/// `/dev/kvm`'s device number, major 10 and minor 232, as in [`DeviceNode::device`]
/// (`Documentation/admin-guide/devices.txt` of Linux).
const KVM_DEVICE: u64 = 0xae8;

impl<B: AsRef<[u8]>> Entry<B> {
    /// Returns the reason for the result of [`answer`](Entry::answer) for `query`, in one line.
    ///
    /// The line quotes the emulator: display it with [`Escaped`](crate::Escaped).
    pub fn explain(&self, query: &Query) -> String {
        let answer = self.answer(query);
        let reason = match query {
            Query::Machine(name) => self.explain_machine(name),
            Query::MachineDeprecated(name) => self.explain_deprecated(name),
            Query::Cpu(name, accelerator) => self.explain_cpu(name, *accelerator),
            Query::CpuModel(name) => self.explain_cpu_model(name),
            Query::Device(name) => match answer {
                Tri::Yes => "device_add can create it".to_owned(),
                Tri::No => match self.qom_type(name) {
                    Ok(_) => format!("the type {name} is not a device that can be created"),
                    Err(reason) => self.reason(&reason),
                },
                Tri::Unknown => self.explain_unknown(FactKind::DeviceTypes),
            },
            Query::Property(name) => self.explain_property(name, answer),
            Query::Type(name) => match self.qom_type(name) {
                Ok(found) if found.is_abstract() => "an abstract type".to_owned(),
                Ok(found) => match found.parent() {
                    Some(parent) => format!("a type that inherits from {parent}"),
                    None => "a type".to_owned(),
                },
                Err(reason) => self.reason(&reason),
            },
            Query::Command(_) => match answer {
                Tri::Unknown => self.explain_unknown(FactKind::Commands),
                Tri::Yes => "QEMU lists the command".to_owned(),
                Tri::No => "QEMU lists no such command".to_owned(),
            },
            Query::Event(_) => self.explain_schema(answer, "event"),
            Query::Schema(_) => self.explain_schema(answer, "path"),
            Query::Option(name) => match self.command_line_option(name) {
                Ok(_) => "query-command-line-options lists it".to_owned(),
                Err(reason) => self.reason(&reason),
            },
            Query::Version(_) => self.explain_version(),
            Query::Gic(_) => self.explain_gic(),
        };
        match self.explain_incomplete() {
            Some(incomplete) if answer == Tri::Unknown => format!("{reason}; {incomplete}"),
            _ => reason,
        }
    }

    /// Returns the gaps in the entry, a line each with its reason: accelerators that the emulator
    /// should have run under, and resources or permissions that the prober lacked. Empty if nothing
    /// is missing.
    ///
    /// The lines quote the emulator: display them with [`Escaped`](crate::Escaped).
    pub fn missing(&self) -> Vec<String> {
        let failed = Accelerator::ALL.iter().filter_map(|accelerator| {
            match self.accelerator(*accelerator) {
                Err(reason @ Unanswered::DidNotRun { .. }) => Some(self.reason(&reason)),
                _ => None,
            }
        });
        failed.chain(self.explain_incomplete()).collect()
    }

    /// Returns the reason why the emulator did not run under `accelerator`, in one line; `None` if it
    /// did.
    ///
    /// The line quotes the emulator: display it with [`Escaped`](crate::Escaped).
    pub fn explain_accelerator(&self, accelerator: Accelerator) -> Option<String> {
        self.accelerator(accelerator).err().map(|why| match why {
            Unanswered::Absent { .. } => self.explain_absent(accelerator),
            reason => self.reason(&reason),
        })
    }

    /// Returns the resource or permission that the prober lacked, if facts are missing for it.
    fn explain_incomplete(&self) -> Option<String> {
        Some(format!("the answers are incomplete: {}", self.incomplete()?.reason))
    }

    /// Returns the reason for a missing value, with the details from the report.
    fn reason(&self, unanswered: &Unanswered) -> String {
        match unanswered {
            Unanswered::DidNotRun { accelerator } => self.explain_did_not_run(*accelerator),
            Unanswered::NotQueried { what: what @ "answer", name } => {
                format!(
                    "the emulator was not queried with {}, or does not have it",
                    command_of(what, name).0
                )
            }
            Unanswered::NotProbed { group, .. } => {
                format!("the group {group} was not probed yet: {unanswered}")
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

    fn explain_unknown(&self, kind: FactKind) -> String {
        match self.core(kind) {
            Err(reason) => self.reason(&reason),
            Ok(_) => format!("the answer to {} is damaged", command_of("answer", kind.name()).0),
        }
    }

    /// Returns QMP's description of the error.
    fn refusal(&self, what: &str, name: &str) -> Option<String> {
        let (command, by_name) = command_of(what, name);
        let report = self.report()?;
        let refused = report.refused.iter().find(|refused| {
            refused.command == command && names(refused.arguments.as_deref(), name, by_name)
        })?;
        let about = if by_name { format!(" of {name}") } else { String::new() };
        Some(format!("QEMU refuses {command}{about}: {}", refused.desc))
    }

    /// Returns how a query ended the emulator.
    fn quarantine(&self, what: &str, name: &str) -> Option<String> {
        let (command, by_name) = command_of(what, name);
        let report = self.report()?;
        let quarantined = report.quarantined.iter().find(|quarantined| {
            quarantined.command == command && names(quarantined.arguments.as_deref(), name, by_name)
        })?;
        let about = if by_name { format!(" of {name}") } else { String::new() };
        Some(format!("after {command}{about}, the emulator {}", quarantined.reason))
    }

    fn explain_did_not_run(&self, accelerator: Accelerator) -> String {
        let failure = || {
            let source = Source::new(Group::Core, accelerator);
            let passes = self.report()?.passes;
            passes.into_iter().rfind(|pass| pass.source == source)?.failure
        };
        let kvm = (accelerator == Accelerator::Kvm).then(|| self.kvm()).flatten();
        let (reason, detail) = match (kvm.as_ref().and_then(kvm_defect), failure()) {
            (Some(defect), Some(failure)) if !failure.starts_with("/dev/kvm cannot be opened") => {
                (defect, format!(": {failure}"))
            }
            (Some(defect), _) => (defect, String::new()),
            (None, Some(failure)) => (failure, String::new()),
            (None, None) => ("the report gives no reason".to_owned(), String::new()),
        };
        format!("the emulator did not run under {accelerator}: {reason}{detail}")
    }

    /// Returns the reason why the emulator was not started under an accelerator.
    fn explain_absent(&self, accelerator: Accelerator) -> String {
        if !self.accelerators_present().contains(&accelerator.name()) {
            return format!("it cannot run under {accelerator}, which is not built in");
        }
        match (accelerator, self.kvm()) {
            (Accelerator::Kvm, Some(KvmState { node: None, .. })) => {
                "it cannot run under kvm: there is no /dev/kvm here".to_owned()
            }
            (Accelerator::Kvm, None) => {
                format!("it cannot run under kvm: this host's KVM does not run {}", self.arch())
            }
            _ => format!("the emulator was not probed under {accelerator}"),
        }
    }

    fn kvm(&self) -> Option<KvmState> {
        match self.input(InputKind::Kvm)?.evidence() {
            Evidence::Kvm(kvm) => Some(kvm),
            _ => None,
        }
    }

    fn explain_machine(&self, name: &str) -> String {
        match self.best().and_then(|best| best.machine(name)) {
            Ok(machine) if machine.deprecated() == Some(true) => {
                format!("{}, deprecated", machine.name())
            }
            Ok(machine) => machine.name().to_owned(),
            Err(reason) => self.reason(&reason),
        }
    }

    fn explain_deprecated(&self, name: &str) -> String {
        match self.best().and_then(|best| best.machine(name)) {
            Ok(machine) => match machine.deprecated() {
                Some(true) => format!("QEMU marks {} as deprecated", machine.name()),
                Some(false) => format!("QEMU does not mark {} as deprecated", machine.name()),
                None => "QEMU does not report which machines are deprecated".to_owned(),
            },
            Err(reason) => self.reason(&reason),
        }
    }

    fn explain_cpu(&self, name: &str, accelerator: Option<Accelerator>) -> String {
        let explain = |accelerator| match self.cpu_usable(name, accelerator) {
            Err(Unanswered::Absent { what: "accelerator", .. }) => self.explain_absent(accelerator),
            result => self.explain_usable(name, accelerator, &result),
        };
        if let Some(accelerator) = accelerator {
            return explain(accelerator);
        }
        // Accelerators that it cannot run under have no reason to add.
        let may_run = Accelerator::ALL.iter().copied().filter(|accelerator| {
            !matches!(self.accelerator(*accelerator), Err(Unanswered::Absent { .. }))
        });
        let all: Vec<String> = may_run.map(explain).collect();
        if all.is_empty() { "the emulator has no accelerator".to_owned() } else { all.join("; ") }
    }

    fn explain_usable(
        &self,
        name: &str,
        accelerator: Accelerator,
        result: &Result<Tri, Unanswered>,
    ) -> String {
        match result {
            Ok(Tri::Yes) => format!("it runs under {accelerator}"),
            Ok(Tri::No) => {
                let lacks = self.accelerator(accelerator).map(|it| unavailable(it, name));
                format!("under {accelerator} it lacks {}", lacks.unwrap_or_default())
            }
            Ok(Tri::Unknown) => format!(
                "under {accelerator} QEMU has the model and does not report whether it runs \
                 (query-cpu-definitions without unavailable-features)"
            ),
            Err(Unanswered::Absent { .. }) => {
                format!("under {accelerator} the emulator has no CPU model {name:?}")
            }
            Err(Unanswered::NotQueried { .. }) => {
                format!("under {accelerator} this emulator has no query-cpu-definitions")
            }
            Err(reason @ Unanswered::DidNotRun { .. }) => self.reason(reason),
            Err(reason) => format!("under {accelerator}: {}", self.reason(reason)),
        }
    }

    fn explain_cpu_model(&self, name: &str) -> String {
        let mut reasons = Vec::new();
        for accelerator in self.accelerators() {
            match self.accelerator(accelerator).and_then(|it| it.cpu_model(name)) {
                Ok(_) => return format!("QEMU lists it under {accelerator}"),
                Err(reason) => reasons.push(self.explain_usable(name, accelerator, &Err(reason))),
            }
        }
        reasons.join("; ")
    }

    fn explain_property(&self, name: &str, answer: Tri) -> String {
        if answer.is_yes() {
            return "QEMU lists the property".to_owned();
        }
        let mut has_owner = false;
        for (owner, _) in self.owners(name) {
            has_owner = true;
            if let Err(reason) = self.properties(owner) {
                return self.reason(&reason);
            }
        }
        if has_owner {
            "QEMU lists other properties of the type, not this one".to_owned()
        } else {
            "the emulator has no such type".to_owned()
        }
    }

    fn explain_schema(&self, answer: Tri, what: &str) -> String {
        match answer {
            Tri::Yes => format!("QEMU's schema has the {what}"),
            Tri::No => format!("QEMU's schema has no such {what}"),
            Tri::Unknown => self.explain_unknown(FactKind::Schema),
        }
    }

    fn explain_version(&self) -> String {
        match self.core(FactKind::Version) {
            Ok(_) => format!("the version is {}", self.version()),
            Err(reason) => self.reason(&reason),
        }
    }

    fn explain_gic(&self) -> String {
        if !self.has_gic() {
            return format!("guests of {} have no GIC", self.arch());
        }
        let mut reasons = Vec::new();
        for accelerator in self.accelerators() {
            match self.gic_versions(accelerator) {
                Ok(versions) => reasons.push(format!(
                    "under {accelerator} {}",
                    versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
                )),
                Err(reason) => {
                    reasons.push(format!("under {accelerator}: {}", self.reason(&reason)));
                }
            }
        }
        reasons.extend(self.missing());
        reasons.join("; ")
    }
}

/// Returns the reason why KVM cannot be used, as far as its node shows it.
fn kvm_defect(kvm: &KvmState) -> Option<String> {
    let DeviceNode { uid, gid, mode, device } = kvm.node.as_ref()?;
    if *device == 0 {
        return Some("/dev/kvm is a file or directory here, not the device of KVM".to_owned());
    }
    if *device != KVM_DEVICE {
        return Some(format!(
            "/dev/kvm is another device here (number {device:x}, in hexadecimal)"
        ));
    }
    let prober = kvm.uid;
    (!kvm.opens).then(|| {
        format!(
            "/dev/kvm could not be opened by user {prober}, the prober (it belongs to {uid}:{gid}, mode \
             {mode:o}: group {gid} or an access list may give the right)"
        )
    })
}

/// Returns the command that reports a kind of object, and true if it is sent for each name.
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

/// Returns true if a command's arguments contain the name, or if the command takes none.
fn names(arguments: Option<&str>, name: &str, by_name: bool) -> bool {
    let quoted = || serde_json::Value::from(name).to_string();
    !by_name || arguments.is_some_and(|json| json.contains(&quoted()))
}

/// Returns the first features that keep a model from running.
fn unavailable(accelerated: Accelerated<'_>, name: &str) -> String {
    let Ok(model) = accelerated.cpu_model(name) else { return String::new() };
    let (mut shown, mut more, mut last) = (Vec::new(), 0_usize, None);
    for feature in model.unavailable_features().into_iter().flatten() {
        // QEMU lists some of them twice.
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
