//! `docs/format.md` is the specification: its tables are compared with the code, row by row.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::mem::offset_of;

use capscache_format::layout::{
    BYTE_ORDER_MARK, FACT_SECTIONS, FORMAT_VERSION, FactRecord, Header, InputRecord, MAGIC,
    MAX_SECTIONS, SECTION_HOST, SECTION_REQUIRED, SectionEntry, SignatureRecord, tag,
};
use capscache_format::{
    Accelerator, Entry, Fact, FactKey, FactKind, FailureCause, FailureRecord, Group, Groups,
    InputKind, MAX_DISTINCT, Model, Scope,
};

const DOCUMENT: &str = include_str!("../../docs/format.md");

/// The cells of the first table under a heading, without its head.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let mut lines = DOCUMENT.lines().skip_while(|line| line.trim_start_matches('#') != heading);
    assert!(lines.next().is_some_and(|line| line.starts_with('#')), "no heading{heading}");
    let rows: Vec<Vec<String>> = lines
        .take_while(|line| !line.starts_with('#'))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table under{heading}");
    rows
}

/// The first `N` cells of each row.
fn cells<const N: usize>(heading: &str) -> Vec<[String; N]> {
    rows(heading).into_iter().map(|row| row[..N].to_vec().try_into().unwrap()).collect()
}

/// Offset, size and name of every field.
///
/// The destructuring pattern has to name every field, so that a missing one does not compile.
macro_rules! fields {
    ($record:ident { $($field:ident),* $(,)? }) => {{
        let fields = vec![$({
            fn size<T>(_: impl Fn($record) -> T) -> usize { size_of::<T>() }
            [
                offset_of!($record, $field).to_string(),
                size(|record| record.$field).to_string(),
                stringify!($field).to_owned(),
            ]
        }),*];
        let _ = |$record { $($field: _),* }: $record| {};
        let sum: usize = fields.iter().map(|field| field[1].parse::<usize>().unwrap()).sum();
        assert_eq!(sum, size_of::<$record>(), "a record has no holes");
        fields
    }};
}

#[test]
fn the_header_is_as_specified() {
    let fields = fields!(Header {
        magic,
        byte_order,
        version,
        header_bytes,
        total_bytes,
        sections,
        reserved,
        content_sha256,
        checksum,
    });
    assert_eq!(cells::<3>(" Header"), fields);
    let valid: Vec<String> = rows(" Header").iter().map(|row| row[4].clone()).collect();
    assert_eq!(valid[0], format!("`{}`", MAGIC.escape_ascii()));
    assert_eq!(valid[1], format!("0x{BYTE_ORDER_MARK:08X}"));
    assert_eq!(valid[2], FORMAT_VERSION.to_string());
    assert_eq!(valid[3], size_of::<Header>().to_string());
    assert_eq!(valid[5], format!("0 to {MAX_SECTIONS}"));
    assert!(DOCUMENT.contains(&format!("{} bytes at the start of the file.", size_of::<Header>())));
    assert!(DOCUMENT.starts_with(&format!("# The entry file, format version {FORMAT_VERSION}\n")));
    assert_eq!(rows(" Versions").last().unwrap()[0], FORMAT_VERSION.to_string());
}

#[test]
fn the_section_table_is_as_specified() {
    let fields = fields!(SectionEntry { tag, version, flags, offset, length });
    assert_eq!(cells::<3>(" SectionEntry"), fields);
    assert_eq!(
        rows(" SectionEntry")[2][3],
        format!("{SECTION_REQUIRED}: required. {SECTION_HOST}: of the host")
    );
    let size = format!("Directly after the header, {} bytes a row.", size_of::<SectionEntry>());
    assert!(DOCUMENT.contains(&size));
}

#[test]
fn the_sections_are_those_that_are_specified() {
    let facts = |tag: [u8; 4]| FACT_SECTIONS.iter().find(|row| row.2 == tag);
    let known: Vec<[String; 3]> = tag::ALL
        .iter()
        .map(|&one| {
            let (flags, content) = match facts(one) {
                Some((group, Scope::Binary, _)) => {
                    (SECTION_REQUIRED, format!("facts of the binary, group `{group}`"))
                }
                Some((group, Scope::Host, _)) => {
                    (SECTION_REQUIRED | SECTION_HOST, format!("facts of the host, group `{group}`"))
                }
                None if one == tag::REPORT => (0, "report".to_owned()),
                None if one == tag::INPUTS => (SECTION_REQUIRED, "inputs".to_owned()),
                None if one == tag::FAILURE => (SECTION_REQUIRED, "failed probe".to_owned()),
                None if one == tag::STRINGS => (SECTION_REQUIRED, "string table".to_owned()),
                None => (SECTION_REQUIRED, "pool of values".to_owned()),
            };
            [one.escape_ascii().to_string(), flags.to_string(), content]
        })
        .collect();
    assert_eq!(cells::<3>(" Sections"), known);
}

/// A file with a fact in each group and scope has all sections, in the order and with the flags
/// of the specification.
#[test]
fn sections_are_written_in_the_order_and_with_the_flags_that_are_specified() {
    let mut model = Model::default();
    model.failure = Some(FailureRecord {
        at: 0,
        groups: Groups::CORE,
        cause: FailureCause::Other,
        reason: String::new(),
    });
    for &group in Group::ALL {
        for accelerator in [Accelerator::Tcg, Accelerator::Kvm] {
            model.set(FactKey { group, accelerator, kind: FactKind::Ran }, Fact::Refused);
        }
    }
    let file = model.encode().unwrap();
    let written: Vec<[String; 2]> = (0..tag::ALL.len())
        .map(|row| {
            let row = &file[size_of::<Header>() + row * size_of::<SectionEntry>()..];
            [row[..4].escape_ascii().to_string(), u16::from_le_bytes([row[6], row[7]]).to_string()]
        })
        .collect();
    assert_eq!(cells::<2>(" Sections"), written);
}

#[test]
fn the_records_are_as_specified() {
    let fields = fields!(FactRecord { kind, accelerator, state, value });
    assert_eq!(cells::<3>(" FactRecord"), fields);
    let fields = fields!(InputRecord {
        kind,
        scope,
        flags,
        name_offset,
        name_length,
        evidence_offset,
        evidence_length,
        signature,
        sha256
    });
    assert_eq!(cells::<3>(" InputRecord"), fields);
    let fields = fields!(SignatureRecord { device, inode, size, mtime, ctime, mtime_ns, ctime_ns });
    assert_eq!(cells::<3>(" SignatureRecord"), fields);
}

#[test]
fn the_vocabularies_are_as_specified() {
    let accelerators: Vec<[String; 3]> = Accelerator::ALL
        .iter()
        .map(|one| {
            let scope = if one.needs_host() { "host" } else { "binary" };
            [one.number().to_string(), one.name().to_owned(), scope.to_owned()]
        })
        .collect();
    assert_eq!(cells::<3>(" Accelerators"), accelerators);
    macro_rules! check {
        ($heading:literal, $vocabulary:ident) => {
            let known: Vec<[String; 2]> = $vocabulary::ALL
                .iter()
                .map(|one| [one.number().to_string(), one.name().to_owned()])
                .collect();
            assert_eq!(cells::<2>($heading), known);
            for &one in $vocabulary::ALL {
                assert_eq!($vocabulary::from_number(one.number()), Some(one));
                assert_eq!($vocabulary::from_name(one.name()), Some(one));
            }
        };
    }
    check!(" Accelerators", Accelerator);
    check!(" Groups", Group);
    check!(" Fact kinds", FactKind);
    check!(" Input kinds", InputKind);
    check!(" Failure (FAIL)", FailureCause);
}

#[test]
fn the_tags_of_values_are_as_specified() {
    let named: String = (0..8).map(|at| format!(r#"{{"name":"{at}"}},"#)).collect();
    let keys: Vec<String> = (0..20).map(|at| format!(r#""k{at}":0"#)).collect();
    // One value of each kind, in the order of the tags.
    let values = [
        "null".to_owned(),
        "false".to_owned(),
        "true".to_owned(),
        "268435455".to_owned(),
        r#""text""#.to_owned(),
        "268435456".to_owned(),
        "-1".to_owned(),
        "0.5".to_owned(),
        "[0]".to_owned(),
        format!("[{}]", named.trim_end_matches(',')),
        r#"{"a":0}"#.to_owned(),
        format!("{{{}}}", keys.join(",")),
    ];
    let specified = cells::<2>(" Values (POOL)");
    assert_eq!(specified.len(), values.len());
    for (row, json) in specified.iter().zip(values) {
        let mut model = Model::default();
        let value = model.pool.intern(&mut serde_json::Deserializer::from_str(&json)).unwrap();
        let kind = FactKind::Ran;
        let key = FactKey { group: Group::Core, accelerator: Accelerator::Tcg, kind };
        model.set(key, Fact::Answered(value));
        let file = model.encode().unwrap();
        assert_eq!(Entry::open(&file[..]).unwrap().verify(), Ok(()));
        let core = &file[size_of::<Header>() + 2 * size_of::<SectionEntry>()..];
        assert_eq!(core[..4], tag::CORE);
        let record = usize::try_from(u64::from_le_bytes(core[8..16].try_into().unwrap())).unwrap();
        let word = u32::from_le_bytes(file[record + 4..record + 8].try_into().unwrap());
        assert_eq!(row[0], (word >> 28).to_string(), "{json:.40} is a {}", row[1]);
    }
}

#[test]
fn the_limits_are_as_specified() {
    let limits = rows(" Limits");
    let limit = |what: &str| {
        let row = limits.iter().find(|row| row[0].starts_with(what)).unwrap();
        row[1].replace(',', "")
    };
    assert_eq!(limit("sections"), MAX_SECTIONS.to_string());
    assert_eq!(limit("distinct values"), MAX_DISTINCT.to_string());
    assert_eq!(limit("elements of a List"), u16::MAX.to_string());
    // The deepest value that a pool interns.
    let mut model = Model::default();
    let mut deepest = 0;
    let mut value = capscache_format::Handle::NULL;
    while let Ok(deeper) = model.pool.array(vec![value]) {
        value = deeper;
        deepest += 1;
    }
    assert_eq!(limit("depth"), deepest.to_string());
}
