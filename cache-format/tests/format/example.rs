//! Small models for the tests.

use capscache_format::{
    Accelerator, CommandReport, Entry, Evidence, Fact, FactKey, FactKind, Group, Handle, Input,
    Model, PassReport, Quarantine, Refusal, Report, Scope, Signature, Source, Value,
};

pub(crate) fn key(group: Group, accelerator: Accelerator, kind: FactKind) -> FactKey {
    FactKey { group, accelerator, kind }
}

pub(crate) fn intern(model: &mut Model, json: &str) -> Handle {
    model.pool.intern(&mut serde_json::Deserializer::from_str(json)).unwrap()
}

pub(crate) fn set(model: &mut Model, key: FactKey, json: &str) {
    let value = intern(model, json);
    model.set(key, Fact::Answered(value));
}

pub(crate) fn core(model: &mut Model, accelerator: Accelerator, kind: FactKind, json: &str) {
    set(model, key(Group::Core, accelerator, kind), json);
}

/// An entry with one fact.
pub(crate) fn entry_of(json: &str) -> Entry<Vec<u8>> {
    let mut model = Model::default();
    core(&mut model, Accelerator::Tcg, FactKind::Sgx, json);
    let entry = Entry::open(model.encode().unwrap()).unwrap();
    assert_eq!(entry.verify(), Ok(()));
    entry
}

/// The value in [`entry_of`].
pub(crate) fn answer_of<B: AsRef<[u8]>>(entry: &Entry<B>) -> Value<'_> {
    match entry.facts().get(key(Group::Core, Accelerator::Tcg, FactKind::Sgx)) {
        Some(Fact::Answered(value)) => value,
        other => panic!("not answered: {other:?}"),
    }
}

pub(crate) fn entry(model: &Model) -> Entry<Vec<u8>> {
    Entry::open(model.encode().unwrap()).unwrap()
}

/// A model with a value of every kind, the content of the golden file. A change here changes the
/// golden file, which represents every file that was written in this version of the format.
pub(crate) fn model() -> Model {
    use FactKind::{
        CommandLineOptions, CpuDefinitions, CpuModels, DeviceTypes, Devices, Gic, HostCpu,
        MachineAliases, Machines, MigrationCapabilities, ObjectTypes, Ran, Schema, Sev, Target,
        Types, Version,
    };
    let (tcg, kvm) = (Accelerator::Tcg, Accelerator::Kvm);
    let mut model = Model::default();
    let m = &mut model;
    core(m, tcg, Ran, "true");
    core(m, kvm, Ran, "true");
    core(m, tcg, Version, r#"{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian 1:7.2 "}"#);
    core(m, tcg, Target, r#"{"arch":"x86_64"}"#);
    core(m, tcg, Types, TYPES);
    core(m, tcg, DeviceTypes, r#"[{"name":"virtio-blk-pci","parent":"base"},{"name":"colo"}]"#);
    core(m, tcg, ObjectTypes, r#"[{"name":"pc-q35-7.2-machine"}]"#);
    core(m, tcg, Machines, r#"[{"name":"none","cpu-max":1},{"name":"pc-q35-7.2","alias":"q35"}]"#);
    core(m, tcg, MachineAliases, r#"{"q35":{"name":"pc-q35-7.2","alias":"q35"}}"#);
    core(m, kvm, Machines, r#"[{"hotpluggable-cpus":true,"name":"pc-q35-7.2","cpu-max":288}]"#);
    core(m, kvm, CpuDefinitions, CPU_DEFINITIONS);
    core(m, tcg, CpuDefinitions, r#"[{"name":"EPYC","static":false}]"#);
    core(m, kvm, HostCpu, HOST_CPU);
    core(m, tcg, CommandLineOptions, r#"[{"option":"spice","parameters":[]}]"#);
    core(m, tcg, MigrationCapabilities, r#"[{"state":false,"capability":"xbzrle"}]"#);
    core(m, tcg, Schema, SCHEMA);
    m.set(key(Group::Core, tcg, Gic), Fact::Refused);
    m.set(key(Group::Core, kvm, Sev), Fact::Quarantined);
    let devices = r#"{"virtio-blk-pci":[{"name":"queue-size","type":"uint16","default-value":256},
        {"name":"x","type":"double","default-value":-0.1}],"colo":false,"gone":null}"#;
    set(m, key(Group::Devices, tcg, Devices), devices);
    let expansions = r#"{"EPYC":{"static":{"model":{"name":"base"}},"full":false},
        "host":{"static":null}}"#;
    set(m, key(Group::CpuModels, kvm, CpuModels), expansions);
    model.inputs = inputs();
    model.report = report();
    model
}

const TYPES: &str = r#"[{"name":"virtio-blk-pci","parent":"base"},{"name":"colo","parent":"base"},
    {"name":"base","abstract":true},{"name":"pc-q35-7.2-machine"},{"name":"gone"},
    {"name":"tcg-accel"},{"name":"kvm-accel"},{"name":"virtio-blk-pci","parent":"twice"}]"#;

const CPU_DEFINITIONS: &str = r#"[{"name":"EPYC","typename":"EPYC-cpu","unavailable-features":[]},
    {"name":"Icelake","unavailable-features":["avx512","pku"]},{"name":"odd"}]"#;

const HOST_CPU: &str = r#"[{"arguments":{"type":"full"},"return":{"model":{"name":"host","props":
    {"a":true,"b":false,"c":true,"d":true,"e":true,"f":false,"g":true,"h":true,"i":true,"j":true,
    "tsc":18446744073709551615,"min":-9223372036854775808,"k":true,"l":false,"m":true}}}}]"#;

const SCHEMA: &str = r#"[
    {"name":"stop","meta-type":"command","arg-type":"0","ret-type":"0"},
    {"name":"STOP","meta-type":"event","arg-type":"0"},
    {"name":"0","meta-type":"object","members":[]},
    {"name":"blockdev-add","meta-type":"command","arg-type":"1","features":["f"]},
    {"name":"1","meta-type":"object","tag":"driver","members":[{"name":"driver","type":"2"}],
        "variants":[{"case":"file","type":"3"},{"case":"nvme","type":"0"}]},
    {"name":"2","meta-type":"enum","members":[{"name":"file"},{"name":"nvme"}],
        "values":["file","nvme"]},
    {"name":"3","meta-type":"object",
        "members":[{"name":"aio","type":"2","default":null},{"name":"more","type":"[1]"}]},
    {"name":"[1]","meta-type":"array","element-type":"1"},
    {"name":"int","meta-type":"builtin","json-type":"int"}]"#;

pub(crate) fn inputs() -> Vec<Input> {
    let signature =
        Signature { device: 1, inode: 2, size: 3, mtime: (-4, 5), ctime: (6, 999_999_999) };
    vec![
        Input {
            scope: Scope::Binary,
            name: b"/usr/bin/qemu-\xff".to_vec(),
            signature: None,
            sha256: None,
            racy: false,
            evidence: Evidence::Emulator,
        },
        Input {
            scope: Scope::Host,
            name: b"/usr/bin/qemu-system-x86_64".to_vec(),
            signature: Some(signature),
            sha256: Some([0xA5; 32]),
            racy: true,
            evidence: Evidence::Executable {
                environment: vec![("LD_LIBRARY_PATH".into(), "/lib".into())],
            },
        },
    ]
}

pub(crate) fn report() -> Report {
    let source = Source::new(Group::Core, Accelerator::Tcg);
    let commands = vec![CommandReport { execute: "query-version".into(), count: 1, micros: 250 }];
    Report {
        passes: vec![PassReport { source, micros: 70_000, commands, ..PassReport::default() }],
        refused: vec![Refusal {
            source,
            command: "query-gic-capabilities".into(),
            arguments: None,
            class: "GenericError".into(),
            desc: "not here".into(),
        }],
        quarantined: vec![Quarantine {
            source: Source::new(Group::Devices, Accelerator::Tcg),
            command: "device-list-properties".into(),
            arguments: Some(r#"{"typename":"colo"}"#.into()),
            reason: "killed by signal 6".into(),
        }],
    }
}
