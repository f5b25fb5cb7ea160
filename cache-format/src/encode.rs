//! Encoding of a model into a file.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use crate::error::ModelError;
use crate::header::checksum;
use crate::input;
use crate::kind::Scope;
use crate::layout::{
    BYTE_ORDER_MARK, FACT_SECTIONS, FORMAT_VERSION, FactRecord, Header, MAGIC, SECTION_HOST,
    SECTION_REQUIRED, SectionEntry, Tag, Word, index, tag,
};
use crate::model::{Fact, FactKey, Model};
use crate::pool::{Handle, MAX_DISTINCT, Node, Pool};

/// Shorter arrays are searched from front to back; longer ones carry a sorted order.
const SORT_FROM: usize = 8;

/// Longer arrays carry no sorted order: its positions are 16 bits wide.
const SORT_TO: usize = 0xFFFF;

/// Objects with fewer values are not packed.
const PACK_FROM: usize = 8;

/// The keys by which QMP names the elements of its arrays, the most frequent one first.
const NAMING_KEYS: [&str; 3] = ["name", "option", "capability"];

impl Model {
    /// Encodes this model as an entry file.
    ///
    /// Equal models give equal bytes.
    ///
    /// # Errors
    /// [`ModelError::TooManyValues`] if the pool is larger than the file can address.
    pub fn encode(&self) -> Result<Vec<u8>, ModelError> {
        let mut writer = Writer::new(&self.pool, self.roots());
        let mut groups = Vec::new();
        for (group, scope, tag) in FACT_SECTIONS {
            let mut records = Vec::new();
            for (key, fact) in self.facts() {
                if key.group == group && key.accelerator.scope() == scope {
                    records.extend_from_slice(writer.record(key, fact)?.as_bytes());
                }
            }
            if !records.is_empty() {
                groups.push((
                    tag,
                    SECTION_REQUIRED | if scope == Scope::Host { SECTION_HOST } else { 0 },
                    records,
                ));
            }
        }
        let (strings, values) = writer.finish()?;
        let mut sections =
            vec![(tag::STRINGS, SECTION_REQUIRED, strings), (tag::POOL, SECTION_REQUIRED, values)];
        sections.extend(groups);
        sections.push((tag::INPUTS, SECTION_REQUIRED, input::encode(&self.inputs)));
        if let Some(failure) = &self.failure {
            sections.push((tag::FAILURE, SECTION_REQUIRED, failure.encode()));
        }
        sections.push((tag::REPORT, 0, self.report.to_bytes()));
        Ok(assemble(sections))
    }

    fn roots(&self) -> impl Iterator<Item = Handle> {
        self.facts().filter_map(|(_, fact)| match fact {
            Fact::Answered(value) => Some(value),
            Fact::Refused | Fact::Quarantined => None,
        })
    }
}

/// Concatenates header, section table and sections; each section starts at a multiple of eight.
fn assemble(sections: Vec<([u8; 4], u16, Vec<u8>)>) -> Vec<u8> {
    let count = u32::try_from(sections.len()).expect("a dozen sections");
    let table_bytes = size_of::<Header>() + sections.len() * size_of::<SectionEntry>();
    // The content is written to its final place, and each section is freed once it is: an entry may be large.
    let mut file = vec![0; table_bytes];
    let mut table = Vec::new();
    for (tag, flags, bytes) in sections {
        let entry = SectionEntry {
            tag,
            version: 1.into(),
            flags: flags.into(),
            offset: to_u64(file.len()).into(),
            length: to_u64(bytes.len()).into(),
        };
        table.extend_from_slice(entry.as_bytes());
        file.extend_from_slice(&bytes);
        file.resize(file.len().next_multiple_of(8), 0);
    }
    let mut header = Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER_MARK.into(),
        version: FORMAT_VERSION.into(),
        header_bytes: u16::try_from(size_of::<Header>()).expect("the header is 72 bytes").into(),
        total_bytes: to_u64(file.len()).into(),
        sections: count.into(),
        reserved: 0.into(),
        content_sha256: Sha256::digest(&file[table_bytes..]).into(),
        checksum: [0; 8],
    };
    header.checksum = checksum(&header, &table);
    file[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    file[size_of::<Header>()..table_bytes].copy_from_slice(&table);
    file
}

fn to_u64(size: usize) -> u64 {
    u64::try_from(size).expect("usize is at most 64 bits wide")
}

/// Writes the values that are reachable from the facts, children before parents.
struct Writer<'p> {
    pool: &'p Pool,
    /// The used strings, sorted; the position is the number in the file.
    strings: Vec<&'p str>,
    /// The number in the file by the number in the pool.
    string_numbers: Vec<u32>,
    shapes: HashMap<&'p [u32], u32>,
    written: HashMap<Handle, Word>,
    words: Vec<u32>,
}

impl<'p> Writer<'p> {
    fn new(pool: &'p Pool, roots: impl Iterator<Item = Handle>) -> Writer<'p> {
        let mut used = vec![false; pool.string_count()];
        let mut seen = HashSet::new();
        let mut pending: Vec<Handle> = roots.collect();
        while let Some(handle) = pending.pop() {
            if handle.0.tag() == Some(Tag::String) {
                used[index(handle.0.payload())] = true;
                continue;
            }
            let children: &[Handle] = match pool.node(handle) {
                Node::Array(values) => values,
                Node::Object(keys, values) => {
                    for &key in keys.numbers() {
                        used[index(key)] = true;
                    }
                    values
                }
                _ => continue,
            };
            if seen.insert(handle) {
                pending.extend_from_slice(children);
            }
        }
        let mut numbers: Vec<u32> =
            (0..).zip(&used).filter(|(_, used)| **used).map(|(number, _)| number).collect();
        numbers.sort_unstable_by_key(|&number| pool.string_bytes(number));
        let mut string_numbers = vec![0; used.len()];
        for (in_file, &in_pool) in (0..).zip(&numbers) {
            string_numbers[index(in_pool)] = in_file;
        }
        Writer {
            pool,
            strings: numbers.iter().map(|&number| pool.string_at(number)).collect(),
            string_numbers,
            shapes: HashMap::new(),
            written: HashMap::new(),
            words: Vec::new(),
        }
    }

    /// Returns the sections of the strings and of all other values. Frees the rest before the file is assembled.
    fn finish(self) -> Result<(Vec<u8>, Vec<u8>), ModelError> {
        Ok((self.string_section()?, little_endian(&self.words)))
    }

    fn record(&mut self, key: FactKey, fact: Fact<Handle>) -> Result<FactRecord, ModelError> {
        let (state, value) = match fact {
            Fact::Answered(value) => (1, self.value(value)?),
            Fact::Refused => (2, Word::NULL),
            Fact::Quarantined => (3, Word::NULL),
        };
        Ok(FactRecord {
            kind: key.kind.number().into(),
            accelerator: key.accelerator.number(),
            state,
            value: value.0.into(),
        })
    }

    fn value(&mut self, handle: Handle) -> Result<Word, ModelError> {
        let number = handle.0.payload();
        match handle.0.tag() {
            Some(Tag::String) => return word(Tag::String, self.string_numbers[index(number)]),
            Some(Tag::Array | Tag::Object | Tag::Unsigned | Tag::Signed | Tag::Double) => {}
            _ => return Ok(handle.0),
        }
        if let Some(word) = self.written.get(&handle) {
            return Ok(*word);
        }
        let word = match (handle.0.tag(), self.pool.node(handle)) {
            (_, Node::Array(values)) => self.array(values)?,
            (_, Node::Object(keys, values)) => {
                let shape = self.shape(keys.numbers())?;
                self.object(shape, values)?
            }
            (tag, _) => {
                let at = self.offset()?;
                let bits = self.pool.number_at(number);
                self.words.extend(halves(bits));
                word(tag.unwrap_or(Tag::Null), at)?
            }
        };
        self.written.insert(handle, word);
        Ok(word)
    }

    fn values(&mut self, values: &[Handle]) -> Result<Vec<u32>, ModelError> {
        values.iter().map(|value| self.value(*value).map(|word| word.0)).collect()
    }

    fn array(&mut self, handles: &[Handle]) -> Result<Word, ModelError> {
        let values = self.values(handles)?;
        let order = self.order(handles);
        let at = self.offset()?;
        self.words.push(count(values.len())?);
        let tag = match order {
            Some((key, order)) => {
                self.words.push(key);
                self.words.extend(values);
                self.words.extend(order.chunks(2).map(|pair| {
                    u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16
                }));
                Tag::List
            }
            None => {
                self.words.extend(values);
                Tag::Array
            }
        };
        word(tag, at)
    }

    /// Returns the number of the key that names the elements of an array, and their positions sorted
    /// by name; equal names stay in QEMU's order.
    fn order(&self, handles: &[Handle]) -> Option<(u32, Vec<u16>)> {
        if !(SORT_FROM..=SORT_TO).contains(&handles.len()) {
            return None;
        }
        let key = NAMING_KEYS.iter().find(|key| self.pool.get_str(handles[0], key).is_some())?;
        let names: Option<Vec<&str>> =
            handles.iter().map(|handle| self.pool.get_str(*handle, key)).collect();
        let names = names?;
        let mut order: Vec<u16> = (0..=u16::MAX).take(handles.len()).collect();
        order.sort_by_key(|&position| names[usize::from(position)]);
        let key = self.strings.binary_search(key).ok()?;
        Some((u32::try_from(key).ok()?, order))
    }

    fn object(&mut self, shape: u32, handles: &[Handle]) -> Result<Word, ModelError> {
        let values = self.values(handles)?;
        let at = self.offset()?;
        self.words.push(shape);
        match palette(&values) {
            Some(palette) => {
                self.words.push(count(palette.len())?);
                self.words.extend(&palette);
                // The palette has all of the values.
                let code = |value| palette.partition_point(|one| one < value).to_le_bytes()[0];
                let codes: Vec<u8> = values.iter().map(code).collect();
                self.words.extend(codes.chunks(4).map(|chunk| {
                    let mut bytes = [0; 4];
                    bytes[..chunk.len()].copy_from_slice(chunk);
                    u32::from_le_bytes(bytes)
                }));
                word(Tag::Packed, at)
            }
            None => {
                self.words.extend(values);
                word(Tag::Object, at)
            }
        }
    }

    /// Writes a shape, `[n, key × n, position × n]`, the positions sorted by key.
    fn shape(&mut self, keys: &'p [u32]) -> Result<u32, ModelError> {
        if let Some(at) = self.shapes.get(keys) {
            return Ok(*at);
        }
        let numbers: Vec<u32> = keys.iter().map(|&key| self.string_numbers[index(key)]).collect();
        let mut positions: Vec<u32> = (0..).take(keys.len()).collect();
        positions.sort_unstable_by_key(|&position| numbers[index(position)]);
        let at = self.offset()?;
        self.words.push(count(keys.len())?);
        self.words.extend(numbers);
        self.words.extend(positions);
        self.shapes.insert(keys, at);
        Ok(at)
    }

    fn offset(&self) -> Result<u32, ModelError> {
        count(self.words.len())
    }

    /// Returns `[n, end × n, bytes]`, with the end of each string in the bytes.
    fn string_section(&self) -> Result<Vec<u8>, ModelError> {
        let mut ends: Vec<u32> = Vec::with_capacity(self.strings.len() + 1);
        ends.push(count(self.strings.len())?);
        let mut end = 0;
        for text in &self.strings {
            end += text.len();
            ends.push(u32::try_from(end).map_err(|_| TOO_MANY)?);
        }
        let mut section = little_endian(&ends);
        for text in &self.strings {
            section.extend_from_slice(text.as_bytes());
        }
        Ok(section)
    }
}

/// Returns the distinct values of an object, sorted, if storing them once makes it smaller.
fn palette(values: &[u32]) -> Option<Vec<u32>> {
    if values.len() < PACK_FROM {
        return None;
    }
    let mut palette = values.to_vec();
    palette.sort_unstable();
    palette.dedup();
    let packed = 1 + palette.len() + values.len().div_ceil(4);
    (palette.len() <= 256 && packed < values.len()).then_some(palette)
}

const TOO_MANY: ModelError = ModelError::TooManyValues { limit: MAX_DISTINCT };

fn word(tag: Tag, payload: u32) -> Result<Word, ModelError> {
    Word::new(tag, payload).ok_or(TOO_MANY)
}

/// Checks that a count or an offset fits the payload of a word.
fn count(size: usize) -> Result<u32, ModelError> {
    u32::try_from(size).ok().filter(|&size| size <= Word::MAX).ok_or(TOO_MANY)
}

/// Splits a number into two words, the low one first.
fn halves(bits: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn little_endian(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
