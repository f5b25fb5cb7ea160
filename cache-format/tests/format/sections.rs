//! Reading of the section table.

use capscache_format::layout::{SectionEntry, tag};
use capscache_format::{Entry, FormatError, Version};

use crate::file::{self, Section, assemble, seal, sections, with_table};
use crate::golden::GOLDEN;

fn open_error(file: &[u8]) -> FormatError {
    Entry::open(file).unwrap_err()
}

fn with(section: Section) -> Vec<u8> {
    let mut all = sections(GOLDEN);
    all.push(section);
    assemble(&all)
}

#[test]
fn a_file_that_is_split_and_reassembled_is_the_same() {
    assert!(assemble(&sections(GOLDEN)) == GOLDEN);
}

#[test]
fn an_unknown_section_that_is_not_required_is_skipped() {
    let file = with(Section { tag: *b"NEWS", version: 7, flags: 0, bytes: b"whatever".to_vec() });
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.verify(), Ok(()));
    assert_eq!(entry.version(), Version { major: 7, minor: 2, micro: 22 });
}

#[test]
fn an_unknown_section_that_is_required_is_refused() {
    let file = with(Section { tag: *b"NEWS", version: 1, flags: 1, bytes: Vec::new() });
    assert_eq!(open_error(&file), FormatError::UnknownSection { tag: *b"NEWS" });
}

#[test]
fn a_known_section_in_an_unknown_version_is_refused_if_it_is_required() {
    let mut all = sections(GOLDEN);
    all.iter_mut().find(|one| one.tag == tag::INPUTS).unwrap().version = 2;
    assert_eq!(open_error(&assemble(&all)), FormatError::UnknownSection { tag: tag::INPUTS });
    let mut all = sections(GOLDEN);
    all.iter_mut().find(|one| one.tag == tag::REPORT).unwrap().version = 2;
    let file = assemble(&all);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.arch(), "x86_64");
}

#[test]
fn another_version_of_the_format_is_distinguished_from_damage() {
    let mut file = GOLDEN.to_vec();
    file[12..14].copy_from_slice(&3_u16.to_le_bytes());
    // The rest of the header may have another meaning there, so it is not checked.
    assert_eq!(open_error(&file), FormatError::OtherVersion { found: 3, known: 2 });
    seal(&mut file);
    assert_eq!(open_error(&file), FormatError::OtherVersion { found: 3, known: 2 });
}

#[test]
fn the_header_is_checked_in_order_of_trust() {
    let sealed = |at: usize, bytes: &[u8]| {
        let mut file = GOLDEN.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut file);
        open_error(&file)
    };
    let damaged = |what| FormatError::DamagedHeader { what };
    assert_eq!(sealed(0, b"capsfile"), FormatError::NotAnEntry { found: *b"capsfile" });
    assert_eq!(sealed(8, &[0x0A, 0x0B, 0x0C, 0x0D]), damaged("byte-order mark"));
    let found = u64::try_from(GOLDEN.len()).unwrap();
    assert_eq!(sealed(16, &[0; 8]), FormatError::WrongLength { recorded: 0, found });
    assert_eq!(sealed(14, &[73, 0]), damaged("header size"));
    assert_eq!(sealed(24, &[65, 0, 0, 0]), damaged("number of sections"));
    let mut file = GOLDEN.to_vec();
    file[64] ^= 1;
    assert_eq!(open_error(&file), damaged("checksum"));
}

#[test]
fn a_table_that_does_not_fit_the_file_reports_the_size_it_needs() {
    let mut file = with_table(&[], &[0; 16]);
    file[24] = 1;
    seal(&mut file);
    assert_eq!(open_error(&file), FormatError::TooShort { needed: 96, found: 88 });
}

#[test]
fn a_file_without_sections_has_no_facts() {
    let file = with_table(&[], &[]);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.version(), Version::default());
    assert_eq!(entry.accelerators().count(), 0);
    file::walk(&entry);
}

#[test]
fn sections_increase_lie_within_the_file_and_occur_once() {
    let row = |tag: [u8; 4], flags: u16, offset: u64, length: u64| SectionEntry {
        tag,
        version: 1.into(),
        flags: flags.into(),
        offset: offset.into(),
        length: length.into(),
    };
    let damaged = |what| Some(FormatError::DamagedHeader { what });
    let two = |a, b| Entry::open(with_table(&[a, b], &[0; 32])).err();
    // Two rows end at 120, the file at 152.
    assert_eq!(two(row(*b"POOL", 1, 120, 16), row(*b"CORE", 1, 136, 16)), None);
    assert_eq!(two(row(*b"POOL", 1, 120, 0), row(*b"CORE", 1, 152, 0)), None);
    let cases = [
        (row(*b"POOL", 1, 120, 17), row(*b"CORE", 1, 136, 16), "section offset"),
        (row(*b"POOL", 1, 136, 16), row(*b"CORE", 1, 120, 16), "section offset"),
        (row(*b"POOL", 1, 119, 16), row(*b"CORE", 1, 136, 16), "section offset"),
        (row(*b"POOL", 1, 0, 16), row(*b"CORE", 1, 136, 16), "section offset"),
        (row(*b"POOL", 1, 120, 16), row(*b"CORE", 1, 136, 17), "section length"),
        (row(*b"POOL", 1, 120, 16), row(*b"CORE", 1, 153, 0), "section length"),
        (row(*b"POOL", 1, 120, u64::MAX), row(*b"CORE", 1, 136, 16), "section length"),
        (row(*b"POOL", 1, u64::MAX, 1), row(*b"CORE", 1, 136, 16), "section length"),
        (row(*b"POOL", 1, 120, 16), row(*b"POOL", 1, 136, 16), "duplicate section"),
        (row(*b"POOL", 5, 120, 16), row(*b"CORE", 1, 136, 16), "section flags"),
        // A skipped section still occupies its bytes.
        (row(*b"NEWS", 0, 120, 17), row(*b"CORE", 1, 136, 16), "section offset"),
        (row(*b"NEWS", 0, 120, 16), row(*b"NEWS", 0, 136, 16), "duplicate section"),
    ];
    for (a, b, what) in cases {
        assert_eq!(two(a, b), damaged(what), "{a:?} {b:?}");
    }
}

#[test]
fn opening_reads_header_and_table_only() {
    let content = vec![0xEE; 16 << 20];
    let row = |tag: [u8; 4], offset: u64, length: u64| SectionEntry {
        tag,
        version: 1.into(),
        flags: 1.into(),
        offset: offset.into(),
        length: length.into(),
    };
    let mut file = with_table(&[row(*b"STRS", 120, 8 << 20), row(*b"POOL", 9 << 20, 4)], &content);
    // Neither the digest nor its content is valid, which opening does not check.
    file[32..64].fill(0);
    seal(&mut file);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.arch(), "");
    assert!(matches!(entry.verify(), Err(FormatError::WrongDigest { .. })));
}

#[test]
fn verify_checks_records_outside_the_pool() {
    let changed = |tag: [u8; 4], change: &dyn Fn(&mut Vec<u8>)| {
        let mut all = sections(GOLDEN);
        change(&mut all.iter_mut().find(|one| one.tag == tag).unwrap().bytes);
        let file = assemble(&all);
        let entry = Entry::open(&file[..]).unwrap();
        file::walk(&entry);
        entry.verify()
    };
    let damaged = |section, what, at| Err(FormatError::DamagedRecord { section, what, at });
    assert_eq!(changed(tag::CORE, &|_| {}), Ok(()));
    let pop = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    assert_eq!(changed(tag::CORE, &pop), damaged(tag::CORE, "length", 0));
    assert_eq!(changed(tag::CORE, &|b| b.swap(0, 8)), damaged(tag::CORE, "order of facts", 1));
    assert_eq!(changed(tag::CORE, &|b| b[3] = 4), damaged(tag::CORE, "state of a fact", 0));
    assert_eq!(changed(tag::CORE, &|b| b[2] = 1), damaged(tag::CORE, "accelerator of a fact", 0));
    assert_eq!(changed(tag::INPUTS, &|b| b[0] = 3), damaged(tag::INPUTS, "input", 0));
    assert_eq!(changed(tag::INPUTS, &pop), damaged(tag::INPUTS, "input", 1));
    assert_eq!(changed(tag::INPUTS, &|b| b[4] = 99), damaged(tag::INPUTS, "input", 1));
    assert_eq!(changed(tag::INPUTS, &|b| b[6] = 2), damaged(tag::INPUTS, "input", 1));
    assert_eq!(changed(tag::REPORT, &|b| b[0] = 255), damaged(tag::REPORT, "report", 0));
}

#[test]
fn facts_of_a_kind_that_a_later_release_added_are_skipped() {
    let mut all = sections(GOLDEN);
    let core = &mut all.iter_mut().find(|one| one.tag == tag::CORE).unwrap().bytes;
    core.extend([0xFF, 0xFF, 3, 1, 0, 0, 0, 0]);
    let file = assemble(&all);
    let entry = Entry::open(&file[..]).unwrap();
    assert_eq!(entry.verify(), Ok(()));
    assert_eq!(entry.facts().iter().count(), Entry::open(GOLDEN).unwrap().facts().iter().count());
}
