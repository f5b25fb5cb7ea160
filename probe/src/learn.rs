//! From replies to the model.

use std::collections::HashMap;

use capscache_format::{
    Accelerator, CommandReport, Escaped, Fact, FactKey, FactKind, Group, Handle, Model, ModelError,
    PassReport, Quarantine, Refusal, Source,
};
use indexmap::IndexMap;

use crate::questions::{
    COMMANDS, CORE_DEVICES, CORE_OBJECTS, DEVICE, DEVICE_PROPERTIES, EXPAND, OBJECT_PROPERTIES,
    TYPES, USER_CREATABLE, Wanted, all_types, implementations,
};
use crate::session::Request;

/// How many values the answers of one pass may have together. A full profile of QEMU 11.1 has some
/// 250,000; the bound keeps an emulator that answers nonsense from filling the prober's memory.
const MAX_VALUES: usize = 2 << 20;

/// One answer, or why there is none.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Taken into the pool.
    Answered(Handle),
    Refused {
        class: String,
        desc: String,
    },
    Quarantined {
        reason: String,
    },
}

impl Outcome {
    fn fact(&self) -> Fact<Handle> {
        match self {
            Outcome::Answered(handle) => Fact::Answered(*handle),
            Outcome::Refused { .. } => Fact::Refused,
            Outcome::Quarantined { .. } => Fact::Quarantined,
        }
    }

    /// As a value among others: see *Maps of answers* in the format's specification.
    fn value(&self) -> Handle {
        match self {
            Outcome::Answered(handle) => *handle,
            Outcome::Refused { .. } => Handle::NULL,
            Outcome::Quarantined { .. } => Handle::bool(false),
        }
    }
}

/// Collects the answers of one pass.
#[derive(Debug)]
pub(crate) struct Learner {
    wanted: Wanted,
    model: Model,
    facts: Vec<(Group, FactKind, Fact<Handle>)>,
    /// Property lists, by group and type name.
    lists: HashMap<(Group, FactKind), IndexMap<String, Handle>>,
    host_cpu: Vec<Handle>,
    /// Expansions by model name, then by kind.
    cpu_models: IndexMap<String, IndexMap<String, Handle>>,
    machines: Option<Handle>,
    /// How many values were taken in.
    values: usize,
    refused: Vec<(Group, Request, String, String)>,
    quarantined: Vec<(Group, Request, String)>,
    /// By the group that a command was asked for; none for what only leads to further questions.
    commands: IndexMap<(Option<Group>, String), CommandReport>,
}

impl Learner {
    pub(crate) fn new(wanted: Wanted) -> Learner {
        let mut lists = HashMap::new();
        for (group, kind) in
            [(Group::Devices, FactKind::Devices), (Group::Objects, FactKind::Objects)]
        {
            if wanted.group(group) {
                lists.insert((group, kind), IndexMap::new());
            }
        }
        Learner {
            wanted,
            model: Model::default(),
            facts: Vec::new(),
            lists,
            host_cpu: Vec::new(),
            cpu_models: IndexMap::new(),
            machines: None,
            values: 0,
            refused: Vec::new(),
            quarantined: Vec::new(),
            commands: IndexMap::new(),
        }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Takes the JSON text of an answer into the pool.
    pub(crate) fn take_in(&mut self, json: &str) -> Result<Handle, LearnError> {
        // All but the first of an array or object stand behind a comma.
        self.values += 1 + memchr::memchr_iter(b',', json.as_bytes()).count();
        if self.values > MAX_VALUES {
            return Err(LearnError::TooManyValues { limit: MAX_VALUES });
        }
        let mut text = serde_json::Deserializer::from_str(json);
        let handle = self.model.pool.intern(&mut text)?;
        text.end()?;
        Ok(handle)
    }

    /// Notes how long an answer took that belongs to a group, as [`Learner::learn`] says.
    pub(crate) fn took(&mut self, group: Option<Group>, request: &Request, micros: u64) {
        let key = (group, request.execute.clone());
        let report = self.commands.entry(key).or_insert_with(|| CommandReport {
            execute: request.execute.clone(),
            ..CommandReport::default()
        });
        report.count = report.count.saturating_add(1);
        report.micros = report.micros.saturating_add(micros);
    }

    /// Learns one answer; of an expansion, `about_host` says whether it tells about the CPU that a
    /// guest can have here. Returns the group that it belongs to; what nobody wanted to know belongs
    /// to none, and is ignored.
    pub(crate) fn learn(
        &mut self,
        request: &Request,
        outcome: &Outcome,
        about_host: bool,
    ) -> Result<Option<Group>, LearnError> {
        let group = match request.execute.as_str() {
            TYPES if *request == implementations(DEVICE) => {
                self.single(FactKind::DeviceTypes, outcome)
            }
            TYPES if *request == implementations(USER_CREATABLE) => {
                self.single(FactKind::ObjectTypes, outcome)
            }
            TYPES if *request == all_types() => self.single(FactKind::AllTypes, outcome),
            TYPES if request.arguments.is_some() => None,
            DEVICE_PROPERTIES => self.list(request, outcome, Group::Devices, FactKind::Devices)?,
            OBJECT_PROPERTIES => self.list(request, outcome, Group::Objects, FactKind::Objects)?,
            EXPAND => self.expansion(request, outcome, about_host)?,
            command => fact_kind(command).and_then(|kind| self.single(kind, outcome)),
        };
        match (group, outcome) {
            (None, _) | (_, Outcome::Answered(_)) => {}
            (Some(group), Outcome::Refused { class, desc }) => {
                self.refused.push((group, request.clone(), class.clone(), desc.clone()));
            }
            (Some(group), Outcome::Quarantined { reason }) => {
                self.quarantined.push((group, request.clone(), reason.clone()));
            }
        }
        Ok(group)
    }

    /// Learns the leaves of CPUID that KVM supports, from the JSON of the fact.
    pub(crate) fn learn_cpuid(&mut self, json: &str) -> Result<(), LearnError> {
        let leaves = self.take_in(json)?;
        self.facts.push((Group::Core, FactKind::SupportedCpuid, Fact::Answered(leaves)));
        Ok(())
    }

    /// The model of one pass under `accelerator`, with its report: `pass` is about the whole of it,
    /// and becomes one report for each group that was filled.
    pub(crate) fn finish(
        mut self,
        accelerator: Accelerator,
        pass: PassReport,
    ) -> Result<Model, ModelError> {
        let pool = &mut self.model.pool;
        if self.wanted.core {
            self.facts.push((Group::Core, FactKind::Ran, Fact::Answered(Handle::bool(true))));
            let host_cpu = pool.array(self.host_cpu)?;
            self.facts.push((Group::Core, FactKind::HostCpu, Fact::Answered(host_cpu)));
            let aliases = machine_aliases(pool, self.machines);
            let aliases =
                pool.object(aliases.iter().map(|(alias, machine)| (alias.as_str(), *machine)))?;
            self.facts.push((Group::Core, FactKind::MachineAliases, Fact::Answered(aliases)));
        }
        if self.wanted.group(Group::CpuModels) {
            let mut models = Vec::new();
            for (name, expansions) in &self.cpu_models {
                let expansions = expansions.iter().map(|(kind, value)| (kind.as_str(), *value));
                models.push((name.as_str(), pool.object(expansions)?));
            }
            let models = pool.object(models)?;
            self.facts.push((Group::CpuModels, FactKind::CpuModels, Fact::Answered(models)));
        }
        for ((group, kind), lists) in &self.lists {
            let map = pool.object(lists.iter().map(|(name, list)| (name.as_str(), *list)))?;
            self.facts.push((*group, *kind, Fact::Answered(map)));
        }
        for (group, kind, fact) in self.facts {
            self.model.set(FactKey { group, accelerator, kind }, fact);
        }
        let report = &mut self.model.report;
        report.passes = passes(self.wanted, accelerator, pass, self.commands);
        report.refused = self
            .refused
            .into_iter()
            .map(|(group, request, class, desc)| Refusal {
                source: Source::new(group, accelerator),
                command: request.execute,
                arguments: request.arguments,
                class,
                desc,
            })
            .collect();
        report.quarantined = self
            .quarantined
            .into_iter()
            .map(|(group, request, reason)| Quarantine {
                source: Source::new(group, accelerator),
                command: request.execute,
                arguments: request.arguments,
                reason,
            })
            .collect();
        Ok(self.model)
    }

    /// An answer that is one fact of the core group.
    fn single(&mut self, kind: FactKind, outcome: &Outcome) -> Option<Group> {
        if !self.wanted.core || (is_binary(kind) && !self.wanted.binary) {
            return None;
        }
        if let (FactKind::Machines, Outcome::Answered(machines)) = (kind, outcome) {
            self.machines = Some(*machines);
        }
        self.facts.push((Group::Core, kind, outcome.fact()));
        Some(Group::Core)
    }

    /// A property list goes to the group that has them all and, if drivers ask for it at start-up
    /// or the group was not asked for, to the core group.
    fn list(
        &mut self,
        request: &Request,
        outcome: &Outcome,
        group: Group,
        kind: FactKind,
    ) -> Result<Option<Group>, LearnError> {
        let typename = argument(request, "/typename")?;
        let mut belongs_to = None;
        if let Some(lists) = self.lists.get_mut(&(group, kind)).filter(|_| self.wanted.group(group))
        {
            lists.insert(typename.clone(), outcome.value());
            belongs_to = Some(group);
        }
        let is_core = CORE_DEVICES.contains(&typename.as_str())
            || CORE_OBJECTS.contains(&typename.as_str())
            || typename.ends_with("-machine");
        if self.wanted.core && self.wanted.binary && (is_core || belongs_to.is_none()) {
            self.lists.entry((Group::Core, kind)).or_default().insert(typename, outcome.value());
            belongs_to = Some(Group::Core);
        }
        Ok(belongs_to)
    }

    /// An expansion tells about the CPU that a guest can have here, about one of all models, or
    /// both.
    fn expansion(
        &mut self,
        request: &Request,
        outcome: &Outcome,
        about_host: bool,
    ) -> Result<Option<Group>, LearnError> {
        let has_props = arguments(request)?.pointer("/model/props").is_some();
        let mut belongs_to = None;
        if self.wanted.group(Group::CpuModels) && !has_props {
            let (name, kind) = (argument(request, "/model/name")?, argument(request, "/type")?);
            self.cpu_models.entry(name).or_default().insert(kind, outcome.value());
            belongs_to = Some(Group::CpuModels);
        }
        if self.wanted.core && about_host {
            belongs_to = Some(Group::Core);
            if !matches!(outcome, Outcome::Quarantined { .. }) {
                let asked = self.take_in(request.arguments.as_deref().unwrap_or("{}"))?;
                let answer = [("arguments", asked), ("return", outcome.value())];
                let answer = self.model.pool.object(answer)?;
                self.host_cpu.push(answer);
            }
        }
        Ok(belongs_to)
    }
}

/// Why an answer cannot become part of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The answer is no JSON, or more than a model can hold, or the arguments of a recorded command are
    /// no JSON.
    #[error("it is no JSON that a model can hold")]
    Json(#[from] serde_json::Error),
    /// The answers of one pass hold far more than those of any QEMU.
    #[error("the answers hold more than {limit} values: this is no QEMU's answer")]
    TooManyValues {
        /// The bound.
        limit: usize,
    },
    /// The arguments of a recorded command lack what QMP requires.
    #[error("{} without the argument {argument}", Escaped::new(command))]
    MissingArgument {
        /// The command.
        command: String,
        /// The argument, as a JSON pointer.
        argument: &'static str,
    },
    /// The answers are too many.
    #[error(transparent)]
    Model(#[from] ModelError),
}

fn arguments(request: &Request) -> Result<serde_json::Value, LearnError> {
    Ok(serde_json::from_str(request.arguments.as_deref().unwrap_or("{}"))?)
}

fn argument(request: &Request, pointer: &'static str) -> Result<String, LearnError> {
    let arguments = arguments(request)?;
    let text = arguments.pointer(pointer).and_then(serde_json::Value::as_str);
    text.map(str::to_owned).ok_or_else(|| LearnError::MissingArgument {
        command: request.execute.clone(),
        argument: pointer,
    })
}

/// What a command without arguments tells.
fn fact_kind(command: &str) -> Option<FactKind> {
    Some(match command {
        "query-version" => FactKind::Version,
        "query-target" => FactKind::Target,
        "query-machines" => FactKind::Machines,
        "query-cpu-definitions" => FactKind::CpuDefinitions,
        "query-kvm" => FactKind::Kvm,
        "query-gic-capabilities" => FactKind::Gic,
        "query-sev-capabilities" => FactKind::Sev,
        "query-sgx-capabilities" => FactKind::Sgx,
        TYPES => FactKind::Types,
        "query-qmp-schema" => FactKind::Schema,
        COMMANDS => FactKind::Commands,
        "query-command-line-options" => FactKind::CommandLineOptions,
        "query-migrate-capabilities" => FactKind::MigrationCapabilities,
        "query-tpm-models" => FactKind::TpmModels,
        "query-tpm-types" => FactKind::TpmTypes,
        "query-accelerators" => FactKind::Accelerators,
        _ => return None,
    })
}

/// Whether the answer is the same under every accelerator.
fn is_binary(kind: FactKind) -> bool {
    !matches!(
        kind,
        FactKind::Machines
            | FactKind::CpuDefinitions
            | FactKind::Kvm
            | FactKind::Gic
            | FactKind::Sev
            | FactKind::Sgx
    )
}

/// One report for each group, whose times add up to that of the pass: the first one has what was
/// common to all of them, the start, the restarts and the output.
fn passes(
    wanted: Wanted,
    accelerator: Accelerator,
    pass: PassReport,
    commands: IndexMap<(Option<Group>, String), CommandReport>,
) -> Vec<PassReport> {
    let all = [Group::Core, Group::Devices, Group::Objects, Group::CpuModels];
    let mut groups = all.into_iter().filter(|group| wanted.group(*group));
    let first = Source::new(groups.next().unwrap_or(Group::Core), accelerator);
    let mut passes = vec![PassReport { source: first, ..pass }];
    passes.extend(groups.map(|group| PassReport {
        source: Source::new(group, accelerator),
        ..PassReport::default()
    }));
    for ((group, _), command) in commands {
        let of_group = passes.iter().position(|pass| pass.source.group() == group).unwrap_or(0);
        if of_group > 0 {
            passes[of_group].micros += command.micros;
            passes[0].micros = passes[0].micros.saturating_sub(command.micros);
        }
        passes[of_group].commands.push(command);
    }
    passes
}

fn machine_aliases(
    pool: &capscache_format::Pool,
    machines: Option<Handle>,
) -> Vec<(String, Handle)> {
    let machines = machines.map_or(&[][..], |machines| pool.elements(machines));
    let alias = |machine: &Handle| Some((pool.get_str(*machine, "alias")?.to_owned(), *machine));
    machines.iter().filter_map(alias).collect()
}
