//! Properties that must hold for any bytes at all: no panic, no loop, nothing read or allocated out of
//! proportion, and whatever is accepted comes back as it went in.
//!
//! The fuzzer calls these functions with what it makes up, `tests/library/fuzzing.rs` with the corpus
//! that it left. What a peer sends to the service is in `service/src/fuzzing.rs`.

use capscache_format::{
    Accelerator, CommandReport, Entry, Expansion, Fact, FactKey, FactKind, Group, Groups, Handle,
    Input, InputKind, Model, PassReport, Pool, Quarantine, Query, Refusal, Report, Scope,
    Signature, Source, Value,
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// A file, opened as it is and once more with sums that fit it: every accessor survives it, and
/// what passes `verify` can be written again.
pub fn open(data: &[u8]) {
    if let Ok(entry) = Entry::open(data) {
        drive(&entry);
    }
    let sealed = seal(data);
    if let Ok(entry) = Entry::open(&sealed) {
        drive(&entry);
        if entry.verify().is_ok() {
            let model = entry.to_model().expect("what verify passes can be loaded");
            let again = model.encode().expect("what was in a file fits into a file");
            let again = Entry::open(again).expect("what was written can be opened");
            again.verify().expect("what was written is sound");
        }
    }
}

/// The bytes with total length, content digest and checksum made to fit (`docs/format.md`, “Header”):
/// no fuzzer would find them.
fn seal(data: &[u8]) -> Vec<u8> {
    const HEADER: usize = 72;
    const ROW: usize = 24;
    let mut file = data.to_vec();
    if file.len() < HEADER {
        return file;
    }
    let total = u64::try_from(file.len()).unwrap_or(0);
    file[16..24].copy_from_slice(&total.to_le_bytes());
    let sections = usize::from(file[24]);
    let content = (HEADER + ROW * sections).min(file.len());
    let digest = Sha256::digest(&file[content..]);
    file[32..64].copy_from_slice(&digest);
    file[64..72].fill(0);
    let checksum = Sha256::digest(&file[..content]);
    file[64..72].copy_from_slice(&checksum[..8]);
    file
}

/// Calls everything that an entry can be asked.
fn drive<B: AsRef<[u8]>>(entry: &Entry<B>) {
    let mut budget = 100_000;
    let mut seen = 0_usize;
    for (_, fact) in entry.facts().iter() {
        if let Fact::Answered(value) = fact {
            walk(value, &mut budget);
        }
    }
    seen += entry.version().to_string().len() + entry.package().len() + entry.arch().len();
    seen += entry.commands().len() + entry.types().take(1000).count();
    seen += entry.command_line_options().take(1000).count();
    seen += entry.accelerators_present().len() + entry.inputs().count();
    seen += entry.inputs().map(|input| input.to_owned().value.len()).sum::<usize>();
    seen += entry.groups().iter().count();
    seen += entry.report().map_or(0, |report| report.passes.len());
    for accelerator in entry.accelerators() {
        let Ok(answers) = entry.accelerator(accelerator) else { continue };
        for machine in answers.machines().take(100) {
            let again = answers.machine(machine.name());
            seen += machine.name().len() + usize::from(again.is_ok());
            seen += machine.max_cpus().map_or(0, |_| 1) + machine.alias().map_or(0, str::len);
        }
        for model in answers.cpu_models().take(100) {
            let again = answers.cpu_model(model.name());
            seen += usize::from(again.is_ok()) + model.usable().to_string().len();
            seen += model.unavailable_features().map_or(0, |names| names.take(100).count());
            let expansion = answers.cpu_expansion(model.name(), Expansion::Full);
            seen += usize::from(expansion.is_ok());
        }
        seen += answers.host_cpu().take(1000).count();
        seen += usize::from(answers.default_machine().is_some());
    }
    for name in ["virtio-blk-pci", "a", "secret", "generic-pc-machine", ""] {
        if let Ok(device) = entry.device(name) {
            seen += device.iter().take(1000).count();
            seen += usize::from(device.property("queue-size").is_ok());
        }
        seen += usize::from(entry.object(name).is_ok()) + usize::from(entry.qom_type(name).is_ok());
    }
    for query in QUERIES {
        let query: Query = query.parse().expect("a query");
        seen += entry.answer(&query).to_string().len() + entry.explain(&query).len();
    }
    seen += entry.missing().len();
    seen += Accelerator::ALL.iter().filter_map(|one| entry.explain_accelerator(*one)).count();
    for path in PATHS {
        seen += entry.schema().has(path).to_string().len();
    }
    // An entry that says a thousand times what it holds once is cut off with an error.
    let mut sink = Sink(seen);
    let _ = serde_json::to_writer(&mut sink, entry);
    std::hint::black_box(sink.0);
    let _ = entry.verify();
    let _ = entry.to_model();
}

const QUERIES: [&str; 15] = [
    "machine-deprecated:pc",
    "version:>=8.2",
    "gic:3",
    "machine:q35",
    "machine:pc",
    "cpu:EPYC@kvm",
    "cpu:max",
    "cpu-model:EPYC",
    "device:virtio-blk-pci",
    "property:virtio-blk-pci.queue-size",
    "type:device",
    "command:blockdev-add",
    "event:SHUTDOWN",
    "option:spice",
    "schema:blockdev-add/arg-type/+file/aio/^io_uring",
];

const PATHS: [&str; 8] = [
    "blockdev-add/arg-type/+file/aio/^io_uring",
    "blockdev-add/arg-type/driver",
    "query-cpus-fast/ret-type/thread-id",
    "SHUTDOWN",
    "a/arg-type/+b/c/^d",
    "a/ret-type/*b/!c/$d",
    "/",
    "",
];

struct Sink(usize);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.wrapping_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Looks at every value, but not for ever: a small file can hold a value of any size.
fn walk(value: Value<'_>, budget: &mut u32) {
    if *budget == 0 {
        return;
    }
    *budget -= 1;
    std::hint::black_box((value.as_bool(), value.as_u64(), value.as_i64(), value.as_str()));
    std::hint::black_box((value.as_f64(), value.is_null()));
    if let Some(array) = value.as_array() {
        std::hint::black_box((array.len(), array.is_empty()));
        for element in array.iter() {
            if *budget == 0 {
                return;
            }
            walk(element, budget);
        }
        std::hint::black_box(array.find("name", "q35").is_some());
    }
    if let Some(object) = value.as_object() {
        for (key, element) in object.iter() {
            if *budget == 0 {
                return;
            }
            std::hint::black_box((object.get(key).is_some(), value.get(key).is_some()));
            walk(element, budget);
        }
    }
}

/// A model made of these bytes: what is written reads back equal, and writes the same file again.
pub fn round_trip(data: &[u8]) {
    let mut source = Bytes(data);
    let mut model = Model::default();
    let mut said = Vec::new();
    for _ in 0..source.number(12) {
        let key = FactKey {
            group: pick(&mut source, Group::ALL),
            accelerator: pick(&mut source, Accelerator::ALL),
            kind: pick(&mut source, FactKind::ALL),
        };
        let fact = match source.number(8) {
            0 => Fact::Refused,
            1 => Fact::Quarantined,
            _ => {
                let json = value(&mut source, 0);
                let Ok(handle) = intern(&mut model.pool, &json) else { return };
                said.push((key, json));
                Fact::Answered(handle)
            }
        };
        said.retain(|(known, _)| *known != key || matches!(fact, Fact::Answered(_)));
        model.set(key, fact);
    }
    for _ in 0..source.number(5) {
        model.inputs.push(input(&mut source));
    }
    model.report = report(&mut source);
    let file = model.encode().expect("a dozen facts fit into a file");
    let entry = Entry::open(&file).expect("what was written can be opened");
    entry.verify().expect("what was written is sound");
    for (key, json) in latest(said) {
        let Some(Fact::Answered(value)) = entry.facts().get(key) else {
            panic!("{key:?} was answered")
        };
        let read = serde_json::to_value(value).expect("it was JSON");
        assert_eq!(read.to_string(), json.to_string(), "as text, so order of keys too");
    }
    let again = entry.to_model().expect("what was written can be loaded");
    assert_eq!(again.inputs, model.inputs);
    assert_eq!(again.report, model.report);
    assert_eq!(again.encode().expect("it fitted before"), file);
    drive(&entry);
}

/// Of several answers to one question the last one.
fn latest(said: Vec<(FactKey, Json)>) -> Vec<(FactKey, Json)> {
    let mut latest: Vec<(FactKey, Json)> = Vec::new();
    for (key, json) in said {
        latest.retain(|(known, _)| *known != key);
        latest.push((key, json));
    }
    latest
}

fn intern(pool: &mut Pool, json: &Json) -> Result<Handle, serde_json::Error> {
    pool.intern(&mut serde_json::Deserializer::from_str(&json.to_string()))
}

/// Decisions, taken from bytes; zeros when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self, below: u8) -> usize {
        usize::from(self.byte() % below)
    }

    fn wide(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    fn text(&mut self) -> String {
        let length = self.number(24).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

fn pick<T: Copy>(source: &mut Bytes<'_>, all: &[T]) -> T {
    all[usize::from(source.byte()) % all.len()]
}

fn value(source: &mut Bytes<'_>, depth: u32) -> Json {
    match source.number(if depth < 12 { 9 } else { 7 }) {
        0 => Json::Null,
        1 => Json::Bool(source.byte() & 1 == 1),
        2 => source.byte().into(),
        3 => source.wide().into(),
        4 => i64::from_ne_bytes(source.wide().to_ne_bytes()).into(),
        5 => f64::from_bits(source.wide()).into(),
        6 => source.text().into(),
        7 => (0..source.number(9)).map(|_| value(source, depth + 1)).collect(),
        _ => {
            let fields = (0..source.number(9)).map(|_| (source.text(), value(source, depth + 1)));
            Json::Object(fields.collect())
        }
    }
}

fn input(source: &mut Bytes<'_>) -> Input {
    let mut sha256 = [0; 32];
    sha256.fill_with(|| source.byte());
    let nanoseconds = |source: &mut Bytes<'_>| u32::from(source.byte());
    let time = |source: &mut Bytes<'_>| {
        (i64::from_ne_bytes(source.wide().to_ne_bytes()), nanoseconds(source))
    };
    Input {
        kind: pick(source, InputKind::ALL),
        scope: pick(source, &[Scope::Binary, Scope::Host]),
        name: source.text().into_bytes(),
        signature: (source.byte() & 1 == 1).then(|| Signature {
            device: source.wide(),
            inode: source.wide(),
            size: source.wide(),
            mtime: time(source),
            ctime: time(source),
        }),
        sha256: (source.byte() & 1 == 1).then_some(sha256),
        value: source.text().into_bytes(),
        racy: source.byte() & 1 == 1,
    }
}

fn report(source: &mut Bytes<'_>) -> Report {
    let of = Source::new(pick(source, Group::ALL), pick(source, Accelerator::ALL));
    let text = |source: &mut Bytes<'_>| (source.byte() & 1 == 1).then(|| source.text());
    let passes = (0..source.number(4)).map(|_| PassReport {
        source: of,
        micros: source.wide(),
        restarts: source.byte().into(),
        failure: text(source),
        output_tail: source.text(),
        commands: vec![CommandReport { execute: source.text(), count: 1, micros: source.wide() }],
    });
    let mut report = Report { passes: passes.collect(), ..Report::default() };
    for _ in 0..source.number(3) {
        report.refused.push(Refusal {
            source: of,
            command: source.text(),
            arguments: text(source),
            class: source.text(),
            desc: source.text(),
        });
        report.quarantined.push(Quarantine {
            source: of,
            command: source.text(),
            arguments: text(source),
            reason: source.text(),
        });
    }
    report
}

/// Anything that an emulator may send: cut into lines however it arrives, and every line understood or
/// refused.
pub fn lines(data: &[u8]) {
    let Some((pieces, sent)) = data.split_at_checked(4) else { return };
    capscache_probe::fuzzing::lines(pieces, sent);
}

/// A transcript, of a probe or in the form of libvirt's `.replies`: whatever is accepted makes a sound
/// entry.
pub fn transcript(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(model) = capscache_probe::replay(text) else { return };
    let file = model.encode().expect("what a transcript says fits into a file");
    let entry = Entry::open(file).expect("what was written can be opened");
    entry.verify().expect("what was written is sound");
    drive(&entry);
}

/// A query, and the same text as a path in a schema.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let schemas = schemas();
    for entry in &schemas {
        let answer = entry.schema().has(text);
        assert_eq!(entry.schema().has(text), answer, "asked twice");
        if let Ok(query) = text.parse::<Query>() {
            entry.answer(&query);
            entry.explain(&query);
            let groups: Groups = entry.groups_for(&query);
            assert!(groups.iter().count() <= Group::ALL.len());
            let again: Query = query.to_string().parse().expect("what it prints is a query");
            assert_eq!(again, query);
        }
    }
}

/// A schema that is as QEMU's, and one that goes in circles and leads nowhere.
fn schemas() -> [Entry<Vec<u8>>; 2] {
    const PLAIN: &str = r#"[
        {"name":"a","meta-type":"command","arg-type":"1","ret-type":"2","features":["x","y"]},
        {"name":"b","meta-type":"event","arg-type":"1"},
        {"name":"1","meta-type":"object","members":[{"name":"c","type":"3"},
            {"name":"d","type":"2","default":null,"features":["z"]}],
            "tag":"c","variants":[{"case":"e","type":"2"},{"case":"f","type":"1"}]},
        {"name":"2","meta-type":"object","members":[{"name":"g","type":"[4]"}]},
        {"name":"3","meta-type":"enum","values":["e","f"],"members":[{"name":"e"},{"name":"f"}]},
        {"name":"4","meta-type":"alternate","members":[{"type":"1"},{"type":"str"}]},
        {"name":"[4]","meta-type":"array","element-type":"4"},
        {"name":"str","meta-type":"builtin","json-type":"string"}]"#;
    const CIRCLES: &str = r#"[
        {"name":"a","meta-type":"command","arg-type":"1","ret-type":"gone"},
        {"name":"1","meta-type":"object","members":[{"name":"c","type":"1"},{"name":"d","type":"[1]"},
            {"name":"g","type":7},{"type":"1"},3],
            "tag":"c","variants":[{"case":"e","type":"1"},{"case":"e"},null]},
        {"name":"[1]","meta-type":"array","element-type":"[1]"},
        {"name":"1","meta-type":"alternate","members":[{"type":"2"}]},
        {"name":"2","meta-type":"alternate","members":[{"type":"2"},{"type":"1"}]},
        {"name":"b","meta-type":"unheard-of"},{"meta-type":"enum","name":"e","values":"f"}]"#;
    [PLAIN, CIRCLES].map(|schema| {
        let mut model = Model::default();
        let json = serde_json::from_str(schema).expect("JSON");
        let handle = intern(&mut model.pool, &json).expect("a small value");
        let (group, accelerator) = (Group::Core, Accelerator::Tcg);
        let key = FactKey { group, accelerator, kind: FactKind::Schema };
        model.set(key, Fact::Answered(handle));
        Entry::open(model.encode().expect("it is small")).expect("it was just written")
    })
}
