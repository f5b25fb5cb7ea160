//! Twenty queries of drivers, for every form of the capabilities.

use std::collections::HashMap;

use capscache::{Accelerator, Capabilities, Tri};
use capscache_libvirt::{AcceleratorCaps, CpuValue, Emulator, HostCpuView, QemuCaps, find_live};

use super::LIBVIRT;

/// One query.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// The state of this flag of libvirt.
    Flag(&'static str),
    /// The machine with this name or alias, and its largest number of CPUs.
    Machine(Accelerator, &'static str),
    /// The usability of this CPU model on this host, and its blockers.
    Cpu(Accelerator, String),
    /// The value of this property of the host's CPU.
    HostCpu(Accelerator, String),
}

/// The answer to a query, in the same form on all sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Flag(bool),
    Machine(Option<(String, u64)>),
    Cpu(Option<(Option<bool>, Vec<String>)>),
    HostCpu(Option<String>),
}

/// Twenty queries that apply to this emulator.
pub(crate) fn questions(caps: &QemuCaps) -> Vec<Question> {
    let mut questions: Vec<Question> = [
        "kvm",
        "VGA",
        "virtio-gpu.blob",
        "virtio-blk.queue-size",
        "aio.io_uring",
        "sev-guest",
        "s390-sclp",
        "screenshot-format-png",
    ]
    .into_iter()
    .filter(|name| capscache_libvirt::find_live(name, LIBVIRT).is_ok())
    .map(Question::Flag)
    .collect();
    let first = if caps.kvm.machines.is_empty() { Accelerator::Tcg } else { Accelerator::Kvm };
    let answers = of(caps, first);
    for name in ["q35", "pc", "virt", "none-such"] {
        questions.push(Question::Machine(first, name));
    }
    // One from each part of the list, with its blockers.
    let cpus = &answers.cpus;
    for part in 0..4 {
        if let Some(cpu) = cpus.get(cpus.len() * part / 4) {
            questions.push(Question::Cpu(first, cpu.name.clone()));
        }
    }
    let host_cpu = answers.host_cpu.iter().flat_map(|cpu| &cpu.properties);
    let names: Vec<&String> = host_cpu.map(|property| &property.name).collect();
    for part in 0.. {
        if questions.len() >= 20 || names.is_empty() {
            break;
        }
        questions.push(Question::HostCpu(first, names[part * 37 % names.len()].clone()));
    }
    questions.truncate(20);
    questions
}

/// A form of the capabilities that answers queries.
pub(crate) trait Answers {
    fn answer_all(&self, questions: &[Question]) -> Vec<Answer>;
}

fn of(caps: &QemuCaps, accelerator: Accelerator) -> &AcceleratorCaps {
    match accelerator {
        Accelerator::Kvm => &caps.kvm,
        Accelerator::Hvf => &caps.hvf,
        _ => &caps.tcg,
    }
}

fn text(value: &CpuValue) -> String {
    match value {
        CpuValue::Boolean(on) => on.to_string(),
        CpuValue::String(text) => text.clone(),
        CpuValue::Number(number) => number.to_string(),
    }
}

impl Answers for QemuCaps {
    fn answer_all(&self, questions: &[Question]) -> Vec<Answer> {
        questions.iter().map(|question| answer_owned(self, question)).collect()
    }
}

fn answer_owned(caps: &QemuCaps, question: &Question) -> Answer {
    match question {
        Question::Flag(name) => Answer::Flag(caps.flags.get(name) == Some(true)),
        Question::Machine(accelerator, name) => {
            let machines = &of(caps, *accelerator).machines;
            let by_name = machines.iter().find(|machine| machine.name == *name);
            let found = by_name
                .or_else(|| machines.iter().find(|machine| machine.alias.as_deref() == Some(name)));
            Answer::Machine(found.map(|found| (found.name.clone(), found.max_cpus.into())))
        }
        Question::Cpu(accelerator, name) => {
            let cpu = of(caps, *accelerator).cpus.iter().find(|cpu| cpu.name == *name);
            Answer::Cpu(cpu.map(|cpu| (cpu.usable, cpu.blockers.clone())))
        }
        Question::HostCpu(accelerator, name) => {
            let properties = of(caps, *accelerator).host_cpu.iter().flat_map(|c| &c.properties);
            let mut named = properties.filter(|property| property.name == *name);
            Answer::HostCpu(named.next().map(|property| text(&property.value)))
        }
    }
}

impl Answers for Capabilities {
    fn answer_all(&self, questions: &[Question]) -> Vec<Answer> {
        let emulator = Emulator::of(self, LIBVIRT);
        let mut host_cpus = HashMap::new();
        let answer = |question| answer_mapped(self, &emulator, &mut host_cpus, question);
        questions.iter().map(answer).collect()
    }
}

fn answer_mapped<'a>(
    caps: &'a Capabilities,
    emulator: &Emulator<'a>,
    host_cpus: &mut HashMap<Accelerator, Option<HostCpuView<'a>>>,
    question: &Question,
) -> Answer {
    match question {
        Question::Flag(name) => {
            Answer::Flag(find_live(name, LIBVIRT).is_ok_and(|flag| emulator.has(flag).is_yes()))
        }
        Question::Machine(accelerator, name) => Answer::Machine(
            caps.accelerator(*accelerator)
                .and_then(|answers| answers.machine(name))
                .map(|machine| (machine.name().to_owned(), machine.max_cpus().unwrap_or_default()))
                .ok(),
        ),
        Question::Cpu(accelerator, name) => Answer::Cpu(
            caps.accelerator(*accelerator)
                .and_then(|answers| answers.cpu_model(name))
                .map(|model| {
                    let usable = match model.usable() {
                        Tri::Yes => Some(true),
                        Tri::No => Some(false),
                        Tri::Unknown => None,
                    };
                    let blockers = model.unavailable_features().into_iter().flatten();
                    (usable, blockers.map(str::to_owned).collect())
                })
                .ok(),
        ),
        Question::HostCpu(accelerator, name) => {
            let view =
                host_cpus.entry(*accelerator).or_insert_with(|| emulator.host_cpu(*accelerator));
            let property = view.and_then(|view| view.property(name));
            Answer::HostCpu(property.map(|property| text(&property.value)))
        }
    }
}
