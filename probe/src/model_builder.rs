//! Builds the model of one pass from its answers.

use std::collections::HashMap;

use capscache_format::{
    Accelerator, CommandReport, Escaped, Fact, FactKey, FactKind, Group, Groups, Handle, Model,
    ModelError, PassReport, Quarantine, Refusal, Source,
};
use indexmap::IndexMap;

use crate::queries::{
    COMMANDS, CORE_DEVICES, CORE_OBJECTS, DEVICE, DEVICE_PROPERTIES, EXPAND, OBJECT_PROPERTIES,
    Selection, TYPES, USER_CREATABLE, all_types, implementations,
};
use crate::session::Request;

/// Bound on the values in the answers of one pass. A full profile of QEMU 11.1 has some 250,000; the
/// bound keeps a broken emulator from filling the prober's memory.
const MAX_VALUES: usize = 2 << 20;

/// One answer, or the reason why there is none.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A value in the pool.
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

    /// Returns the value in a map: see *Maps of answers* in the format's specification.
    fn value(&self) -> Handle {
        match self {
            Outcome::Answered(handle) => *handle,
            Outcome::Refused { .. } => Handle::NULL,
            Outcome::Quarantined { .. } => Handle::bool(false),
        }
    }
}

/// Collects the answers of one pass into a model.
#[derive(Debug)]
pub(crate) struct ModelBuilder {
    selection: Selection,
    model: Model,
    facts: Vec<(Group, FactKind, Fact<Handle>)>,
    /// Property lists, by group and type name.
    lists: HashMap<(Group, FactKind), IndexMap<String, Handle>>,
    host_cpu: Vec<Handle>,
    /// Expansions by model name, then by kind.
    cpu_models: IndexMap<String, IndexMap<String, Handle>>,
    machines: Option<Handle>,
    /// The number of values so far.
    values: usize,
    refused: Vec<(Group, Request, String, String)>,
    quarantined: Vec<(Group, Request, String)>,
    /// By the group of a command; none for a command that only leads to further ones.
    commands: IndexMap<(Option<Group>, String), CommandReport>,
}

impl ModelBuilder {
    pub(crate) fn new(selection: Selection) -> ModelBuilder {
        let mut lists = HashMap::new();
        for (group, kind) in
            [(Group::Devices, FactKind::Devices), (Group::Objects, FactKind::Objects)]
        {
            if selection.group(group) {
                lists.insert((group, kind), IndexMap::new());
            }
        }
        ModelBuilder {
            selection,
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

    /// Parses the JSON text of an answer into the pool.
    pub(crate) fn parse(&mut self, json: &str) -> Result<Handle, BuildError> {
        // Each value but the first of an array or object follows a comma.
        self.values += 1 + memchr::memchr_iter(b',', json.as_bytes()).count();
        if self.values > MAX_VALUES {
            return Err(BuildError::TooManyValues { limit: MAX_VALUES });
        }
        let mut text = serde_json::Deserializer::from_str(json);
        let handle = self.model.pool.intern(&mut text)?;
        text.end()?;
        Ok(handle)
    }

    /// Adds the time of an answer to the report; `group` is the one that [`ModelBuilder::add`] returned.
    pub(crate) fn add_time(&mut self, group: Option<Group>, request: &Request, micros: u64) {
        let key = (group, request.execute.clone());
        let report = self.commands.entry(key).or_insert_with(|| CommandReport {
            execute: request.execute.clone(),
            ..CommandReport::default()
        });
        report.count = report.count.saturating_add(1);
        report.micros = report.micros.saturating_add(micros);
    }

    /// Adds one answer. `about_host`: whether an expansion is about the CPU that a guest can have here.
    /// Returns the group of the answer; an answer that was not requested has none, and is ignored.
    pub(crate) fn add(
        &mut self,
        request: &Request,
        outcome: &Outcome,
        about_host: bool,
    ) -> Result<Option<Group>, BuildError> {
        let group = match request.execute.as_str() {
            TYPES if *request == implementations(DEVICE) => {
                self.add_fact(FactKind::DeviceTypes, outcome)
            }
            TYPES if *request == implementations(USER_CREATABLE) => {
                self.add_fact(FactKind::ObjectTypes, outcome)
            }
            TYPES if *request == all_types() => self.add_fact(FactKind::AllTypes, outcome),
            TYPES if request.arguments.is_some() => None,
            DEVICE_PROPERTIES => {
                self.add_list(request, outcome, Group::Devices, FactKind::Devices)?
            }
            OBJECT_PROPERTIES => {
                self.add_list(request, outcome, Group::Objects, FactKind::Objects)?
            }
            EXPAND => self.add_expansion(request, outcome, about_host)?,
            command => fact_kind(command).and_then(|kind| self.add_fact(kind, outcome)),
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

    /// Adds the leaves of CPUID that KVM supports, from the JSON of the fact.
    pub(crate) fn add_cpuid(&mut self, json: &str) -> Result<(), BuildError> {
        let leaves = self.parse(json)?;
        self.facts.push((Group::Core, FactKind::SupportedCpuid, Fact::Answered(leaves)));
        Ok(())
    }

    /// Returns the model of one pass under `accelerator`, with its report: `pass` is about the whole of
    /// it, and becomes one report for each group that was filled.
    pub(crate) fn finish(
        mut self,
        accelerator: Accelerator,
        pass: PassReport,
    ) -> Result<Model, ModelError> {
        let pool = &mut self.model.pool;
        if self.selection.core {
            self.facts.push((Group::Core, FactKind::Ran, Fact::Answered(Handle::bool(true))));
            let host_cpu = pool.array(self.host_cpu)?;
            self.facts.push((Group::Core, FactKind::HostCpu, Fact::Answered(host_cpu)));
            let aliases = machine_aliases(pool, self.machines);
            let aliases =
                pool.object(aliases.iter().map(|(alias, machine)| (alias.as_str(), *machine)))?;
            self.facts.push((Group::Core, FactKind::MachineAliases, Fact::Answered(aliases)));
        }
        if self.selection.group(Group::CpuModels) {
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
        report.passes = passes(self.selection, accelerator, pass, self.commands);
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

    /// Adds an answer that is one fact of the core group.
    fn add_fact(&mut self, kind: FactKind, outcome: &Outcome) -> Option<Group> {
        if !self.selection.core || (is_binary(kind) && !self.selection.binary) {
            return None;
        }
        if let (FactKind::Machines, Outcome::Answered(machines)) = (kind, outcome) {
            self.machines = Some(*machines);
        }
        self.facts.push((Group::Core, kind, outcome.fact()));
        Some(Group::Core)
    }

    /// Adds a property list to the group that has them all and, if drivers need it at start-up or that
    /// group was not requested, to the core group.
    fn add_list(
        &mut self,
        request: &Request,
        outcome: &Outcome,
        group: Group,
        kind: FactKind,
    ) -> Result<Option<Group>, BuildError> {
        let typename = argument(request, "/typename")?;
        let mut belongs_to = None;
        if let Some(lists) =
            self.lists.get_mut(&(group, kind)).filter(|_| self.selection.group(group))
        {
            lists.insert(typename.clone(), outcome.value());
            belongs_to = Some(group);
        }
        let is_core = CORE_DEVICES.contains(&typename.as_str())
            || CORE_OBJECTS.contains(&typename.as_str())
            || typename.ends_with("-machine");
        if self.selection.core && self.selection.binary && (is_core || belongs_to.is_none()) {
            self.lists.entry((Group::Core, kind)).or_default().insert(typename, outcome.value());
            belongs_to = Some(Group::Core);
        }
        Ok(belongs_to)
    }

    /// Adds an expansion, which is about the CPU that a guest can have here, one of all models, or both.
    fn add_expansion(
        &mut self,
        request: &Request,
        outcome: &Outcome,
        about_host: bool,
    ) -> Result<Option<Group>, BuildError> {
        let has_props = arguments(request)?.pointer("/model/props").is_some();
        let mut belongs_to = None;
        if self.selection.group(Group::CpuModels) && !has_props {
            let (name, kind) = (argument(request, "/model/name")?, argument(request, "/type")?);
            self.cpu_models.entry(name).or_default().insert(kind, outcome.value());
            belongs_to = Some(Group::CpuModels);
        }
        if self.selection.core && about_host {
            belongs_to = Some(Group::Core);
            if !matches!(outcome, Outcome::Quarantined { .. }) {
                let arguments = self.parse(request.arguments.as_deref().unwrap_or("{}"))?;
                let answer = [("arguments", arguments), ("return", outcome.value())];
                let answer = self.model.pool.object(answer)?;
                self.host_cpu.push(answer);
            }
        }
        Ok(belongs_to)
    }
}

/// Records in `model` that the emulator has an accelerator but did not run under it: the requested answers,
/// the core group if `core` and the CPU models if they are among `groups`, are unknown and not *no*. The
/// last one of several reasons is kept.
pub fn note_failure(
    model: &mut Model,
    core: bool,
    groups: Groups,
    accelerator: Accelerator,
    reason: &str,
) {
    let requested = [
        (Group::Core, FactKind::Ran, core),
        (Group::CpuModels, FactKind::CpuModels, groups.contains(Group::CpuModels)),
    ];
    for (group, kind, _) in requested.into_iter().filter(|(.., is_requested)| *is_requested) {
        model.set(FactKey { group, accelerator, kind }, Fact::Refused);
        let source = Source::new(group, accelerator);
        model.report.passes.retain(|pass| pass.source != source || pass.failure.is_none());
        model.report.passes.push(PassReport {
            source,
            failure: Some(reason.to_owned()),
            ..PassReport::default()
        });
    }
}

/// The error of adding an answer to a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The answer is not JSON, or more than a model can hold, or the arguments of a recorded command are
    /// not JSON.
    #[error("it is not JSON that a model can hold")]
    Json(#[from] serde_json::Error),
    /// The answers of one pass hold far more than those of any QEMU.
    #[error("the answers hold more than {limit} values")]
    TooManyValues {
        /// The bound.
        limit: usize,
    },
    /// The arguments of a recorded command lack what QMP requires.
    #[error("{} lacks the argument {argument}", Escaped::new(command))]
    MissingArgument {
        /// The command.
        command: String,
        /// The argument, as a JSON pointer.
        argument: &'static str,
    },
    /// There are too many answers.
    #[error(transparent)]
    Model(#[from] ModelError),
}

fn arguments(request: &Request) -> Result<serde_json::Value, BuildError> {
    Ok(serde_json::from_str(request.arguments.as_deref().unwrap_or("{}"))?)
}

fn argument(request: &Request, pointer: &'static str) -> Result<String, BuildError> {
    let arguments = arguments(request)?;
    let text = arguments.pointer(pointer).and_then(serde_json::Value::as_str);
    text.map(str::to_owned).ok_or_else(|| BuildError::MissingArgument {
        command: request.execute.clone(),
        argument: pointer,
    })
}

/// Returns the fact that a command without arguments answers.
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

/// Returns whether a fact is the same under every accelerator.
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

/// Returns one report for each group, whose times add up to that of the pass: the first one has the
/// parts common to all of them: the start, the restarts and the output.
fn passes(
    selection: Selection,
    accelerator: Accelerator,
    pass: PassReport,
    commands: IndexMap<(Option<Group>, String), CommandReport>,
) -> Vec<PassReport> {
    let all = [Group::Core, Group::Devices, Group::Objects, Group::CpuModels];
    let mut groups = all.into_iter().filter(|group| selection.group(*group));
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
