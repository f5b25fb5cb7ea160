//! Getters of an entry do not allocate.

use capscache_format::{Accelerator, Entry, Query, Tri};
use sha2::{Digest, Sha256};

const GOLDEN: &[u8] = include_bytes!("../../fixtures/golden/v2.caps");

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

#[test]
fn a_getter_with_a_result_does_not_allocate() {
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

/// Recomputes the checksums of a file, so that its content is read.
fn seal(bytes: &mut [u8]) {
    if bytes.len() < 72 {
        return;
    }
    let length = u64::try_from(bytes.len()).expect("a length");
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
    let content = (72 + 24 * usize::from(bytes[24])).min(bytes.len());
    let digest = Sha256::digest(&bytes[content..]);
    bytes[32..64].copy_from_slice(&digest);
    bytes[64..72].fill(0);
    let checksum = Sha256::digest(&bytes[..content]);
    bytes[64..72].copy_from_slice(&checksum[..8]);
}

/// The largest memory of `verify`, which decodes a model, as a multiple of the file's size: this small
/// file takes three times its size when it is sound.
const TIMES: u64 = 4;

/// Miri is slow: it tries one in this many.
const ONE_IN: usize = if cfg!(miri) { 257 } else { 1 };

fn peak_bytes(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).bytes_max
}

fn query(entry: &Entry<&[u8]>) {
    let _ = (entry.version(), entry.arch(), entry.inputs().count(), entry.types().count());
    let _ = entry.accelerator(Accelerator::Kvm).map(|kvm| kvm.machines().count());
    let _ = entry.schema().has("blockdev-add/arg-type/+file/aio/^nvme");
}

#[test]
fn any_damaged_file_takes_memory_in_proportion_to_its_size() {
    let check = |mut bytes: Vec<u8>, what: &dyn std::fmt::Display| {
        let length = u64::try_from(bytes.len()).unwrap();
        for is_sealed in [false, true] {
            if is_sealed {
                seal(&mut bytes);
            }
            let of_reader = peak_bytes(|| {
                let _ = Entry::open(&bytes[..]).as_ref().map(query);
            });
            let of_verify = peak_bytes(|| {
                let _ = Entry::open(&bytes[..]).map(|entry| entry.verify());
            });
            let what = format!("{what}, sealed {is_sealed}, {length} bytes");
            assert!(of_reader <= length, "{what}: {of_reader}");
            assert!(of_verify <= TIMES * length, "{what}: {of_verify}");
        }
    };
    // The largest counts and lengths.
    for at in (0..GOLDEN.len()).step_by(ONE_IN) {
        let mut bytes = GOLDEN.to_vec();
        let end = (at + 4).min(bytes.len());
        bytes[at..end].fill(0xff);
        check(bytes, &format_args!("ff from {at}"));
    }
    for length in (0..GOLDEN.len()).step_by(ONE_IN) {
        check(GOLDEN[..length].to_vec(), &format_args!("cut to {length}"));
    }
}
