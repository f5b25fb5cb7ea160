//! Queries in text form: yes, no, unknown.

use capscache_format::{
    Accelerator, Entry, Fact, FactKind, Group, Groups, Machine, Model, NameList, Query, Tri,
    Unanswered, Value,
};

use crate::example::{self, core, key, set};

const TCG: Accelerator = Accelerator::Tcg;
const KVM: Accelerator = Accelerator::Kvm;

/// The core group under TCG.
fn without_kvm() -> Model {
    let mut model = Model::default();
    let m = &mut model;
    core(m, TCG, FactKind::Ran, "true");
    core(
        m,
        TCG,
        FactKind::Types,
        r#"[{"name":"disk"},{"name":"disk.v2"},{"name":"killer"},{"name":"shy"},{"name":"new"},
            {"name":"pc-7.2-machine"},{"name":"rng"},{"name":"base","abstract":true}]"#,
    );
    core(
        m,
        TCG,
        FactKind::DeviceTypes,
        r#"[{"name":"disk"},{"name":"disk.v2"},{"name":"killer"},{"name":"shy"},{"name":"new"}]"#,
    );
    core(m, TCG, FactKind::ObjectTypes, r#"[{"name":"rng"}]"#);
    core(m, TCG, FactKind::Machines, r#"[{"name":"pc-7.2","alias":"pc"},{"name":"none"}]"#);
    core(m, TCG, FactKind::MachineAliases, r#"{"pc":{"name":"pc-7.2","alias":"pc"}}"#);
    core(
        m,
        TCG,
        FactKind::CpuDefinitions,
        r#"[{"name":"EPYC","unavailable-features":[]},
        {"name":"Icelake","unavailable-features":["pku"]},{"name":"silent"}]"#,
    );
    core(m, TCG, FactKind::CommandLineOptions, r#"[{"option":"spice","parameters":[]}]"#);
    core(
        m,
        TCG,
        FactKind::Schema,
        r#"[{"name":"stop","meta-type":"command","arg-type":"0"},
        {"name":"STOP","meta-type":"event","arg-type":"0"},
        {"name":"0","meta-type":"object","members":[]}]"#,
    );
    core(m, TCG, FactKind::Objects, r#"{"pc-7.2-machine":[{"name":"smm"}],"none-machine":null}"#);
    model
}

fn full() -> Model {
    let mut model = without_kvm();
    let devices = r#"{"disk":[{"name":"size"},{"name":"v2.size"}],"disk.v2":[{"name":"speed"}],
        "killer":false,"shy":null}"#;
    set(&mut model, key(Group::Devices, TCG, FactKind::Devices), devices);
    let objects = r#"{"rng":[{"name":"rate"}]}"#;
    set(&mut model, key(Group::Objects, TCG, FactKind::Objects), objects);
    core(&mut model, KVM, FactKind::Ran, "true");
    core(&mut model, KVM, FactKind::Machines, r#"[{"name":"pc-7.2"}]"#);
    core(
        &mut model,
        KVM,
        FactKind::CpuDefinitions,
        r#"[{"name":"EPYC","unavailable-features":["x"]},
        {"name":"kvm-only","unavailable-features":[]}]"#,
    );
    model
}

fn check(model: &Model, table: &[(&str, Tri)]) {
    let entry = example::entry(model);
    for &(text, expected) in table {
        let query: Query = text.parse().unwrap();
        assert_eq!(entry.answer(&query), expected, "{text}");
    }
}

use Tri::{No, Unknown, Yes};

#[test]
fn each_kind_of_query_answers_yes_no_and_unknown() {
    check(
        &full(),
        &[
            ("machine:pc-7.2", Yes),
            ("machine:none", No), // KVM is the best accelerator, and has no such machine.
            ("machine:pc", No),
            ("cpu:EPYC", No),
            ("cpu:EPYC@kvm", No),
            ("cpu:EPYC@tcg", Yes),
            ("cpu:Icelake@tcg", No),
            ("cpu:Icelake@kvm", No),
            ("cpu:silent@tcg", Unknown),
            ("cpu:kvm-only", Yes),
            ("cpu:kvm-only@tcg", No),
            ("cpu:EPYC@hvf", No),
            ("cpu-model:EPYC", Yes),
            ("cpu-model:silent", Yes),
            ("cpu-model:kvm-only", Yes),
            ("cpu-model:Skylake", No),
            ("device:disk", Yes),
            ("device:killer", Yes),
            ("device:rng", No),
            ("device:base", No),
            ("device:missing", No),
            ("type:rng", Yes),
            ("type:base", Yes),
            ("type:missing", No),
            ("command:stop", Yes),
            ("command:STOP", No),
            ("event:STOP", Yes),
            ("event:stop", No),
            ("option:spice", Yes),
            ("option:vnc", No),
            ("schema:stop/arg-type", Yes),
            ("schema:stop/ret-type", No),
        ],
    );
}

#[test]
fn a_property_is_found_at_any_dot_that_ends_a_type_name() {
    check(
        &full(),
        &[
            ("property:disk.size", Yes),
            ("property:disk.speed", No),
            ("property:disk.v2.size", Yes), // of disk, for disk.v2 has none
            ("property:disk.v2.speed", Yes),
            ("property:disk.v2.colour", No),
            ("property:pc-7.2-machine.smm", Yes),
            ("property:pc-7.2-machine.acpi", No),
            ("property:rng.rate", Yes),
            ("property:rng.size", No),
            ("property:missing.size", No),
            ("property:killer.size", Unknown),
            ("property:shy.size", Unknown),
            ("property:new.size", Unknown), // a device that was not queried
            ("property:disk.", No),
            ("property:.size", No),
        ],
    );
}

#[test]
fn an_entry_without_kvm_has_no_cpu_that_runs_under_kvm() {
    check(
        &without_kvm(),
        &[
            ("cpu:EPYC@kvm", No),
            ("cpu:EPYC", Yes),
            ("machine:pc", Yes),
            ("machine:pc-7.2", Yes),
            ("cpu:EPYC@tcg", Yes),
        ],
    );
}

#[test]
fn a_cpu_under_kvm_that_failed_is_unknown() {
    let mut model = without_kvm();
    model.set(key(Group::Core, KVM, FactKind::Ran), Fact::Refused);
    check(&model, &[("cpu:EPYC@kvm", Unknown), ("cpu:EPYC", Yes), ("machine:pc", Yes)]);
}

#[test]
fn a_refused_quarantined_or_missing_fact_is_unknown() {
    let queries = [
        "machine:pc",
        "cpu:EPYC",
        "cpu-model:EPYC",
        "device:disk",
        "property:disk.size",
        "type:disk",
        "command:stop",
        "event:STOP",
        "option:spice",
        "schema:stop",
    ];
    let unknown = queries.map(|query| (query, Unknown));
    let mut model = Model::default();
    core(&mut model, TCG, FactKind::Ran, "true");
    check(&model, &unknown);
    for fact in [Fact::Refused, Fact::Quarantined] {
        for &kind in FactKind::ALL {
            if kind != FactKind::Ran {
                model.set(key(Group::Core, TCG, kind), fact);
            }
        }
        check(&model, &unknown);
    }
}

#[test]
fn an_empty_entry_answers_no_query_with_yes() {
    let entry = Entry::open(Model::default().encode().unwrap()).unwrap();
    for text in ["cpu:EPYC@kvm", "machine:pc", "device:disk", "property:a.b", "schema:stop"] {
        assert_ne!(entry.answer(&text.parse().unwrap()), Yes, "{text}");
    }
}

#[test]
fn a_property_of_a_million_dots_costs_as_many_searches_as_one_of_sixteen() {
    let full = full();
    let entry = example::entry(&full);
    // A quadratic search would take minutes.
    let query = Query::Property(".".repeat(1_000_000));
    assert_eq!(entry.answer(&query), No);
    assert_eq!(entry.groups_for(&query), Groups::CORE);
    assert_eq!(entry.explain(&query), "the emulator has no such type");
}

/// A CPU type is a device, and drivers query its properties as those of an object at start-up.
fn with_cpu_type() -> Model {
    let mut model = without_kvm();
    let m = &mut model;
    core(m, TCG, FactKind::Types, r#"[{"name":"max-cpu"},{"name":"disk"}]"#);
    core(m, TCG, FactKind::DeviceTypes, r#"[{"name":"max-cpu"},{"name":"disk"}]"#);
    core(m, TCG, FactKind::Objects, r#"{"max-cpu":[{"name":"pmu"},{"name":"realized"}]}"#);
    model
}

#[test]
fn the_properties_of_a_device_that_was_queried_as_an_object_need_no_further_group() {
    let mut model = with_cpu_type();
    let queries = [("property:max-cpu.pmu", Yes), ("property:max-cpu.realized", Yes)];
    check(&model, &queries);
    check(&model, &[("property:max-cpu.size", No), ("property:disk.size", Unknown)]);
    let entry = example::entry(&model);
    let names = |entry: &Entry<Vec<u8>>, of: &str| {
        let list = entry.properties(of)?;
        Ok(list.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(&entry, "max-cpu"), Ok(vec!["pmu".to_owned(), "realized".to_owned()]));
    let not_probed =
        Unanswered::NotProbed { what: "device", name: "disk".to_owned(), group: Group::Devices };
    assert_eq!(names(&entry, "disk"), Err(not_probed));
    let absent = Unanswered::Absent { what: "object", name: "missing".to_owned() };
    assert_eq!(names(&entry, "missing"), Err(absent));

    // As devices they have defaults, and not all names: none is lost.
    let devices = r#"{"max-cpu":[{"name":"pmu","default-value":true}]}"#;
    set(&mut model, key(Group::Devices, TCG, FactKind::Devices), devices);
    check(&model, &queries);
    let entry = example::entry(&model);
    assert_eq!(names(&entry, "max-cpu"), Ok(vec!["pmu".to_owned()]));
    let default = entry.property("max-cpu", "pmu").unwrap().default_value();
    assert_eq!(default.and_then(Value::as_bool), Some(true));
    assert_eq!(entry.property("max-cpu", "realized").unwrap().name(), "realized");
    let absent = Unanswered::Absent { what: "property", name: "size".to_owned() };
    assert_eq!(entry.property("max-cpu", "size").unwrap_err(), absent);
}

#[test]
fn the_names_of_a_list_are_those_that_qemu_reports_or_the_reason_is_returned() {
    let model = with_cpu_type();
    let entry = example::entry(&model);
    for (list, names) in [
        (NameList::Machines(TCG), vec!["pc-7.2", "none"]),
        (NameList::CpuModels(TCG), vec!["EPYC", "Icelake", "silent"]),
        (NameList::Types, vec!["max-cpu", "disk"]),
        (NameList::Devices, vec!["max-cpu", "disk"]),
        (NameList::Objects, vec!["rng"]),
        (NameList::Commands, vec!["stop"]),
        (NameList::Events, vec!["STOP"]),
        (NameList::AcceleratorsPresent, vec![]),
        (NameList::Properties("max-cpu".to_owned()), vec!["pmu", "realized"]),
    ] {
        assert_eq!(entry.names(&list), Ok(names), "{list:?}");
    }
    let absent = Unanswered::Absent { what: "accelerator", name: "kvm".to_owned() };
    assert_eq!(entry.names(&NameList::Machines(KVM)), Err(absent));
    let entry = example::entry(&Model::default());
    for (list, name) in [
        (NameList::Types, "types"),
        (NameList::Commands, "schema"),
        (NameList::Events, "schema"),
        (NameList::AcceleratorsPresent, "types"),
    ] {
        let missing = Unanswered::NotQueried { what: "answer", name: name.to_owned() };
        assert_eq!(entry.names(&list), Err(missing), "{list:?}");
    }
}

#[test]
fn a_list_that_was_not_reported_under_an_accelerator_is_unknown_and_not_empty() {
    let mut model = Model::default();
    set(&mut model, key(Group::Core, TCG, FactKind::Ran), "true");
    let refused = key(Group::Core, TCG, FactKind::CpuDefinitions);
    model.set(refused, Fact::Refused);
    let entry = example::entry(&model);
    let missing = Unanswered::NotQueried { what: "answer", name: "machines".to_owned() };
    assert_eq!(entry.names(&NameList::Machines(TCG)), Err(missing));
    let missing = Unanswered::Refused { what: "answer", name: "cpu-definitions".to_owned() };
    assert_eq!(entry.names(&NameList::CpuModels(TCG)), Err(missing));
    let missing = Unanswered::NotQueried { what: "machine", name: "default".to_owned() };
    let under = entry.accelerator(TCG).unwrap();
    assert_eq!(under.default_machine().map(Machine::name), Err(missing));

    set(&mut model, key(Group::Core, TCG, FactKind::Machines), "[]");
    let entry = example::entry(&model);
    assert_eq!(entry.names(&NameList::Machines(TCG)), Ok(vec![]));
    let absent = Unanswered::Absent { what: "machine", name: "default".to_owned() };
    let under = entry.accelerator(TCG).unwrap();
    assert_eq!(under.default_machine().map(Machine::name), Err(absent));
}

#[test]
fn a_query_reports_the_groups_that_it_still_needs() {
    let groups = |model: &Model, text: &str| {
        example::entry(model).groups_for(&text.parse::<Query>().unwrap())
    };
    let core = without_kvm();
    assert_eq!(groups(&core, "property:disk.size"), Groups::DEVICES);
    assert_eq!(groups(&core, "property:rng.rate"), Groups::OBJECTS);
    assert_eq!(groups(&core, "property:disk.v2.size"), Groups::DEVICES);
    assert_eq!(groups(&core, "property:missing.size"), Groups::CORE);
    assert_eq!(groups(&core, "property:pc-7.2-machine.smm"), Groups::CORE, "core has it");
    assert_eq!(groups(&core, "device:disk"), Groups::CORE);
    assert_eq!(groups(&core, "schema:stop"), Groups::CORE);
    let full = full();
    for text in ["property:disk.size", "property:rng.rate", "property:new.size", "property:x.y"] {
        assert_eq!(groups(&full, text), Groups::CORE, "{text}");
    }
}
