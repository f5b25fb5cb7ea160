//! Files assembled by hand, byte by byte and with valid checksums, and a walk through a whole entry.

use std::io;

use capscache_format::layout::{FORMAT_VERSION, FactRecord, Header, SectionEntry, tag};
use capscache_format::{
    Accelerator, Entry, Expansion, Fact, FactKind, InputKind, Properties, Query, Value,
};
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

/// Of many cases, Miri, which takes some thousand times as long, tries one in this many; and so does `make test-hosts`,
/// where each instruction is emulated.
pub(crate) const ONE_IN: usize = match (cfg!(miri), option_env!("CAPSCACHE_EMULATED")) {
    (true, _) => 1999,
    (false, Some(_)) => 37,
    (false, None) => 1,
};

#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) tag: [u8; 4],
    pub(crate) version: u16,
    pub(crate) flags: u16,
    pub(crate) bytes: Vec<u8>,
}

/// The sections of a sound file.
pub(crate) fn sections(file: &[u8]) -> Vec<Section> {
    table(file)
        .iter()
        .map(|row| {
            let start = usize::try_from(row.offset.get()).unwrap();
            let length = usize::try_from(row.length.get()).unwrap();
            Section {
                tag: row.tag,
                version: row.version.get(),
                flags: row.flags.get(),
                bytes: file[start..start + length].to_vec(),
            }
        })
        .collect()
}

pub(crate) fn table(file: &[u8]) -> Vec<SectionEntry> {
    let (header, rest) = Header::read_from_prefix(file).unwrap();
    let rows = usize::try_from(header.sections.get()).unwrap();
    <[SectionEntry]>::ref_from_prefix_with_elems(rest, rows).unwrap().0.to_vec()
}

/// A file of these sections, with valid checksums.
pub(crate) fn assemble(sections: &[Section]) -> Vec<u8> {
    let table_end = size_of::<Header>() + sections.len() * size_of::<SectionEntry>();
    let (mut rows, mut content) = (Vec::new(), Vec::new());
    for section in sections {
        rows.push(SectionEntry {
            tag: section.tag,
            version: section.version.into(),
            flags: section.flags.into(),
            offset: u64::try_from(table_end + content.len()).unwrap().into(),
            length: u64::try_from(section.bytes.len()).unwrap().into(),
        });
        content.extend(&section.bytes);
        content.resize(content.len().next_multiple_of(8), 0);
    }
    with_table(&rows, &content)
}

/// A file with this section table, followed by this content.
pub(crate) fn with_table(rows: &[SectionEntry], content: &[u8]) -> Vec<u8> {
    let total = size_of::<Header>() + size_of_val(rows) + content.len();
    let header = Header {
        magic: *b"CAPSFILE",
        byte_order: 0x0A0B_0C0D.into(),
        version: FORMAT_VERSION.into(),
        header_bytes: 72.into(),
        total_bytes: u64::try_from(total).unwrap().into(),
        sections: u32::try_from(rows.len()).unwrap().into(),
        reserved: 0.into(),
        content_sha256: Sha256::digest(content).into(),
        checksum: [0; 8],
    };
    let mut file = [header.as_bytes(), rows.as_bytes(), content].concat();
    seal(&mut file);
    file
}

/// Recomputes the checksum of header and section table.
pub(crate) fn seal(file: &mut [u8]) {
    let rows = u32::from_le_bytes(file[24..28].try_into().unwrap());
    let end = (72 + usize::try_from(rows).unwrap() * 24).min(file.len());
    file[64..72].fill(0);
    let digest: [u8; 32] = Sha256::digest(&file[..end]).into();
    file[64..72].copy_from_slice(&digest[..8]);
}

/// A file with these strings and this pool, whose one fact is the value `root`.
pub(crate) fn pool_file(strings: &[&str], words: &[u32], root: u32) -> Vec<u8> {
    let mut table = vec![u32::try_from(strings.len()).unwrap()];
    let mut end = 0;
    for text in strings {
        end += text.len();
        table.push(u32::try_from(end).unwrap());
    }
    let strings = [&words_of(&table)[..], strings.concat().as_bytes()].concat();
    raw_pool_file(strings, words_of(words), root)
}

fn words_of(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(crate) fn raw_pool_file(strings: Vec<u8>, pool: Vec<u8>, root: u32) -> Vec<u8> {
    let fact = |kind: FactKind| FactRecord {
        kind: kind.number().into(),
        accelerator: Accelerator::Tcg.number(),
        state: 1,
        value: root.into(),
    };
    let core = [FactKind::Machines, FactKind::Sgx, FactKind::Types, FactKind::Schema];
    let section = |tag, bytes| Section { tag, version: 1, flags: 1, bytes };
    assemble(&[
        section(tag::STRINGS, strings),
        section(tag::POOL, pool),
        section(tag::CORE, core.map(fact).as_bytes().to_vec()),
        section(tag::DEVICES, fact(FactKind::Devices).as_bytes().to_vec()),
        section(tag::INPUTS, vec![0; 4]),
        Section { tag: tag::REPORT, version: 1, flags: 0, bytes: vec![0; 3] },
    ])
}

/// Calls every accessor of an entry; each must return, with any result.
pub(crate) fn walk(entry: &Entry<&[u8]>) {
    for (_, fact) in entry.facts().iter() {
        if let Fact::Answered(value) = fact {
            walk_value(value);
        }
    }
    let _ = serde_json::to_writer(io::sink(), entry);
    query_names(entry);
    let _ = (entry.version(), entry.package(), entry.arch(), entry.groups());
    let _ = (entry.commands(), entry.accelerators_present(), entry.schema().names("event").count());
    for known in entry.types() {
        let _ = (known.name(), known.parent(), known.is_abstract());
    }
    for option in entry.command_line_options() {
        let _ = (option.name(), option.parameters().count());
    }
    for accelerated in Accelerator::ALL.iter().filter_map(|&one| entry.accelerator(one).ok()) {
        let _ = accelerated.default_machine();
        for machine in accelerated.machines() {
            let _ = (machine.name(), machine.alias(), machine.max_cpus(), machine.acpi());
        }
        for model in accelerated.cpu_models() {
            let _ = (model.name(), model.usable(), model.alias_of());
            let _ = model.unavailable_features().map(Iterator::count);
        }
        let _ = accelerated.host_cpu().count();
    }
    for input in entry.inputs() {
        let _ = input.to_owned();
    }
    let _ = (entry.input(InputKind::Emulator), entry.report());
    if let Ok(model) = entry.to_model() {
        let _ = model.encode();
    }
}

const NAMES: [&str; 7] = ["EPYC", "base", "colo", "gone", "pc-q35-7.2", "q35", "virtio-blk-pci"];

fn query_names(entry: &Entry<&[u8]>) {
    for name in NAMES {
        let _ = (entry.has_device(name), entry.has_object(name), entry.has_command(name));
        let _ = (entry.has_migration_capability(name), entry.has_tpm_model(name));
        let _ = entry.device(name).map(Properties::iter).map(Iterator::count);
        let _ = (entry.object(name).is_ok(), entry.command_line_option(name).is_ok());
        for accelerated in Accelerator::ALL.iter().filter_map(|&one| entry.accelerator(one).ok()) {
            let _ = (accelerated.machine(name).is_ok(), accelerated.cpu_model(name).is_ok());
            let _ = accelerated.cpu_expansion(name, Expansion::Full).is_ok();
        }
    }
    for path in ["blockdev-add/arg-type/+file/aio/^nvme", "STOP", "blockdev-add/$f"] {
        let _ = entry.schema().has(path);
    }
    let property: Query = "property:virtio-blk-pci.queue-size".parse().unwrap();
    let _ = (entry.answer(&property), entry.groups_for(&property));
}

fn walk_value(value: Value<'_>) {
    let _ = serde_json::to_writer(io::sink(), &value);
    let _ = format!("{value:?}");
    if let Some(array) = value.as_array() {
        for name in NAMES {
            let _ = array.find("name", name);
        }
        for element in array.iter().take(100) {
            let _ = (element.as_str(), element.get("name"), format!("{element:?}"));
        }
    }
    if let Some(object) = value.as_object() {
        for (key, value) in object.iter().take(100) {
            let _ = (object.get(key), value.as_i64(), value.as_u64(), value.as_f64());
        }
    }
}
