//! Reading of one emulator's cache, from the file to answers, with a warm page cache. Every side has the
//! same content, libvirt's own view of the emulator, in the form of its kind of cache.

#[cfg(feature = "libxml2")]
mod libxml2;
mod questions;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use capscache::{Cache, Capabilities, HostFacts, Lookup};
use capscache_libvirt::{Host, QemuCaps, Release};

#[cfg(feature = "libxml2")]
pub(crate) use self::libxml2::parse as parse_tree;
use self::questions::{Answers, Question, questions};
use crate::measure::{Samples, Side, in_turn};
use crate::report::{Bar, Limit, Unit, Work};

/// The capabilities of one emulator in every form.
#[derive(Clone, Debug)]
pub(crate) struct Forms {
    pub(crate) emulator: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) host: HostFacts,
    pub(crate) xml: PathBuf,
    entry: PathBuf,
    json: PathBuf,
    bincode: PathBuf,
    pub(crate) entry_bytes: u64,
}

/// The owned forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    #[cfg(feature = "libxml2")]
    Libxml2,
    QuickXml,
    Json,
    Bincode,
}

impl Owned {
    const ALL: &[Owned] = &[
        #[cfg(feature = "libxml2")]
        Owned::Libxml2,
        Owned::QuickXml,
        Owned::Json,
        Owned::Bincode,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "libxml2")]
            Owned::Libxml2 => LIBXML2,
            Owned::QuickXml => "quick-xml",
            Owned::Json => "serde_json",
            Owned::Bincode => "bincode",
        }
    }

    pub(crate) fn read(self, forms: &Forms) -> Result<QemuCaps> {
        Ok(match self {
            #[cfg(feature = "libxml2")]
            Owned::Libxml2 => libxml2::load(&forms.xml)?,
            Owned::QuickXml => QemuCaps::from_xml(&fs::read_to_string(&forms.xml)?, LIBVIRT)?,
            Owned::Json => serde_json::from_slice(&fs::read(&forms.json)?)?,
            Owned::Bincode => {
                let bytes = fs::read(&forms.bincode)?;
                bincode::serde::decode_from_slice(&bytes, bincode::config::standard())?.0
            }
        })
    }
}

/// The release of libvirt whose file is read.
pub(crate) const LIBVIRT: Release = Release::V11_3;

pub(crate) const LIBXML2: &str = "libxml2 (as libvirt)";
pub(crate) const MAPPED: &str = "capscache, mapped";

impl Forms {
    /// Probes an emulator and writes its capabilities in every form under `directory`.
    pub(crate) fn create(emulator: &Path, directory: &Path) -> Result<Forms> {
        let root = directory.join("root");
        let caps = Cache::open(&root)?.get(emulator)?;
        let host = Host { emulator: emulator.display().to_string(), ..Host::default() };
        let owned = QemuCaps::from_entry(&*caps, host, LIBVIRT)?;
        let forms = Forms {
            emulator: emulator.to_owned(),
            root,
            host: HostFacts::of_this_host(),
            xml: directory.join("caps.xml"),
            entry: caps.file_path().context("the entry is kept")?.to_owned(),
            json: directory.join("caps.json"),
            bincode: directory.join("caps.bincode"),
            entry_bytes: u64::try_from(caps.bytes().len())?,
        };
        fs::write(&forms.xml, owned.to_xml())?;
        fs::write(&forms.json, serde_json::to_vec(&owned)?)?;
        let config = bincode::config::standard();
        fs::write(&forms.bincode, bincode::serde::encode_to_vec(&owned, config)?)?;
        for form in Owned::ALL {
            ensure!(form.read(&forms)? == owned, "{} reads other content", form.name());
        }
        Ok(forms)
    }

    /// The forms that another process created, as far as readers need them.
    pub(crate) fn at(emulator: &Path, root: &Path, xml: &Path, host: HostFacts) -> Forms {
        Forms {
            emulator: emulator.to_owned(),
            root: root.to_owned(),
            host,
            xml: xml.to_owned(),
            entry: PathBuf::new(),
            json: PathBuf::new(),
            bincode: PathBuf::new(),
            entry_bytes: 0,
        }
    }

    /// Opens the entry in a new `Cache`, validated as in every lookup.
    pub(crate) fn open(&self) -> Result<Capabilities> {
        let cache = Cache::builder(&self.root).host(self.host.clone()).open()?;
        match cache.lookup(&self.emulator)? {
            Lookup::Hit(caps) => Ok(caps),
            other => bail!("the entry is not a hit: {other:?}"),
        }
    }

    /// Opens the entry without validation, which the other forms do not do either.
    fn open_file(&self) -> Result<Capabilities> {
        Ok(Capabilities::in_file(&fs::File::open(&self.entry)?)?)
    }

    /// The digest of all content, which is the same on all sides.
    pub(crate) fn digest_of_mapped(&self) -> Result<u64> {
        let host = Host { emulator: self.emulator.display().to_string(), ..Host::default() };
        digest(&QemuCaps::from_entry(&*self.open_file()?, host, LIBVIRT)?)
    }
}

/// Computes a digest of all content, in a fixed order.
pub(crate) fn digest(caps: &QemuCaps) -> Result<u64> {
    struct Fold(u64);
    impl std::io::Write for Fold {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut fold = Fold(0xcbf2_9ce4_8422_2325);
    bincode::serde::encode_into_std_write(caps, &mut fold, bincode::config::standard())?;
    Ok(fold.0)
}

/// Opens each form and sends it twenty queries: repeatedly, and once after all the others.
pub(crate) fn answers(forms: &Forms, rounds: usize) -> Result<[Work; 2]> {
    let queries = questions(&Owned::QuickXml.read(forms)?);
    ensure!(queries.len() == 20, "cannot compare: there are {} queries", queries.len());
    let expected = forms.open()?.answer_all(&queries);
    for form in Owned::ALL {
        let answers = form.read(forms)?.answer_all(&queries);
        ensure!(answers == expected, "{}: {answers:?}, not {expected:?}", form.name());
    }
    let sizes =
        [&forms.xml, &forms.json, &forms.bincode].map(|file| fs::metadata(file).map(|f| f.len()));
    let [xml, json, bincode] = sizes;
    let what = format!(
        "open and answer 20 questions; XML {} kB, JSON {} kB, bincode {} kB, entry {} kB (with the whole schema)",
        xml? / 1000,
        json? / 1000,
        bincode? / 1000,
        forms.entry_bytes / 1000
    );
    let mut work = Work::new("open-and-answer", what, Unit::Seconds);
    work.sides = answers_in_turn(forms, &queries, rounds, true)?;
    skip_libxml2(&mut work);
    work.add_bar(LIBXML2, MAPPED, Limit::AtLeast(100.0));
    let others = work.sides.iter().filter(|side| side.name != MAPPED && side.name != LIBXML2);
    let best = others.min_by(|a, b| a.median.total_cmp(&b.median)).map(|side| side.name.clone());
    if let Some(best) = best {
        work.add_bar(&best, MAPPED, Limit::AtLeast(12.0));
    }
    let what = "the same, each once after the others: the file's pages are in memory, but nothing is \
                in the processor's own caches";
    let mut once = Work::new("open-and-answer-once", what, Unit::Seconds);
    once.sides = answers_in_turn(forms, &queries, rounds, false)?;
    skip_libxml2(&mut once);
    Ok([work, once])
}

fn answers_in_turn(
    forms: &Forms,
    queries: &[Question],
    rounds: usize,
    repeated: bool,
) -> Result<Vec<Samples>> {
    fn side<'a, T>(name: &str, repeated: bool, work: impl FnMut() -> Result<T> + 'a) -> Side<'a> {
        if repeated { Side::repeated(name, work) } else { Side::timed(name, work) }
    }
    let mut sides: Vec<Side<'_>> = Vec::new();
    for form in Owned::ALL {
        sides.push(side(form.name(), repeated, || {
            let caps = form.read(forms)?;
            let answers = caps.answer_all(queries);
            Ok((caps, answers))
        }));
    }
    sides.push(side(MAPPED, repeated, || {
        let caps = forms.open_file()?;
        let answers = caps.answer_all(queries);
        Ok((caps, answers))
    }));
    in_turn(rounds, sides)
}

/// Opens each form and reads all that libvirt keeps.
pub(crate) fn everything(forms: &Forms, rounds: usize) -> Result<Work> {
    let expected = forms.digest_of_mapped()?;
    let what = "open and touch everything that libvirt keeps; the mapped side makes libvirt's \
                owned view of it first, which drivers that query single values never do";
    let mut work = Work::new("open-and-touch-everything", what, Unit::Seconds);
    let checked = move |found: u64| {
        ensure!(found == expected, "another digest: {found:x}, not {expected:x}");
        Ok(())
    };
    let mut sides: Vec<Side<'_>> = Vec::new();
    for form in Owned::ALL {
        sides.push(Side::timed(form.name(), move || checked(digest(&form.read(forms)?)?)));
    }
    sides.push(Side::timed(MAPPED, move || checked(forms.digest_of_mapped()?)));
    work.sides = in_turn(rounds, sides)?;
    skip_libxml2(&mut work);
    Ok(work)
}

fn skip_libxml2(work: &mut Work) {
    if cfg!(not(feature = "libxml2")) {
        work.skipped.push("libxml2: built without --features libxml2".to_owned());
    }
}

/// Measures a `get` of an open emulator, and one `stat` of its path.
pub(crate) fn hits(forms: &Forms, rounds: usize) -> Result<Work> {
    const BATCH: u32 = 2000;
    let cache = Cache::open(&forms.root)?;
    cache.get(&forms.emulator)?;
    let what = "get of an emulator that is open, validated, and one stat of its path";
    let mut work = Work::new("hit", what, Unit::Seconds);
    let path = std::ffi::CString::new(forms.emulator.as_os_str().as_encoded_bytes())?;
    let stat = "stat";
    let sides = vec![
        Side::timed(stat, || {
            for _ in 0..BATCH {
                std::hint::black_box(rustix::fs::stat(path.as_c_str())?);
            }
            Ok(())
        }),
        Side::timed("capscache, get", || {
            for _ in 0..BATCH {
                std::hint::black_box(cache.get(&forms.emulator)?);
            }
            Ok(())
        }),
    ];
    let samples = in_turn(rounds, sides)?;
    work.sides = samples.into_iter().map(|samples| samples.divided(BATCH)).collect();
    work.add_bar("capscache, get", stat, Limit::AtMost(8.0));
    Ok(work)
}

/// Measures 300,000 gets in one process, and as many stats.
pub(crate) fn many_gets(forms: &Forms) -> Result<Work> {
    const COUNT: u32 = 300_000;
    let cache = Cache::open(&forms.root)?;
    cache.get(&forms.emulator)?;
    let what = "300,000 gets in one process, which took libvirt's direct calls 1.4 s once";
    let mut work = Work::new("many-gets", what, Unit::Seconds);
    let path = std::ffi::CString::new(forms.emulator.as_os_str().as_encoded_bytes())?;
    let (stats, gets) = ("300,000 stats", "capscache, 300,000 gets");
    let sides = vec![
        Side::timed(stats, || {
            for _ in 0..COUNT {
                std::hint::black_box(rustix::fs::stat(path.as_c_str())?);
            }
            Ok(())
        }),
        Side::timed(gets, || {
            for _ in 0..COUNT {
                std::hint::black_box(cache.get(&forms.emulator)?);
            }
            Ok(())
        }),
    ];
    work.sides = in_turn(5, sides)?;
    work.add_bar(gets, stats, Limit::AtMost(8.0));
    if let Some(gets) = work.median(gets) {
        work.bars.push(Bar::new("300,000 gets, in seconds", gets, Limit::AtMost(1.4)));
    }
    Ok(work)
}

/// Measures opening by the size of the file, on which it should not depend.
pub(crate) fn growth(forms: &Forms, directory: &Path, rounds: usize) -> Result<Work> {
    let what = "open alone, and one answer, of a small entry, the real one, and one a hundred times \
                as large";
    let mut work = Work::new("growth", what, Unit::Seconds);
    let hundredfold = usize::try_from(forms.entry_bytes)? * 100;
    let sizes = [("small", 10_000_usize), ("real", 0), ("100 times", hundredfold)];
    let mut files = Vec::new();
    for (name, bytes) in sizes {
        let root = directory.join(name);
        let copied = copy_of_size(forms, &root, bytes)
            .with_context(|| format!("cannot make the {name} entry"))?;
        files.push((format!("{name}, {} kB", copied.entry_bytes / 1000), copied));
    }
    let mut sides: Vec<Side<'_>> = Vec::new();
    for (name, forms) in &files {
        sides.push(Side::timed(format!("open {name}"), move || forms.open()));
    }
    for (name, forms) in &files {
        sides.push(Side::timed(format!("open and answer {name}"), move || {
            let caps = forms.open()?;
            Ok((
                caps.has_device("virtio-blk-pci"),
                caps.best().is_ok_and(|best| best.machine("q35").is_ok()),
            ))
        }));
    }
    work.sides = in_turn(rounds, sides)?;
    let name = |prefix: &str, index: usize| format!("{prefix} {}", files[index].0);
    work.add_bar(&name("open", 2), &name("open", 1), Limit::AtMost(1.5));
    Ok(work)
}

/// A cache with one entry of about `bytes` bytes: the real one, without its facts or with many more.
fn copy_of_size(forms: &Forms, root: &Path, bytes: usize) -> Result<Forms> {
    use capscache::format::{Fact, FactKey, FactKind};
    use capscache::{Accelerator, Group};
    let caps = forms.open()?;
    let mut model = caps.to_model()?;
    let key = |group, kind| FactKey { group, accelerator: Accelerator::Tcg, kind };
    if bytes == 10_000 {
        let keep = [FactKind::Version, FactKind::Target, FactKind::Ran, FactKind::Kvm];
        let drop: Vec<FactKey> =
            model.facts().map(|(key, _)| key).filter(|key| !keep.contains(&key.kind)).collect();
        for key in drop {
            model.set(key, Fact::Refused);
        }
    } else if bytes > 0 {
        // Properties that QEMU does not have, each a different string: nothing is stored twice.
        let mut devices = Vec::new();
        let mut count = 0;
        while devices.len() * 40 * 220 < bytes {
            let mut properties = Vec::new();
            for _ in 0..40 {
                count += 1;
                let text = format!("a property that no device of QEMU has, number {count:0>150}");
                let text = model.pool.string(&text)?;
                properties.push(model.pool.object([("name", text)])?);
            }
            let list = model.pool.array(properties)?;
            devices.push((format!("device-{}", devices.len()), list));
        }
        let named = devices.iter().map(|(name, list)| (name.as_str(), *list));
        let map = model.pool.object(named)?;
        model.set(key(Group::Devices, FactKind::Devices), Fact::Answered(map));
    }
    let below = forms.entry.strip_prefix(&forms.root)?;
    let copied = root.join(below);
    fs::create_dir_all(copied.parent().context("a directory")?)?;
    let encoded = model.encode()?;
    fs::write(&copied, &encoded)?;
    let entry_bytes = u64::try_from(encoded.len())?;
    Ok(Forms { root: root.to_owned(), entry: copied, entry_bytes, ..forms.clone() })
}
