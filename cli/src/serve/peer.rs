//! The methods of the interface, for one connection.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use capscache::{Capabilities, FORMAT_VERSION, Group, Groups, Lookup, Query, Tri};
use clap::ValueEnum;
use futures_util::Stream;
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use zlink::varlink_service::Error as Standard;
use zlink::{Reply, idl, introspect};

use super::limits::{Permit, Place};
use super::permission::Caller;
use super::service::{Service, blocking, error};
use crate::args::Format;
use crate::entries;
use crate::export::document;
use crate::interface::{
    Answer, Answers, Dropped, Entries, Entry, Error, Event, Events, Got, Happening, Info, Outcome,
    Progress, Reason, State, Status, Version, Warmed,
};
use crate::question::{Question, QuestionError, groups_for};

/// Queries that one call may ask: as many as the largest driver has flags, and some.
const MOST_QUERIES: usize = 1024;

/// Emulators that one call may name: more than any host has.
const MOST_EMULATORS: usize = 1024;

/// `PATH_MAX`, with the NUL.
const LONGEST_PATH: usize = 4096;

/// Queries that are answered on the thread of all connections, if each is quick; more go elsewhere.
const FEW_QUERIES: usize = 16;

/// How often the file of an entry that is replaced while it is opened is opened again.
const TRIES: usize = 3;

/// One connection, and who is at its other end.
#[derive(Debug)]
pub(super) struct Peer {
    service: Rc<Service>,
    caller: Caller,
    place: Rc<Place>,
    /// Held until the document that was made is written.
    document: Option<Permit>,
}

/// What `Export` returns: a document as text.
#[derive(Debug, introspect::Type)]
pub(super) struct Exported {
    document: Text,
}

/// A long text, made JSON already where that keeps nobody waiting.
#[derive(Debug)]
struct Text(Box<RawValue>);

impl introspect::Type for Text {
    const TYPE: &'static idl::Type<'static> = &idl::Type::String;
}

impl Serialize for Exported {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut exported = serializer.serialize_struct("Exported", 1)?;
        exported.serialize_field("document", &self.document.0)?;
        exported.end()
    }
}

/// Why a call is refused: with an error of the interface, or with one that all interfaces share.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Refusal {
    Own(Error),
    Standard(Standard<'static>),
}

impl introspect::ReplyError for Refusal {
    const VARIANTS: &'static [&'static idl::Error<'static>] = Error::VARIANTS;
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Own(error)
    }
}

impl Refusal {
    fn parameter(name: &'static str) -> Refusal {
        Refusal::Standard(Standard::InvalidParameter { parameter: name.into() })
    }
}

impl Peer {
    pub(super) fn new(service: Rc<Service>, caller: Caller, place: Rc<Place>) -> Peer {
        Peer { service, caller, place, document: None }
    }

    /// A reply was written: what was kept for it is free again.
    pub(super) fn written(&mut self) {
        self.document = None;
    }

    async fn obtain(&self, emulator: &Path, groups: Groups) -> Result<Capabilities, Error> {
        self.service.obtain(self.caller, &self.place, emulator, groups).await
    }

    /// What the cache has, without any probe.
    async fn look(
        &self,
        emulator: PathBuf,
        thorough: bool,
    ) -> Result<(Status, Got, Vec<OwnedFd>), Error> {
        let (cache, is_privileged) = (self.service.cache.clone(), self.caller.is_privileged);
        let look = move || {
            let looked = match thorough {
                // Nothing is run for somebody who could have written it.
                true if !is_privileged => cache.lookup_thoroughly(&emulator),
                _ => entries::look(&cache, &emulator, thorough),
            };
            let (got, files) = match &looked {
                Ok(Lookup::Hit(hit)) => got(hit),
                _ => (nothing(), Vec::new()),
            };
            let status = entries::status(looked).map_err(|source| error(source, &emulator))?;
            Ok((status.clone(), Got { state: status.state, ..got }, files))
        };
        blocking(&self.place, look).await
    }

    /// Refuses what only root and the service's own user may do.
    fn must_be_privileged(&self, what: &str) -> Result<(), Error> {
        if self.caller.is_privileged {
            return Ok(());
        }
        let reason = format!("only root and the service's own user {what}");
        Err(Error::NotPermitted { reason })
    }

    async fn answers(&self, emulator: &Path, queries: &[String]) -> Result<Vec<Answer>, Error> {
        let queries =
            queries.iter().map(|text| parse(text)).collect::<Result<Vec<Question>, _>>()?;
        let mut entry = self.obtain(emulator, Groups::CORE).await?;
        if queries.len() <= FEW_QUERIES && queries.iter().all(Question::is_quick) {
            let lacking = groups_for(&queries, &entry);
            if !lacking.is_core() {
                entry = self.obtain(emulator, lacking).await?;
            }
            return Ok(answers(&queries, &entry));
        }
        let queries = Arc::new(queries);
        let (asked, asking) = (Arc::clone(&queries), entry.clone());
        let lacking = blocking(&self.place, move || Ok(groups_for(&asked, &asking))).await?;
        if !lacking.is_core() {
            entry = self.obtain(emulator, lacking).await?;
        }
        blocking(&self.place, move || Ok(answers(&queries, &entry))).await
    }

    async fn get_entry(
        &self,
        emulator: String,
        no_probe: bool,
        groups: Option<Vec<String>>,
    ) -> Result<(Got, Vec<OwnedFd>), Refusal> {
        let emulator = path(emulator)?;
        let groups = groups_of(&groups.unwrap_or_default())?;
        if no_probe {
            let (_, got, files) = self.look(emulator, false).await?;
            return Ok((got, files));
        }
        for _ in 1..TRIES {
            let entry = self.obtain(&emulator, groups).await?;
            let (got, files) = got(&entry);
            // Without a file it was replaced just now, or could not be kept.
            if !files.is_empty() || entry.not_kept().is_some() {
                return Ok((got, files));
            }
        }
        Ok(got(&self.obtain(&emulator, groups).await?))
    }

    async fn make_document(
        &mut self,
        emulator: String,
        format: String,
    ) -> Result<Exported, Refusal> {
        let emulator = path(emulator)?;
        let known = || Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let format = Format::from_str(&format, false).map_err(|_| Error::UnknownFormat {
            format,
            known: known().map(|format| format.get_name().to_owned()).collect(),
        })?;
        let entry = self.obtain(&emulator, Groups::CORE).await?;
        self.document = Some(self.place.document().await);
        let make = move || {
            let made = document(&emulator, &entry, format)
                .and_then(|text| Ok(serde_json::value::to_raw_value(&text)?));
            made.map_err(|why| Error::CacheUnusable { reason: format!("{why:#}") })
        };
        let text = blocking(&self.place, make).await?;
        Ok(Exported { document: Text(text) })
    }

    /// Warms emulators, each in a task of its own; those that are not done end with the set.
    fn start_warming(
        &self,
        emulators: Vec<String>,
        full: bool,
    ) -> Result<JoinSet<Warmed>, Refusal> {
        self.must_be_privileged("warm entries")?;
        let groups = if full { Groups::ALL } else { Groups::CORE };
        let mut tasks = JoinSet::new();
        for emulator in paths(emulators)? {
            let (service, place) = (Rc::clone(&self.service), Rc::clone(&self.place));
            let caller = self.caller;
            tasks.spawn_local(async move { service.warm(caller, &place, &emulator, groups).await });
        }
        Ok(tasks)
    }
}

/// The capabilities of every QEMU on this host: asked once, kept, and answered from the cache.
///
/// An emulator is named by the absolute path of a QEMU system emulator, without '..' in it; the path
/// asked for decides, whatever it links to. Everybody who may connect reads. Only root and the
/// service's own user warm and invalidate, or have an emulator probed that is not known yet, unless it
/// is one that the service looks for by itself and that nobody but root could have written.
///
/// Parameters that are not known are ignored, and later versions of the service only add to the
/// interface.
#[zlink::service(
    interface = "io.capscache.Cache",
    types = [State, Answer, Version, Reason, Entry, Outcome, Warmed, Happening, Event],
    vendor = "capscache",
    product = "capscache",
    version = env!("CARGO_PKG_VERSION"),
)]
impl Peer {
    /// The version of the service, the version of the format of its entries, and the directory of the
    /// cache.
    async fn get_info(&self) -> Result<Info, Refusal> {
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT_VERSION.into(),
            root: self.service.cache.root().to_string_lossy().into_owned(),
        })
    }

    /// The entry of an emulator, which is probed first if need be, unless no_probe is set: the path of
    /// its file, and some of what it says. Groups are further answers that it is to have: devices,
    /// objects, cpu-models. With a valid entry comes its file, as the only descriptor, where the
    /// transport can pass one and the entry is in a file: docs/format.md says how to read it.
    #[zlink(return_fds)]
    async fn get(
        &self,
        emulator: String,
        no_probe: Option<bool>,
        groups: Option<Vec<String>>,
    ) -> (Result<Got, Refusal>, Vec<OwnedFd>) {
        match self.get_entry(emulator, no_probe.unwrap_or(false), groups).await {
            Ok((got, files)) => (Ok(got), files),
            Err(refusal) => (Err(refusal), Vec::new()),
        }
    }

    /// Answers questions about an emulator in their order, such as machine:q35, cpu:EPYC@kvm,
    /// property:virtio-blk-pci.queue-size: see `capscache query --help`. At most 1024 in a call, of at
    /// most 4096 bytes each.
    async fn query(&self, emulator: String, queries: Vec<String>) -> Result<Answers, Refusal> {
        if queries.len() > MOST_QUERIES {
            return Err(Refusal::parameter("queries"));
        }
        let answers = self.answers(&path(emulator)?, &queries).await?;
        Ok(Answers { answers })
    }

    /// A whole entry as a document; the formats are those of `capscache export`.
    async fn export(&mut self, emulator: String, format: String) -> Result<Exported, Refusal> {
        self.make_document(emulator, format).await
    }

    /// All entries, ordered by emulator.
    async fn list(&self) -> Result<Entries, Refusal> {
        let cache = self.service.cache.clone();
        let list = move || {
            let listed = cache.list().map_err(|source| error(source, "".as_ref()))?;
            Ok(listed.iter().map(entries::entry).collect())
        };
        Ok(Entries { entries: blocking(&self.place, list).await? })
    }

    /// Whether the entry of an emulator is valid, and if not, why. A thorough look goes also at what a
    /// hit does not pay for: every module, every shared object.
    async fn status(&self, emulator: String, thorough: Option<bool>) -> Result<Status, Refusal> {
        let (status, ..) = self.look(path(emulator)?, thorough.unwrap_or(false)).await?;
        Ok(status)
    }

    /// Probes emulators whose entries are missing or stale, with all groups if it is to be full. Tells
    /// of each when it is done and how many are left; of all at once without 'more'. At most 1024.
    #[zlink(more)]
    async fn warm(
        &self,
        more: bool,
        emulators: Vec<String>,
        full: Option<bool>,
    ) -> impl Stream<Item = Result<Reply<Progress>, Refusal>> + Unpin + use<> {
        let tasks = self.start_warming(emulators, full.unwrap_or(false));
        Box::pin(stream::unfold(Some(tasks), move |tasks| async move {
            let mut tasks = match tasks? {
                Ok(tasks) => tasks,
                Err(refusal) => return Some((Err(refusal), None)),
            };
            let mut warmed = Vec::new();
            while let Some(done) = tasks.join_next().await {
                // One that broke was told to the log.
                warmed.extend(done.ok());
                if more {
                    break;
                }
            }
            let left = tasks.len();
            let progress = Progress { warmed, left: u32::try_from(left).unwrap_or(u32::MAX) };
            let reply = Reply::new(Some(progress)).set_continues(Some(left > 0));
            Some((Ok(reply), (left > 0).then_some(Ok(tasks))))
        }))
    }

    /// Drops the entries of emulators, at most 1024; those that had one.
    async fn invalidate(&self, emulators: Vec<String>) -> Result<Dropped, Refusal> {
        self.must_be_privileged("drop entries")?;
        let emulators = paths(emulators)?;
        let cache = self.service.cache.clone();
        let invalidate = move || {
            let mut dropped = Vec::new();
            for emulator in emulators {
                if cache.invalidate(&emulator).map_err(|source| error(source, &emulator))? {
                    dropped.push(emulator.to_string_lossy().into_owned());
                }
            }
            Ok(dropped)
        };
        Ok(Dropped { dropped: blocking(&self.place, invalidate).await? })
    }

    /// Tells what happens from now on. The first reply comes at once, without any event. Events are
    /// missed by those who read too slowly, and counted.
    #[zlink(more)]
    async fn monitor(
        &self,
        more: bool,
    ) -> impl Stream<Item = Result<Reply<Events>, Refusal>> + Unpin + use<> {
        let watching = more.then(|| self.service.events.watch()).ok_or(Standard::ExpectedMore);
        let begin = Events { events: Vec::new(), missed: 0 };
        let state =
            (watching.map_err(Refusal::Standard), Some(begin), self.service.closing.clone());
        Box::pin(stream::unfold(Some(state), |state| async move {
            let (watching, begin, mut closing) = state?;
            let mut watching = match watching {
                Ok(watching) => watching,
                Err(refusal) => return Some((Err(refusal), None)),
            };
            let events = match begin {
                Some(begin) => Some(begin),
                None => tokio::select! {
                    events = watching.next() => Some(events),
                    _ = closing.wait_for(|closing| *closing) => None,
                },
            };
            let goes_on = events.is_some();
            let events = events.unwrap_or(Events { events: Vec::new(), missed: 0 });
            let reply = Reply::new(Some(events)).set_continues(Some(goes_on));
            Some((Ok(reply), goes_on.then_some((Ok(watching), None, closing))))
        }))
    }
}

pub(super) fn parse(text: &str) -> Result<Question, Error> {
    text.parse().map_err(|why: QuestionError| Error::BadQuery {
        query: beginning(text, Query::MAX_BYTES),
        reason: why.to_string(),
    })
}

fn answers(queries: &[Question], entry: &Capabilities) -> Vec<Answer> {
    let answer = |query: &Question| match query.answer(entry) {
        Tri::Yes => Answer::Yes,
        Tri::No => Answer::No,
        Tri::Unknown => Answer::Unknown,
    };
    queries.iter().map(answer).collect()
}

/// The path of an emulator, in the one spelling that it has: without `.` and repeated slashes. What is
/// relative here means nothing to whoever asks, and `..` leads elsewhere behind a link.
pub(super) fn path(emulator: String) -> Result<PathBuf, Error> {
    let path = Path::new(&emulator);
    let reason = if emulator.len() >= LONGEST_PATH {
        format!("it has {} bytes, {} at most", emulator.len(), LONGEST_PATH - 1)
    } else if !path.is_absolute() {
        "it is relative; name it by its absolute path".to_owned()
    } else if path.components().any(|part| part == Component::ParentDir) {
        "it has '..' in it; name it by the path without".to_owned()
    } else {
        return Ok(path.components().collect());
    };
    Err(Error::BadPath { emulator: beginning(&emulator, LONGEST_PATH), reason })
}

/// As many bytes of a text, or a few less: a reply repeats no endless one.
fn beginning(text: &str, bytes: usize) -> String {
    let bytes = text.len().min(bytes);
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// The paths of several emulators.
fn paths(emulators: Vec<String>) -> Result<Vec<PathBuf>, Refusal> {
    if emulators.len() > MOST_EMULATORS {
        return Err(Refusal::parameter("emulators"));
    }
    Ok(emulators.into_iter().map(path).collect::<Result<_, _>>()?)
}

fn groups_of(names: &[String]) -> Result<Groups, Error> {
    let mut groups = Groups::CORE;
    for name in names {
        match Group::ALL.iter().find(|group| group.name() == name) {
            Some(group) => groups = groups | Groups::from(*group),
            None => {
                let known = Group::ALL.iter().map(|group| group.name().to_owned()).collect();
                return Err(Error::UnknownGroup { group: name.clone(), known });
            }
        }
    }
    Ok(groups)
}

/// What `Get` says of a valid entry, and its file.
fn got(entry: &Capabilities) -> (Got, Vec<OwnedFd>) {
    let got = Got {
        state: State::Valid,
        entry: entry.file_path().map(|path| path.to_string_lossy().into_owned()),
        version: Some(entries::version(entry)),
        arch: Some(entry.arch().to_owned()),
        accelerators: entries::accelerators(entry),
    };
    (got, entry.file().into_iter().map(OwnedFd::from).collect())
}

fn nothing() -> Got {
    Got { state: State::Missing, entry: None, version: None, arch: None, accelerators: Vec::new() }
}
