use super::*;
use crate::session::fake::Fake;

#[test]
fn the_report_has_one_pass_for_each_group_with_its_own_commands() {
    let fake = Fake::qemu(
        r#"query-commands) answer '[{"name": "query-cpu-model-expansion"}, {"name": "query-cpu-definitions"}]';;
        query-cpu-definitions) answer '[{"name": "one"}]';;"#,
    );
    let groups = Groups::DEVICES | Groups::OBJECTS | Groups::CPU_MODELS;
    let options = Options { groups, ..Options::default() };
    let report = probe(&fake.path, &options).unwrap().model.report;
    let passes: Vec<_> = report
        .passes
        .iter()
        .map(|pass| (pass.source.group().unwrap().name(), pass.source.accelerator().unwrap()))
        .collect();
    let expected =
        ["core", "devices", "objects", "cpu-models"].map(|group| (group, Accelerator::Tcg));
    assert_eq!(passes, expected);
    let commands = |pass: &PassReport| {
        pass.commands.iter().map(|row| (row.execute.clone(), row.count)).collect::<Vec<_>>()
    };
    let rows = |row: &[(&str, u32)]| {
        row.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>()
    };
    assert_eq!(commands(&report.passes[1]), rows(&[("device-list-properties", 2)]));
    assert_eq!(commands(&report.passes[2]), rows(&[("qom-list-properties", 2)]));
    assert_eq!(commands(&report.passes[3]), rows(&[("query-cpu-model-expansion", 2)]));
    for pass in &report.passes[1..] {
        let of_commands: u64 = pass.commands.iter().map(|row| row.micros).sum();
        assert_eq!(pass.micros, of_commands);
    }
    assert!(report.passes[0].commands.iter().any(|row| row.execute == "qom-list-types"));
    assert!(report.passes[0].micros > 0);
}

#[test]
fn the_report_has_what_lost_emulators_wrote() {
    let fake = Fake::qemu("query-qmp-schema) echo 'cannot do that' >&2; exit 1;;");
    let report = probe(&fake.path, &Options::default()).unwrap().model.report;
    let lost = "cannot do that\n[it exited with status 1: cannot do that]\n";
    assert_eq!(report.passes[0].output_tail, lost.repeat(2));
    assert_eq!(report.passes[0].restarts, 2);
}
