//! Updates of an entry by whole groups and accelerators.

use capscache_format::{
    Accelerator, Entry, Fact, FactKind, Group, Model, PassReport, Refusal, Report, Source,
};

use crate::example::{self, core, key, set};

const TCG: Accelerator = Accelerator::Tcg;
const KVM: Accelerator = Accelerator::Kvm;

fn report(group: Group, accelerator: Accelerator, micros: u64) -> Report {
    let source = Source::new(group, accelerator);
    Report {
        passes: vec![PassReport { source, micros, ..PassReport::default() }],
        refused: vec![Refusal {
            source,
            command: "query-sev-capabilities".into(),
            arguments: None,
            class: "GenericError".into(),
            desc: format!("after {micros}"),
        }],
        quarantined: Vec::new(),
    }
}

fn old() -> Model {
    let mut model = Model::default();
    core(&mut model, TCG, FactKind::Ran, "true");
    core(&mut model, TCG, FactKind::Types, r#"[{"name":"a","n":[1,2]},{"name":"b"}]"#);
    core(&mut model, KVM, FactKind::Ran, "true");
    core(&mut model, KVM, FactKind::Machines, r#"[{"name":"old"}]"#);
    model.set(key(Group::Core, KVM, FactKind::Sgx), Fact::Refused);
    set(&mut model, key(Group::CpuModels, KVM, FactKind::CpuModels), r#"{"x":{"full":null}}"#);
    model.report.append(report(Group::Core, TCG, 1));
    model.report.append(report(Group::Core, KVM, 2));
    model.inputs = vec![example::inputs().remove(0)];
    model
}

fn newer() -> Model {
    let mut model = Model::default();
    core(&mut model, KVM, FactKind::Ran, "true");
    core(&mut model, KVM, FactKind::Machines, r#"[{"name":"new","n":[1,2]}]"#);
    model.set(key(Group::Core, KVM, FactKind::Sev), Fact::Quarantined);
    set(
        &mut model,
        key(Group::Devices, TCG, FactKind::Devices),
        r#"{"a":[{"name":"p"}],"b":false}"#,
    );
    model.report.append(report(Group::Core, KVM, 3));
    model.report.append(report(Group::Devices, TCG, 4));
    model.inputs = example::inputs();
    model
}

/// The merge of `old` and `newer`, built from scratch.
fn expected() -> Model {
    let mut model = Model::default();
    core(&mut model, TCG, FactKind::Ran, "true");
    core(&mut model, TCG, FactKind::Types, r#"[{"name":"a","n":[1,2]},{"name":"b"}]"#);
    core(&mut model, KVM, FactKind::Ran, "true");
    core(&mut model, KVM, FactKind::Machines, r#"[{"name":"new","n":[1,2]}]"#);
    model.set(key(Group::Core, KVM, FactKind::Sev), Fact::Quarantined);
    set(&mut model, key(Group::CpuModels, KVM, FactKind::CpuModels), r#"{"x":{"full":null}}"#);
    set(
        &mut model,
        key(Group::Devices, TCG, FactKind::Devices),
        r#"{"a":[{"name":"p"}],"b":false}"#,
    );
    model.report.append(report(Group::Core, TCG, 1));
    model.report.append(report(Group::Core, KVM, 3));
    model.report.append(report(Group::Devices, TCG, 4));
    model.inputs = example::inputs();
    model
}

#[test]
fn replacing_takes_newer_facts_and_keeps_the_rest() {
    let mut model = old();
    model.replace(&newer()).unwrap();
    let get = |kind| model.get(key(Group::Core, KVM, kind));
    assert_eq!(get(FactKind::Sgx), None, "it belongs to a group that was probed again");
    assert_eq!(get(FactKind::Sev), Some(Fact::Quarantined));
    assert_eq!(model.report, expected().report);
    assert_eq!(model.inputs, example::inputs());
    let entry = example::entry(&model);
    assert_eq!(entry.accelerator(KVM).unwrap().machines().next().unwrap().name(), "new");
    assert_eq!(entry.types().map(capscache_format::Type::name).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn an_updated_file_equals_one_built_from_scratch() {
    let mut in_memory = old();
    in_memory.replace(&newer()).unwrap();
    let mut from_file = Entry::open(old().encode().unwrap()).unwrap().to_model().unwrap();
    from_file.replace(&newer()).unwrap();
    let expected = expected().encode().unwrap();
    assert!(in_memory.encode().unwrap() == expected);
    assert!(from_file.encode().unwrap() == expected);
}

#[test]
fn repeated_replacing_does_not_make_a_file_grow() {
    let mut model = old();
    model.replace(&newer()).unwrap();
    let once = model.encode().unwrap();
    for _ in 0..10 {
        model = Entry::open(model.encode().unwrap()).unwrap().to_model().unwrap();
        model.replace(&newer()).unwrap();
    }
    assert!(model.encode().unwrap() == once);
}

#[test]
fn failed_passes_without_facts_do_not_accumulate_in_the_report() {
    let mut failed = Model::default();
    let source = Source::new(Group::Core, KVM);
    let failure = Some("no memory".to_owned());
    failed.report.passes.push(PassReport { source, failure, ..PassReport::default() });
    let mut model = old();
    for _ in 0..3 {
        model.replace(&failed).unwrap();
    }
    let failures = model.report.passes.iter().filter(|pass| pass.failure.is_some()).count();
    assert_eq!(failures, 1);
    assert_eq!(model.report.passes.len(), 3, "passes with facts are kept");
    assert_eq!(model.report.refused.len(), 2);
}
