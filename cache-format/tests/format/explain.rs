//! Reasons for the results of queries.

use capscache_format::{
    Accelerator, DeviceNode, Evidence, Fact, FactKind, Group, Handle, Incomplete, Input, KvmState,
    Model, PassReport, Quarantine, Query, Refusal, Scope, Source, Tri,
};

use crate::example::{core, entry, key};

const TCG: Accelerator = Accelerator::Tcg;
const KVM: Accelerator = Accelerator::Kvm;

fn input(evidence: Evidence) -> Input {
    Input {
        scope: Scope::Host,
        name: b"/dev/kvm".to_vec(),
        signature: None,
        sha256: None,
        racy: false,
        evidence,
    }
}

/// KVM as `uid` found it: group, mode and number of its node.
fn kvm(node: Option<(u32, u32, u64)>, uid: u32, opens: bool) -> Evidence {
    let node = node.map(|(gid, mode, device)| DeviceNode { uid: 0, gid, mode, device });
    let (parameters, further) = (Vec::new(), Vec::new());
    Evidence::Kvm(KvmState { node, uid, opens, parameters, further, driver: None, failed_at: None })
}

const NODE: Option<(u32, u32, u64)> = Some((107, 0o660, 0xae8));

/// An emulator under TCG, into which KVM is built.
fn model() -> Model {
    let mut model = Model::default();
    let m = &mut model;
    core(m, TCG, FactKind::Ran, "true");
    core(m, TCG, FactKind::Target, r#"{"arch":"x86_64"}"#);
    core(m, TCG, FactKind::Version, r#"{"qemu":{"micro":22,"minor":2,"major":7},"package":""}"#);
    core(m, TCG, FactKind::Types, r#"[{"name":"kvm-accel"},{"name":"tcg-accel"},{"name":"disk"}]"#);
    core(m, TCG, FactKind::DeviceTypes, r#"[{"name":"disk"},{"name":"killer"}]"#);
    core(
        m,
        TCG,
        FactKind::Machines,
        r#"[{"name":"pc-1.4","deprecated":true},{"name":"pc-7.2","alias":"pc","deprecated":false},{"name":"old"}]"#,
    );
    core(
        m,
        TCG,
        FactKind::CpuDefinitions,
        r#"[{"name":"EPYC","unavailable-features":[]},{"name":"Icelake","unavailable-features":["pku","la57"]},
            {"name":"silent"}]"#,
    );
    model
}

/// Adds a KVM under which the emulator did not run.
fn failed_kvm(model: &mut Model, failure: &str, kvm: Evidence) {
    model.set(key(Group::Core, KVM, FactKind::Ran), Fact::Refused);
    model.report.passes.push(PassReport {
        source: Source::new(Group::Core, KVM),
        failure: Some(failure.into()),
        ..PassReport::default()
    });
    model.inputs.push(input(kvm));
}

#[track_caller]
fn check(model: &Model, query: &str, answer: Tri, reason: &str) {
    let (entry, query) = (entry(model), query.parse::<Query>().unwrap());
    assert_eq!(entry.answer(&query), answer, "{query}");
    let explained = entry.explain(&query);
    assert!(explained.contains(reason), "{query}: {explained}");
}

use Tri::{No, Unknown, Yes};

#[test]
fn kvm_that_could_not_be_opened_is_reported_with_the_user_and_the_owner_of_the_node() {
    let mut model = model();
    failed_kvm(
        &mut model,
        "/dev/kvm cannot be opened by the user who probed",
        kvm(NODE, 54321, false),
    );
    let reason = "the emulator did not run under kvm: /dev/kvm could not be opened by user 54321, the prober \
                  (it belongs to 0:107, mode 660: group 107";
    check(&model, "cpu:EPYC@kvm", Unknown, reason);
    check(&model, "cpu:Icelake", Unknown, reason);
    check(&model, "cpu:none-such", Unknown, reason);
    assert!(entry(&model).missing()[0].starts_with(reason));
    assert!(entry(&model).explain_accelerator(KVM).unwrap().starts_with(reason));
    assert_eq!(entry(&model).explain_accelerator(TCG), None);
}

#[test]
fn kvm_that_failed_is_reported_with_the_output_of_the_emulator_and_the_kind_of_node() {
    let mut busy = model();
    failed_kvm(
        &mut busy,
        "exited with status 1: ioctl(KVM_CREATE_VM) failed: 16",
        kvm(NODE, 0, true),
    );
    check(
        &busy,
        "cpu:EPYC@kvm",
        Unknown,
        "under kvm: exited with status 1: ioctl(KVM_CREATE_VM) failed: 16",
    );
    let mut file = model();
    failed_kvm(&mut file, "exited with status 1: ENOTTY", kvm(Some((0, 0o644, 0)), 0, true));
    let reason =
        "/dev/kvm is a file or directory here, not the device of KVM: exited with status 1: ENOTTY";
    check(&file, "cpu:EPYC@kvm", Unknown, reason);
    let mut other = model();
    failed_kvm(&mut other, "x", kvm(Some((0, 0o644, 0x103)), 0, true));
    check(&other, "cpu:EPYC@kvm", Unknown, "another device here (number 103, in hexadecimal)");
}

#[test]
fn a_failed_accelerator_turns_the_no_of_another_into_unknown_and_keeps_its_yes() {
    let mut model = model();
    check(&model, "cpu:Icelake", No, "under tcg it lacks pku, la57");
    check(&model, "cpu:EPYC", Yes, "it runs under tcg");
    check(&model, "cpu:none-such", No, "under tcg the emulator has no CPU model \"none-such\"");
    failed_kvm(&mut model, "busy", kvm(NODE, 0, true));
    check(&model, "cpu:Icelake", Unknown, "under kvm: busy; under tcg it lacks pku, la57");
    check(&model, "cpu:EPYC", Yes, "under kvm: busy; it runs under tcg");
    check(&model, "cpu:Icelake@tcg", No, "under tcg it lacks pku, la57");
    check(&model, "cpu:silent", Unknown, "QEMU has the model and does not report whether it runs");
}

#[test]
fn an_absent_accelerator_is_reported_with_the_reason() {
    let mut model = model();
    check(&model, "cpu:EPYC@hvf", No, "cannot run under hvf, which is not built in");
    check(&model, "cpu:EPYC@kvm", No, "this host's KVM does not run x86_64");
    model.inputs.push(input(kvm(None, 0, false)));
    check(&model, "cpu:EPYC@kvm", No, "there is no /dev/kvm here");
    assert_eq!(entry(&model).missing(), [""; 0], "a feature that the host lacks is not missing");
}

#[test]
fn a_refusal_is_reported_with_the_error_of_qemu_and_a_crash_with_its_signal() {
    let mut model = model();
    let (group, source) = (Group::Devices, Source::new(Group::Devices, TCG));
    check(&model, "property:disk.size", Unknown, "the group devices was not probed yet");
    crate::example::set(
        &mut model,
        key(group, TCG, FactKind::Devices),
        r#"{"disk":null,"killer":false}"#,
    );
    core(&mut model, TCG, FactKind::Types, r#"[{"name":"disk"},{"name":"killer"}]"#);
    let arguments = |name: &str| Some(format!(r#"{{"typename":"{name}"}}"#));
    model.report.refused.push(Refusal {
        source,
        command: "device-list-properties".into(),
        arguments: arguments("disk"),
        class: "GenericError".into(),
        desc: "Can't list properties of device 'disk'".into(),
    });
    model.report.quarantined.push(Quarantine {
        source,
        command: "device-list-properties".into(),
        arguments: arguments("killer"),
        reason: "was killed by signal 6 (SIGABRT): missing object type".into(),
    });
    let reason =
        "QEMU refuses device-list-properties of disk: Can't list properties of device 'disk'";
    check(&model, "property:disk.size", Unknown, reason);
    let reason = "after device-list-properties of killer, the emulator was killed by signal 6 (SIGABRT): missing";
    check(&model, "property:killer.size", Unknown, reason);
    model.set(key(Group::Core, TCG, FactKind::Schema), Fact::Refused);
    model.report.refused.push(Refusal {
        source: Source::new(Group::Core, TCG),
        command: "query-qmp-schema".into(),
        arguments: None,
        class: "CommandNotFound".into(),
        desc: "The command query-qmp-schema has not been found".into(),
    });
    check(
        &model,
        "event:STOP",
        Unknown,
        "QEMU refuses query-qmp-schema: The command query-qmp-schema has",
    );
    check(&model, "schema:stop", Unknown, "QEMU refuses query-qmp-schema");
}

#[test]
fn a_resource_that_the_prober_lacked_is_reported_with_each_unknown_result() {
    let mut model = model();
    let incomplete = Incomplete {
        at: 1,
        context: "context".into(),
        reason: "modules could not be read: Permission denied".into(),
        unopened: Vec::new(),
    };
    model.inputs.push(input(Evidence::Incomplete(incomplete)));
    model.set(key(Group::Core, TCG, FactKind::Schema), Fact::Refused);
    let reason = "the answers are incomplete: modules could not be read: Permission denied";
    check(&model, "event:STOP", Unknown, reason);
    assert_eq!(entry(&model).missing(), [reason]);
}

#[test]
fn versions_deprecation_and_the_gic_are_explained_with_their_values() {
    let mut model = model();
    check(&model, "version:>=7.2", Yes, "the version is 7.2.22");
    check(&model, "version:>=8.2", No, "the version is 7.2.22");
    check(&model, "machine-deprecated:pc-1.4", Yes, "QEMU marks pc-1.4 as deprecated");
    check(&model, "machine-deprecated:pc-7.2", No, "QEMU does not mark pc-7.2 as deprecated");
    check(&model, "machine-deprecated:none-such", No, "the emulator has no machine \"none-such\"");
    check(
        &model,
        "machine-deprecated:old",
        Unknown,
        "QEMU does not report which machines are deprecated",
    );
    check(&model, "gic:3", No, "guests of x86_64 have no GIC");
    core(&mut model, TCG, FactKind::Target, r#"{"arch":"aarch64"}"#);
    check(
        &model,
        "gic:3",
        Unknown,
        "the emulator was not queried with query-gic-capabilities, or does not have it",
    );
    let versions = r#"[{"emulated":true,"version":3,"kernel":false},{"emulated":false,"version":4,"kernel":false}]"#;
    core(&mut model, TCG, FactKind::Gic, versions);
    check(&model, "gic:3", Yes, "under tcg 3");
    check(&model, "gic:4", No, "under tcg 3");
    failed_kvm(&mut model, "busy", kvm(NODE, 0, true));
    check(&model, "gic:4", Unknown, "did not run under kvm: busy");
}

#[test]
fn every_result_of_a_damaged_or_empty_entry_has_a_reason() {
    let mut nothing = Model::default();
    let ran = key(Group::Core, TCG, FactKind::Ran);
    for ran_under in [None, Some(Fact::Answered(Handle::bool(true))), Some(Fact::Refused)] {
        if let Some(fact) = ran_under {
            nothing.set(ran, fact);
        }
        for query in [
            "machine:pc",
            "machine-deprecated:pc",
            "cpu:EPYC",
            "cpu:EPYC@kvm",
            "cpu-model:EPYC",
            "device:disk",
            "property:disk.size",
            "type:disk",
            "command:stop",
            "event:STOP",
            "option:spice",
            "schema:stop",
            "version:8",
            "gic:3",
        ] {
            let query: Query = query.parse().unwrap();
            let entry = entry(&nothing);
            assert!(entry.answer(&query).is_no() || !entry.explain(&query).is_empty(), "{query}");
        }
    }
}
