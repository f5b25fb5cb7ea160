//! The golden file, which every later release must read.

use std::path::Path;

use capscache_format::layout::tag;
use capscache_format::{
    Accelerator, Entry, Expansion, Fact, FactKind, FormatError, Group, Groups, InputKind, InputRef,
    Tri, Unanswered, Version,
};

use crate::{example, file};

pub(crate) const GOLDEN: &[u8] = include_bytes!("../../../fixtures/golden/v2.caps");

#[test]
fn the_golden_file_is_the_encoding_of_its_model() {
    let encoded = example::model().encode().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/v2.caps");
        std::fs::write(path, &encoded).unwrap();
        return;
    }
    assert!(encoded == GOLDEN, "encode writes a file that differs from version 2");
    assert!(GOLDEN.len() < 4096, "{} bytes", GOLDEN.len());
}

#[test]
fn the_golden_file_is_sound_and_has_every_kind_of_value() {
    let entry = Entry::open(GOLDEN).unwrap();
    assert_eq!(entry.verify(), Ok(()));
    let pool = file::sections(GOLDEN).into_iter().find(|one| one.tag == tag::POOL).unwrap();
    let tags = |bytes: &[u8]| usize::from(bytes[3] >> 4);
    let mut seen = [false; 16];
    pool.bytes.chunks_exact(4).for_each(|word| seen[tags(word)] = true);
    for (key, fact) in entry.facts().iter() {
        assert!(key.kind != FactKind::Sgx, "{fact:?}");
    }
    // Null 0 to Packed 11; a List may stand in a record only, and `Types` is one.
    assert_eq!(seen[..12], [true; 12], "{seen:?}");
}

#[test]
fn the_golden_file_has_the_facts_of_its_model() {
    let entry = Entry::open(GOLDEN).unwrap();
    assert_eq!(entry.version(), Version { major: 7, minor: 2, micro: 22 });
    assert_eq!(entry.package(), "Debian 1:7.2 ");
    assert_eq!(entry.arch(), "x86_64");
    assert_eq!(
        entry.accelerators().collect::<Vec<_>>(),
        [Accelerator::Kvm, Accelerator::Tcg],
        "the best one first"
    );
    assert_eq!(entry.groups(), Groups::DEVICES);
    assert_eq!(entry.commands(), ["stop", "blockdev-add"]);
    assert_eq!(entry.accelerators_present(), ["tcg", "kvm"]);
    let kvm = entry.accelerator(Accelerator::Kvm).unwrap();
    assert_eq!(kvm.machine("pc-q35-7.2").unwrap().max_cpus(), Some(288));
    let tcg = entry.accelerator(Accelerator::Tcg).unwrap();
    assert_eq!(tcg.machine("q35").unwrap().name(), "pc-q35-7.2");
    assert_eq!(kvm.cpu_model("Icelake").unwrap().usable(), Tri::No);
    let device = entry.device("virtio-blk-pci").unwrap();
    let size = device.property("queue-size").unwrap().default_value().unwrap();
    assert_eq!(size.as_u64(), Some(256));
    let x = device.property("x").unwrap().default_value().unwrap();
    assert_eq!(x.as_f64(), Some(-0.1));
    assert!(matches!(entry.device("colo"), Err(Unanswered::Quarantined { .. })));
    assert!(matches!(
        kvm.cpu_expansion("EPYC", Expansion::Full),
        Err(Unanswered::Quarantined { .. })
    ));
    assert!(matches!(
        kvm.cpu_expansion("host", Expansion::Static),
        Err(Unanswered::Refused { .. })
    ));
    assert!(matches!(
        kvm.cpu_expansion("host", Expansion::Full),
        Err(Unanswered::NotQueried { .. })
    ));
    let (_, host) = kvm.host_cpu().next().unwrap();
    let props = host.get("model").unwrap().get("props").unwrap();
    assert_eq!(props.get("tsc").unwrap().as_u64(), Some(u64::MAX));
    assert_eq!(props.get("min").unwrap().as_i64(), Some(i64::MIN));
    assert_eq!(props.get("l").unwrap().as_bool(), Some(false));
    assert_eq!(entry.schema().has("blockdev-add/arg-type/+file/*aio/^nvme"), Tri::Yes);
    let fact = |accelerator, kind| entry.facts().get(example::key(Group::Core, accelerator, kind));
    assert!(matches!(fact(Accelerator::Tcg, FactKind::Gic), Some(Fact::Refused)));
    assert!(matches!(fact(Accelerator::Kvm, FactKind::Sev), Some(Fact::Quarantined)));
    assert!(fact(Accelerator::Kvm, FactKind::Gic).is_none());
}

#[test]
fn the_golden_file_keeps_inputs_and_report() {
    let entry = Entry::open(GOLDEN).unwrap();
    let inputs: Vec<_> = entry.inputs().map(InputRef::to_owned).collect();
    assert_eq!(inputs, example::inputs());
    assert_eq!(entry.input(InputKind::Executable).unwrap().sha256(), Some(&[0xA5; 32]));
    assert_eq!(entry.report(), Some(example::report()));
}

#[test]
fn a_file_of_version_1_is_refused_as_another_version() {
    let file = include_bytes!("../../../fixtures/golden/v1.caps");
    let error = Entry::open(&file[..]).unwrap_err();
    assert_eq!(error, FormatError::OtherVersion { found: 1, known: 2 });
}

#[test]
fn a_decoded_model_encodes_to_the_same_file() {
    let entry = Entry::open(GOLDEN).unwrap();
    assert!(entry.to_model().unwrap().encode().unwrap() == GOLDEN);
}
