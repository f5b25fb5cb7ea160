//! An answer from an entry allocates nothing.

use capscache_format::{Accelerator, Entry, Query, Tri};

const GOLDEN: &[u8] = include_bytes!("../../fixtures/golden/v1.caps");

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

#[test]
fn a_getter_that_has_an_answer_allocates_nothing() {
    let entry = Entry::open(GOLDEN).unwrap();
    let queries: Vec<Query> =
        ["machine:pc-q35-7.2", "cpu:EPYC@kvm", "property:virtio-blk-pci.queue-size"]
            .map(|text| text.parse().unwrap())
            .into();
    let count = allocations(|| {
        assert_eq!(entry.version().major, 7);
        assert_eq!(entry.arch(), "x86_64");
        let kvm = entry.accelerator(Accelerator::Kvm).unwrap();
        assert_eq!(kvm.machine("pc-q35-7.2").unwrap().max_cpus(), Some(288));
        assert_eq!(kvm.cpu_model("EPYC").unwrap().usable(), Tri::Yes);
        assert_eq!(kvm.machines().count(), 1);
        let device = entry.device("virtio-blk-pci").unwrap();
        assert_eq!(device.property("queue-size").unwrap().type_name(), "uint16");
        assert_eq!(entry.schema().has("blockdev-add/arg-type/+file/aio/^nvme"), Tri::Yes);
        assert_eq!(entry.has_command("missing"), Tri::No);
        assert_eq!(entry.inputs().count(), 2);
        for query in &queries {
            assert_eq!(entry.answer(query), Tri::Yes);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn opening_allocates_for_the_section_table_only() {
    let count = allocations(|| {
        Entry::open(GOLDEN).unwrap();
    });
    assert_eq!(count, 1);
}
