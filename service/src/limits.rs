//! Limits of one user, and of all users together.
//!
//! Everything that a peer can make the service keep or do is counted here, by user. A few users who each
//! reach all their limits leave room for the next one, and any number of unprivileged users leave room
//! for root and the service's own user.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::sleep;

/// Connections of all users together, if there are descriptors for them.
const CONNECTIONS: usize = 4096;

/// Descriptors that are not for connections: entries, probed emulators, watches.
const OTHER_DESCRIPTORS: usize = 256;

/// Limit of descriptors to set: the kernel counts those in flight, sent and not received yet, for the
/// user who sent them against it (`unix(7)`, ETOOMANYREFS).
const IN_FLIGHT: usize = 64 << 10;

/// Bytes of replies to one connection that may be unread; the kernel doubles the number for its own
/// bookkeeping (`socket(7)`, SO_SNDBUF).
const UNREAD_BYTES: usize = 64 << 10;

/// Descriptors to one connection that may be unread: the kernel counts at least 512 bytes for a message,
/// however short it is.
const UNREAD_DESCRIPTORS: usize = 2 * UNREAD_BYTES / 512;

/// Connections that are reserved for root and the service's own user.
const RESERVED: usize = 16;

/// Bytes of unfinished messages of one user, and of all unprivileged users; a small buffer of each
/// connection is not counted.
const USER_BYTES: usize = 16 << 20;
const ALL_BYTES: usize = 128 << 20;

/// Blocking calls (checks of files and entries) of one user, and of all unprivileged users, at a time. Each
/// occupies a thread, on a file system that hangs for ever.
const USER_BLOCKING: usize = 4;
const ALL_BLOCKING: usize = 128;

/// Threads for blocking calls, beside those of the library that probe: the calls of unprivileged users,
/// those of root and the own user, and those that wait for a probe.
pub(crate) const THREADS: usize = 2 * ALL_BLOCKING;

/// A message that occupies the thread longer than this delays the next one of its user, by three times as
/// long: other users get three quarters of the time.
const LONG: Duration = Duration::from_millis(1);
const DELAY_FACTOR: u32 = 3;

/// Longest delay: no message alone causes a longer one.
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Documents of all unprivileged users that are made or written at a time; one user has one.
const ALL_DOCUMENTS: usize = 8;

/// The limits and what counts against them.
#[derive(Debug)]
pub(crate) struct Limits {
    max_connections: usize,
    connections: Cell<usize>,
    /// Connections of other users than root and the own user.
    unprivileged: Cell<usize>,
    /// Descriptors that may be in flight, and those of unprivileged users that may be.
    max_descriptors: usize,
    descriptors: Cell<usize>,
    /// Shared by all unprivileged users.
    bytes: Arc<Semaphore>,
    blocking: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    users: RefCell<HashMap<u32, Rc<User>>>,
}

#[derive(Debug)]
struct User {
    uid: u32,
    /// Held by the connection whose message is answered next.
    turn: Semaphore,
    /// Delay of the user's next message.
    delay: Cell<Duration>,
    connections: Cell<usize>,
    descriptors: Cell<usize>,
    bytes: Arc<Semaphore>,
    blocking: Arc<Semaphore>,
    document: Arc<Semaphore>,
}

/// The admission of one connection, which counts against the limits until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Rc<Limits>,
    user: Rc<User>,
    is_privileged: bool,
    /// Descriptors that were sent and may be unread.
    descriptors: Cell<usize>,
}

/// A count against the limit of one user and, if the user is unprivileged, against that of all unprivileged
/// users. Root and the service's own user share no limit.
#[derive(Debug)]
pub(crate) struct Permit {
    own: OwnedSemaphorePermit,
    all: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// Raises this process' limit of descriptors as far as needed and permitted, and derives the limits
    /// from it.
    pub(crate) fn new() -> Rc<Limits> {
        let wanted = IN_FLIGHT as u64;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if current.is_some_and(|current| current < raised) {
            // Where that fails, fewer connections are admitted.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
        }
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let connections = descriptors.saturating_sub(OTHER_DESCRIPTORS);
        Limits::with(connections.clamp(2 * RESERVED, CONNECTIONS), descriptors)
    }

    fn with(max_connections: usize, max_descriptors: usize) -> Rc<Limits> {
        Rc::new(Limits {
            max_connections,
            connections: Cell::new(0),
            unprivileged: Cell::new(0),
            max_descriptors,
            descriptors: Cell::new(0),
            bytes: Arc::new(Semaphore::new(ALL_BYTES)),
            blocking: Arc::new(Semaphore::new(ALL_BLOCKING)),
            documents: Arc::new(Semaphore::new(ALL_DOCUMENTS)),
            users: RefCell::default(),
        })
    }

    /// Returns the number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Admits one more connection of a user; `None` beyond the limits. No unprivileged user gets more than
    /// a quarter of all connections, and all of them together leave the reserved ones free.
    pub(crate) fn admit(self: &Rc<Self>, uid: u32, is_privileged: bool) -> Option<Admission> {
        let mut users = self.users.borrow_mut();
        let own = users.get(&uid).map_or(0, |user| user.connections.get());
        let (all, unprivileged) = (self.connections.get(), self.unprivileged.get());
        let too_many = !is_privileged
            && (own >= self.max_connections / 4
                || unprivileged >= self.max_connections.saturating_sub(RESERVED));
        if all >= self.max_connections || too_many {
            return None;
        }
        let user = users.entry(uid).or_insert_with(|| Rc::new(User::new(uid)));
        user.connections.set(own + 1);
        self.connections.set(all + 1);
        self.unprivileged.set(unprivileged + usize::from(!is_privileged));
        let (limits, user) = (Rc::clone(self), Rc::clone(user));
        Some(Admission { limits, user, is_privileged, descriptors: Cell::new(0) })
    }
}

impl User {
    fn new(uid: u32) -> User {
        User {
            uid,
            turn: Semaphore::new(1),
            delay: Cell::default(),
            connections: Cell::new(0),
            descriptors: Cell::new(0),
            bytes: Arc::new(Semaphore::new(USER_BYTES)),
            blocking: Arc::new(Semaphore::new(USER_BLOCKING)),
            document: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Admission {
    /// Waits until one more message of this user is to be answered. However many connections a user has,
    /// and however much was sent over them: one message is answered, then one of each other user, and
    /// other tasks run in between.
    pub(crate) async fn wait_for_turn(&self) {
        let _turn = self.user.turn.acquire().await.expect("no semaphore is closed");
        match self.user.delay.take() {
            Duration::ZERO => yield_now().await,
            delay => sleep(delay).await,
        }
    }

    /// Limits the unread bytes of a connection, which otherwise the system's default does.
    pub(crate) fn limit_unread(stream: &UnixStream) {
        // Where that fails, the default stays.
        let _ = set_socket_send_buffer_size(stream, UNREAD_BYTES);
    }

    /// Counts one more descriptor that is sent; returns false beyond the limit. The kernel does not report
    /// when one is received, so each counts until so many followed it over its connection that it must
    /// have been. No unprivileged user gets more than an eighth of the limit, and all of them together
    /// half.
    pub(crate) fn may_send_descriptor(&self) -> bool {
        let (own, all) = (&self.user.descriptors, &self.limits.descriptors);
        if self.is_privileged || self.descriptors.get() == UNREAD_DESCRIPTORS {
            return true;
        }
        if own.get() >= self.limits.max_descriptors / 8
            || all.get() >= self.limits.max_descriptors / 2
        {
            return false;
        }
        for count in [&self.descriptors, own, all] {
            count.set(count.get() + 1);
        }
        true
    }

    /// Counts the time that a message occupied the thread that answers all messages.
    pub(crate) fn charge_time(&self, busy: Duration) {
        if busy > LONG {
            let delay = self.user.delay.get() + busy * DELAY_FACTOR;
            self.user.delay.set(delay.min(MAX_DELAY));
        }
    }

    /// Counts more bytes of an unfinished message; `None` beyond the limit.
    pub(crate) fn charge_bytes(&self, bytes: usize) -> Option<Permit> {
        let bytes = u32::try_from(bytes).ok()?;
        let own = Arc::clone(&self.user.bytes).try_acquire_many_owned(bytes).ok()?;
        let all = match self.is_privileged {
            true => None,
            false => Some(Arc::clone(&self.limits.bytes).try_acquire_many_owned(bytes).ok()?),
        };
        Some(Permit { own, all })
    }

    /// Waits until this user may have one more blocking call.
    pub(crate) async fn blocking_call(&self) -> Permit {
        self.permit(&self.user.blocking, &self.limits.blocking).await
    }

    /// Waits until this user may have a document made, which is kept in memory until it is written.
    pub(crate) async fn document(&self) -> Permit {
        self.permit(&self.user.document, &self.limits.documents).await
    }

    async fn permit(&self, own: &Arc<Semaphore>, all: &Arc<Semaphore>) -> Permit {
        let own = acquire(own).await;
        Permit { own, all: if self.is_privileged { None } else { Some(acquire(all).await) } }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("no semaphore is closed")
}

impl Drop for Admission {
    fn drop(&mut self) {
        let less = |count: &Cell<usize>| count.set(count.get() - 1);
        less(&self.limits.connections);
        if !self.is_privileged {
            less(&self.limits.unprivileged);
        }
        for count in [&self.limits.descriptors, &self.user.descriptors] {
            count.set(count.get() - self.descriptors.get());
        }
        let left = self.user.connections.get() - 1;
        self.user.connections.set(left);
        if left == 0 {
            self.limits.users.borrow_mut().remove(&self.user.uid);
        }
    }
}

impl Permit {
    /// Adds a later count.
    pub(crate) fn merge(&mut self, more: Permit) {
        self.own.merge(more.own);
        if let (Some(all), Some(more)) = (&mut self.all, more.all) {
            all.merge(more);
        }
    }
}

#[cfg(test)]
mod tests;
