//! The methods of the interface, for one connection.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use capscache::format::FORMAT_VERSION;
use capscache::queue::Caller;
use capscache::{Capabilities, Groups, Lookup, Tri, Validation, chain};
use capscache_libvirt::Release;
use capscache_query::{Query, groups_for};
use futures_util::Stream;
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use zlink::varlink_service::Error as Standard;
use zlink::{Reply, idl, introspect};

use crate::backend::{Backend, run_blocking};
use crate::convert;
use crate::export::{Format, document};
use crate::interface::{
    Answer, Answers, Dropped, Entries, Entry, Error, Event, EventKind, Events, GetReply, Info,
    Outcome, Progress, Reason, State, Status, Version, Warmed,
};
use crate::limits::{Admission, Permit};
use crate::parameters;
use crate::refusal::Refusal;

/// Queries of one call, at most: as many as the largest driver has flags, and some.
const MAX_QUERIES: usize = 1024;

/// Quick queries of one call that are answered on the thread of all connections; more run on another thread.
const MAX_QUICK_QUERIES: usize = 16;

/// Attempts to open the file of an entry that other processes replace.
const OPEN_ATTEMPTS: usize = 3;

/// One connection and its caller.
#[derive(Debug)]
pub(crate) struct Peer {
    backend: Rc<Backend>,
    caller: Caller,
    admission: Rc<Admission>,
    /// Held until the reply with a document is sent.
    document: Option<Permit>,
}

/// Reply of `Export`.
#[derive(Debug, introspect::Type)]
pub(crate) struct Exported {
    document: Text,
}

/// A long text, encoded as JSON on a blocking thread.
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

impl Peer {
    pub(crate) fn new(backend: Rc<Backend>, caller: Caller, admission: Rc<Admission>) -> Peer {
        Peer { backend, caller, admission, document: None }
    }

    /// Frees what was held until a reply was sent.
    pub(crate) fn reply_sent(&mut self) {
        self.document = None;
    }

    async fn entry(&self, emulator: &Path, groups: Groups) -> Result<Capabilities, Error> {
        self.backend.get(self.caller, &self.admission, emulator, groups).await
    }

    /// Finds an entry, without a probe.
    async fn lookup(
        &self,
        emulator: PathBuf,
        thorough: bool,
    ) -> Result<(Status, GetReply, Vec<OwnedFd>), Error> {
        let (cache, is_privileged) = (self.backend.cache.clone(), self.caller.is_privileged);
        let lookup = move || {
            let lookup = match (thorough, is_privileged) {
                (false, _) => cache.lookup(&emulator),
                // No file runs that an unprivileged user could have written.
                (true, false) => cache.lookup_with(&emulator, Validation::Thorough),
                (true, true) => cache.lookup_with(&emulator, Validation::Start),
            };
            let (reply, files) = match &lookup {
                Ok(Lookup::Hit(hit)) => get_reply(hit),
                _ => (missing(), Vec::new()),
            };
            let status = capscache::Status::of(lookup);
            let status: Status = status.map_err(|error| convert::error(error, &emulator))?.into();
            Ok((status.clone(), GetReply { state: status.state, ..reply }, files))
        };
        run_blocking(&self.admission, lookup).await
    }

    /// Refuses callers other than root and the service's own user.
    fn require_privilege(&self, what: &str) -> Result<(), Error> {
        if self.caller.is_privileged {
            return Ok(());
        }
        let reason = format!("only root and the service's own user {what}");
        Err(Error::NotPermitted { reason })
    }

    async fn answers(&self, emulator: &Path, queries: Vec<Query>) -> Result<Vec<Answer>, Error> {
        let mut entry = self.entry(emulator, Groups::CORE).await?;
        if queries.len() <= MAX_QUICK_QUERIES && queries.iter().all(Query::is_quick) {
            let lacking = groups_for(&queries, &entry);
            if !lacking.is_core() {
                entry = self.entry(emulator, lacking).await?;
            }
            return Ok(answers(&queries, &entry));
        }
        let queries = Arc::new(queries);
        let (shared, core) = (Arc::clone(&queries), entry.clone());
        let groups = move || Ok(groups_for(&shared, &core));
        let lacking = run_blocking(&self.admission, groups).await?;
        if !lacking.is_core() {
            entry = self.entry(emulator, lacking).await?;
        }
        run_blocking(&self.admission, move || Ok(answers(&queries, &entry))).await
    }

    async fn get_entry(
        &self,
        emulator: String,
        no_probe: bool,
        groups: Option<Vec<String>>,
    ) -> Result<(GetReply, Vec<OwnedFd>), Refusal> {
        let emulator = parameters::path(emulator)?;
        let groups = parameters::groups(&groups.unwrap_or_default())?;
        if no_probe {
            let (_, reply, files) = self.lookup(emulator, false).await?;
            return Ok((reply, files));
        }
        for _ in 1..OPEN_ATTEMPTS {
            let entry = self.entry(&emulator, groups).await?;
            let (reply, files) = get_reply(&entry);
            // An entry without a file was replaced just now, or could not be written.
            if !files.is_empty() || entry.persist_error().is_some() {
                return Ok((reply, files));
            }
        }
        Ok(get_reply(&self.entry(&emulator, groups).await?))
    }

    async fn make_document(
        &mut self,
        emulator: String,
        format: String,
    ) -> Result<Exported, Refusal> {
        let emulator = parameters::path(emulator)?;
        let Some(format) = Format::parse(&format) else {
            let known = Format::ALL.map(|(name, _)| name.to_owned()).to_vec();
            return Err(Error::UnknownFormat { format, known }.into());
        };
        let entry = self.entry(&emulator, Groups::CORE).await?;
        self.document = Some(self.admission.document().await);
        let make = move || {
            let made = document(&emulator, &entry, format)
                .and_then(|text| Ok(serde_json::value::to_raw_value(&text)?));
            made.map_err(|error| Error::CacheUnusable { reason: chain(&error) })
        };
        let text = run_blocking(&self.admission, make).await?;
        Ok(Exported { document: Text(text) })
    }

    /// Warms emulators, each in a task of its own; dropping the set cancels the others.
    fn start_warming(
        &self,
        emulators: Vec<String>,
        full: bool,
    ) -> Result<JoinSet<Warmed>, Refusal> {
        self.require_privilege("warm entries")?;
        let groups = if full { Groups::ALL } else { Groups::CORE };
        let mut tasks = JoinSet::new();
        for emulator in parameters::paths(emulators)? {
            let (backend, admission) = (Rc::clone(&self.backend), Rc::clone(&self.admission));
            let caller = self.caller;
            tasks.spawn_local(
                async move { backend.warm(caller, &admission, &emulator, groups).await },
            );
        }
        Ok(tasks)
    }
}

/// Capabilities of the QEMU emulators on this host: probed once, stored, and answered from the cache.
///
/// An emulator is named by the absolute path of a QEMU system emulator, without '..' in it. A link and
/// its target are two emulators. Every user who can connect may read. Only root and the service's own
/// user may warm and invalidate entries. Only they may have an emulator probed that has no entry yet,
/// unless the service finds it in its search directories and only root could have written it. A script
/// counts only if its text names all that it runs.
///
/// Unknown parameters are ignored, and later versions of the service only add to the interface.
#[zlink::service(
    interface = "io.capscache.Cache",
    types = [State, Answer, Version, Reason, Entry, Outcome, Warmed, EventKind, Event],
    vendor = "capscache",
    product = "capscache",
    version = env!("CARGO_PKG_VERSION"),
)]
impl Peer {
    /// Returns the version of the service, the version of the format of its entries, and the root of the
    /// cache.
    async fn get_info(&self) -> Result<Info, Refusal> {
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT_VERSION.into(),
            root: self.backend.cache.root().to_string_lossy().into_owned(),
        })
    }

    /// Returns the path of an emulator's entry, and some of its answers. An emulator without a valid entry
    /// is probed first, unless no_probe is set. Groups are further answers that the entry must have:
    /// devices, objects, cpu-models; the groups in the reply are those that it has. The open file of a valid
    /// entry is passed as the only descriptor, where the transport can pass one and the entry is in a file:
    /// docs/format.md specifies its content.
    #[zlink(return_fds)]
    async fn get(
        &self,
        emulator: String,
        no_probe: Option<bool>,
        groups: Option<Vec<String>>,
    ) -> (Result<GetReply, Refusal>, Vec<OwnedFd>) {
        match self.get_entry(emulator, no_probe.unwrap_or(false), groups).await {
            Ok((reply, files)) => (Ok(reply), files),
            Err(refusal) => (Err(refusal), Vec::new()),
        }
    }

    /// Answers queries about an emulator in their order, such as machine:q35, cpu:EPYC@kvm,
    /// property:virtio-blk-pci.queue-size: see `capscache query --help`. At most 1024 in a call, of at
    /// most 4096 bytes each.
    async fn query(&self, emulator: String, queries: Vec<String>) -> Result<Answers, Refusal> {
        if queries.len() > MAX_QUERIES {
            return Err(Refusal::invalid_parameter("queries"));
        }
        let emulator = parameters::path(emulator)?;
        // The release is found when the first flag is queried, and once a call.
        let release = OnceCell::new();
        let release = || release.get_or_init(Release::of_this_host).clone();
        let queries = queries.iter().map(|text| parameters::query(text, release));
        let queries = queries.collect::<Result<Vec<Query>, Error>>()?;
        let answers = self.answers(&emulator, queries).await?;
        Ok(Answers { answers })
    }

    /// Returns a whole entry as a document: json or libvirt-xml, as `capscache export` writes them.
    async fn export(&mut self, emulator: String, format: String) -> Result<Exported, Refusal> {
        self.make_document(emulator, format).await
    }

    /// Returns all entries, ordered by emulator.
    async fn list(&self) -> Result<Entries, Refusal> {
        let cache = self.backend.cache.clone();
        let list = move || {
            let listed = cache.list().map_err(|source| convert::error(source, "".as_ref()))?;
            Ok(listed.iter().map(convert::entry).collect())
        };
        Ok(Entries { entries: run_blocking(&self.admission, list).await? })
    }

    /// Returns the state of an emulator's entry, and the reason why it is not valid. A thorough check
    /// includes the files that a hit does not compare: every module, every shared object.
    async fn status(&self, emulator: String, thorough: Option<bool>) -> Result<Status, Refusal> {
        let (status, ..) =
            self.lookup(parameters::path(emulator)?, thorough.unwrap_or(false)).await?;
        Ok(status)
    }

    /// Probes emulators whose entries are missing or stale, with all groups if full is set. Replies for
    /// each when it is done, with the number of those left; without 'more' once for all. At most 1024.
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
                // A task that panicked was logged.
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

    /// Drops the entries of emulators, at most 1024. Returns the emulators that had one.
    async fn invalidate(&self, emulators: Vec<String>) -> Result<Dropped, Refusal> {
        self.require_privilege("drop entries")?;
        let emulators = parameters::paths(emulators)?;
        let cache = self.backend.cache.clone();
        let invalidate = move || {
            let mut dropped = Vec::new();
            for emulator in emulators {
                if cache
                    .invalidate(&emulator)
                    .map_err(|source| convert::error(source, &emulator))?
                {
                    dropped.push(emulator.to_string_lossy().into_owned());
                }
            }
            Ok(dropped)
        };
        Ok(Dropped { dropped: run_blocking(&self.admission, invalidate).await? })
    }

    /// Returns events from now on. The first reply comes at once, without events. A client that reads too
    /// slowly misses events, and gets their number.
    #[zlink(more)]
    async fn monitor(
        &self,
        more: bool,
    ) -> impl Stream<Item = Result<Reply<Events>, Refusal>> + Unpin + use<> {
        let subscription =
            more.then(|| self.backend.publisher.subscribe()).ok_or(Standard::ExpectedMore);
        let first = Events { events: Vec::new(), missed: 0 };
        let closing = self.backend.closing.clone();
        let state = (subscription.map_err(Refusal::Standard), Some(first), closing);
        Box::pin(stream::unfold(Some(state), |state| async move {
            let (subscription, first, mut closing) = state?;
            let mut subscription = match subscription {
                Ok(subscription) => subscription,
                Err(refusal) => return Some((Err(refusal), None)),
            };
            let events = match first {
                Some(first) => Some(first),
                None => tokio::select! {
                    events = subscription.next() => Some(events),
                    _ = closing.wait_for(|closing| *closing) => None,
                },
            };
            let continues = events.is_some();
            let events = events.unwrap_or(Events { events: Vec::new(), missed: 0 });
            let reply = Reply::new(Some(events)).set_continues(Some(continues));
            Some((Ok(reply), continues.then_some((Ok(subscription), None, closing))))
        }))
    }
}

fn answers(queries: &[Query], entry: &Capabilities) -> Vec<Answer> {
    let answer = |query: &Query| match query.answer(entry) {
        Tri::Yes => Answer::Yes,
        Tri::No => Answer::No,
        Tri::Unknown => Answer::Unknown,
    };
    queries.iter().map(answer).collect()
}

/// Returns the reply of `Get` for a valid entry, and its file.
fn get_reply(entry: &Capabilities) -> (GetReply, Vec<OwnedFd>) {
    let reply = GetReply {
        state: State::Valid,
        entry: entry.file_path().map(|path| path.to_string_lossy().into_owned()),
        version: Some(convert::version(entry)),
        arch: Some(entry.arch().to_owned()),
        accelerators: convert::accelerators(entry),
        groups: convert::groups(entry),
    };
    (reply, entry.file().into_iter().map(OwnedFd::from).collect())
}

fn missing() -> GetReply {
    GetReply {
        state: State::Missing,
        entry: None,
        version: None,
        arch: None,
        accelerators: Vec::new(),
        groups: Vec::new(),
    }
}
