//! What one user, and all of them together, may take of the service.
//!
//! Everything that somebody on the socket can make the service keep or do is counted here, by user. A
//! few users who each take all that is allowed leave something to the next one, and any number of
//! unprivileged ones leave something to root and the service's own user.

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

/// Connections of everybody together, if there are descriptors for them.
const CONNECTIONS: usize = 4096;

/// Descriptors that are not for connections: entries, emulators that are probed, watches.
const OTHER_DESCRIPTORS: usize = 256;

/// Descriptors that were sent and are not received yet are counted by the kernel, for the user who
/// sent them and against the limit of descriptors (`unix(7)`, ETOOMANYREFS); so many are wanted.
const IN_FLIGHT: usize = 64 << 10;

/// What a connection may have sent that is not read yet, in bytes; the kernel doubles it for what it
/// keeps beside them (`socket(7)`, SO_SNDBUF).
const UNREAD_BYTES: usize = 64 << 10;

/// Descriptors of one connection that may be unread: of a message the kernel counts more bytes than
/// that, however short it is.
const UNREAD_DESCRIPTORS: usize = 2 * UNREAD_BYTES / 512;

/// Of the connections, what is left for root and the service's own user.
const RESERVED: usize = 16;

/// Bytes of messages that are not complete yet: of one user, of all the unprivileged. Each connection may
/// have a little beside that.
const USER_BYTES: usize = 16 << 20;
const ALL_BYTES: usize = 128 << 20;

/// Looks at files and entries that one user, and all the unprivileged, may have under way at a time. Each
/// takes a thread, and on a file system that hangs keeps it.
const USER_WORK: usize = 4;
const ALL_WORK: usize = 128;

/// Threads for what takes time, beside those of the library that probe: those looks, those of root and the
/// own user, and the probes that are waited for.
pub(super) const THREADS: usize = 2 * ALL_WORK;

/// A message that keeps the thread longer than this is paid for: before the next one its user waits,
/// so that of this time all others have three parts in four.
const LONG: Duration = Duration::from_millis(1);
const OTHERS_PARTS: u32 = 3;

/// What a user waits at most: what took longer was not the message's fault.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Documents that are made or written at a time, for all the unprivileged; for one user it is one.
const ALL_DOCUMENTS: usize = 8;

/// Who is there.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    connections: Cell<usize>,
    /// Those of them that are neither root's nor the own user's.
    unprivileged: Cell<usize>,
    /// Descriptors that may be sent and not received yet, and those of the unprivileged that may be so.
    in_flight: usize,
    descriptors: Cell<usize>,
    /// What all the unprivileged share.
    bytes: Arc<Semaphore>,
    work: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    users: RefCell<HashMap<u32, Rc<User>>>,
}

#[derive(Debug)]
struct User {
    uid: u32,
    /// Whoever of the user's connections has it may have its message answered next.
    turn: Semaphore,
    /// How long the user's next message is to wait.
    owed: Cell<Duration>,
    connections: Cell<usize>,
    descriptors: Cell<usize>,
    bytes: Arc<Semaphore>,
    work: Arc<Semaphore>,
    document: Arc<Semaphore>,
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Rc<Crowd>,
    user: Rc<User>,
    is_privileged: bool,
    /// Descriptors that were sent, as far as they may be unread.
    descriptors: Cell<usize>,
}

/// What was counted for a user and, if that is an unprivileged one, among those of all of them: root and the
/// service's own user are two, and have what each may have for themselves.
#[derive(Debug)]
pub(super) struct Permit {
    own: OwnedSemaphorePermit,
    all: Option<OwnedSemaphorePermit>,
}

impl Crowd {
    /// Nobody yet. Raises this process' limit of descriptors as far as it needs and may.
    pub(super) fn new() -> Rc<Crowd> {
        let wanted = IN_FLIGHT as u64;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if current.is_some_and(|current| current < raised) {
            // Where that fails there are fewer.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
        }
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let connections = descriptors.saturating_sub(OTHER_DESCRIPTORS);
        Crowd::of(connections.clamp(2 * RESERVED, CONNECTIONS), descriptors)
    }

    fn of(most: usize, in_flight: usize) -> Rc<Crowd> {
        Rc::new(Crowd {
            most,
            connections: Cell::new(0),
            unprivileged: Cell::new(0),
            in_flight,
            descriptors: Cell::new(0),
            bytes: Arc::new(Semaphore::new(ALL_BYTES)),
            work: Arc::new(Semaphore::new(ALL_WORK)),
            documents: Arc::new(Semaphore::new(ALL_DOCUMENTS)),
            users: RefCell::default(),
        })
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// A place for one more connection of a user, if there is one. No unprivileged user gets more
    /// than a quarter of all, and all of them together leave some to the others.
    pub(super) fn admit(self: &Rc<Self>, uid: u32, is_privileged: bool) -> Option<Place> {
        let mut users = self.users.borrow_mut();
        let own = users.get(&uid).map_or(0, |user| user.connections.get());
        let (all, unprivileged) = (self.connections.get(), self.unprivileged.get());
        let too_many = !is_privileged
            && (own >= self.most / 4 || unprivileged >= self.most.saturating_sub(RESERVED));
        if all >= self.most || too_many {
            return None;
        }
        let user = users.entry(uid).or_insert_with(|| Rc::new(User::new(uid)));
        user.connections.set(own + 1);
        self.connections.set(all + 1);
        self.unprivileged.set(unprivileged + usize::from(!is_privileged));
        let (crowd, user) = (Rc::clone(self), Rc::clone(user));
        Some(Place { crowd, user, is_privileged, descriptors: Cell::new(0) })
    }
}

impl User {
    fn new(uid: u32) -> User {
        User {
            uid,
            turn: Semaphore::new(1),
            owed: Cell::default(),
            connections: Cell::new(0),
            descriptors: Cell::new(0),
            bytes: Arc::new(Semaphore::new(USER_BYTES)),
            work: Arc::new(Semaphore::new(USER_WORK)),
            document: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Place {
    /// Waits until one more message of this user is to be answered. However many connections a user
    /// has, and however much was sent over them: one message is answered, then one of each other
    /// user, and what else there is to do is done in between.
    pub(super) async fn turn(&self) {
        let _turn = self.user.turn.acquire().await.expect("no semaphore is ever closed");
        match self.user.owed.take() {
            Duration::ZERO => yield_now().await,
            owed => sleep(owed).await,
        }
    }

    /// Limits what may be unread of a connection's, which else the system does.
    pub(super) fn limit_unread(stream: &UnixStream) {
        // Where that fails it is as much as the system allows.
        let _ = set_socket_send_buffer_size(stream, UNREAD_BYTES);
    }

    /// Counts one more descriptor that is sent; false if it may not be. Nothing tells when one is
    /// received, so each counts until so many came after it over its connection that it must have
    /// been. No unprivileged user gets more than an eighth of what may be in flight, and all of them
    /// together half.
    pub(super) fn may_send_descriptor(&self) -> bool {
        let (own, all) = (&self.user.descriptors, &self.crowd.descriptors);
        if self.is_privileged || self.descriptors.get() == UNREAD_DESCRIPTORS {
            return true;
        }
        if own.get() >= self.crowd.in_flight / 8 || all.get() >= self.crowd.in_flight / 2 {
            return false;
        }
        for count in [&self.descriptors, own, all] {
            count.set(count.get() + 1);
        }
        true
    }

    /// Counts how long a message kept the thread that all messages are answered on.
    pub(super) fn kept_busy(&self, busy: Duration) {
        if busy > LONG {
            let owed = self.user.owed.get() + busy * OTHERS_PARTS;
            self.user.owed.set(owed.min(LONGEST_WAIT));
        }
    }

    /// Counts more bytes of an unfinished message; `None` if they are too many.
    pub(super) fn charge(&self, bytes: usize) -> Option<Permit> {
        let bytes = u32::try_from(bytes).ok()?;
        let own = Arc::clone(&self.user.bytes).try_acquire_many_owned(bytes).ok()?;
        let all = match self.is_privileged {
            true => None,
            false => Some(Arc::clone(&self.crowd.bytes).try_acquire_many_owned(bytes).ok()?),
        };
        Some(Permit { own, all })
    }

    /// Waits until this user may have one more file or entry looked at.
    pub(super) async fn work(&self) -> Permit {
        self.permit(&self.user.work, &self.crowd.work).await
    }

    /// Waits until this user may have a document made, and keep it in memory until it is written.
    pub(super) async fn document(&self) -> Permit {
        self.permit(&self.user.document, &self.crowd.documents).await
    }

    async fn permit(&self, own: &Arc<Semaphore>, all: &Arc<Semaphore>) -> Permit {
        let own = permit(own).await;
        Permit { own, all: if self.is_privileged { None } else { Some(permit(all).await) } }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("no semaphore is ever closed")
}

impl Drop for Place {
    fn drop(&mut self) {
        let less = |count: &Cell<usize>| count.set(count.get() - 1);
        less(&self.crowd.connections);
        if !self.is_privileged {
            less(&self.crowd.unprivileged);
        }
        for count in [&self.crowd.descriptors, &self.user.descriptors] {
            count.set(count.get() - self.descriptors.get());
        }
        let left = self.user.connections.get() - 1;
        self.user.connections.set(left);
        if left == 0 {
            self.crowd.users.borrow_mut().remove(&self.user.uid);
        }
    }
}

impl Permit {
    /// Adds what was counted later.
    pub(super) fn merge(&mut self, more: Permit) {
        self.own.merge(more.own);
        if let (Some(all), Some(more)) = (&mut self.all, more.all) {
            all.merge(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// Users with so many connections each, over which more is asked than can be answered; in which
    /// order they are, until the last of them was so often.
    async fn order(connections: &[(u32, usize)], last: usize) -> Vec<u32> {
        let (crowd, order) = (Crowd::of(4096, 512), Rc::new(RefCell::new(Vec::new())));
        let answered = |uid| order.borrow().iter().filter(|other| **other == uid).count();
        let tasks = LocalSet::new();
        for (uid, count) in connections {
            for _ in 0..*count {
                let (place, order) = (crowd.admit(*uid, false).unwrap(), Rc::clone(&order));
                tasks.spawn_local(async move {
                    loop {
                        place.turn().await;
                        order.borrow_mut().push(place.user.uid);
                    }
                });
            }
        }
        let uid = connections.last().unwrap().0;
        tasks
            .run_until(async {
                while answered(uid) < last {
                    yield_now().await;
                }
            })
            .await;
        order.take()
    }

    #[tokio::test]
    async fn users_take_turns_however_many_connections_each_has() {
        let order = order(&[(1000, 900), (1001, 30), (1002, 1)], 100).await;
        let mut since = HashMap::from([(1000, 0), (1001, 0)]);
        for uid in order.into_iter().skip_while(|uid| *uid != 1002) {
            if uid == 1002 {
                since.values_mut().for_each(|since| *since = 0);
                continue;
            }
            *since.get_mut(&uid).unwrap() += 1;
            assert!(since[&uid] <= 2, "the user {uid} was answered {} times", since[&uid]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_the_thread_busy_waits_and_nobody_else() {
        let crowd = Crowd::of(64, 512);
        let (one, two) = (crowd.admit(1000, false).unwrap(), crowd.admit(1000, false).unwrap());
        let other = crowd.admit(1001, false).unwrap();
        let wait = async |place: &Place| {
            let began = tokio::time::Instant::now();
            place.turn().await;
            began.elapsed()
        };
        one.kept_busy(LONG);
        assert_eq!(wait(&one).await, Duration::ZERO);
        one.kept_busy(Duration::from_millis(20));
        assert_eq!(wait(&other).await, Duration::ZERO);
        assert_eq!(wait(&two).await.as_millis(), 60);
        assert_eq!(wait(&one).await, Duration::ZERO, "it is paid for");
        two.kept_busy(Duration::from_secs(1000));
        assert_eq!(wait(&one).await.as_millis(), LONGEST_WAIT.as_millis());
    }

    #[test]
    fn one_user_gets_a_quarter_and_all_of_them_leave_room_for_root() {
        let crowd = Crowd::of(64, 512);
        let places = |uid, privileged| -> Vec<Place> {
            std::iter::from_fn(|| crowd.admit(uid, privileged)).collect()
        };
        let one = places(1000, false);
        assert_eq!(one.len(), 16);
        let others: Vec<_> = (1001..1010).flat_map(|uid| places(uid, false)).collect();
        assert_eq!(one.len() + others.len(), 64 - RESERVED);
        let root = places(0, true);
        assert_eq!(root.len(), RESERVED);
        drop(one);
        assert_eq!(places(1011, false).len(), 16);
        drop((others, root));
        assert_eq!(crowd.connections(), 0);
        assert!(crowd.users.borrow().is_empty(), "nobody is remembered who is gone");
    }

    #[test]
    fn descriptors_of_one_user_that_may_be_unread_leave_those_of_others_room() {
        const EIGHTH: usize = 2 * UNREAD_DESCRIPTORS + 10;
        let crowd = Crowd::of(64, 8 * EIGHTH);
        let user = |uid| [(); 3].map(|()| crowd.admit(uid, false).unwrap());
        let sent = |place: &Place| (0..9999).take_while(|_| place.may_send_descriptor()).count();
        let one = user(1000);
        assert_eq!(sent(&one[0]), 9999, "those that came first were received");
        assert_eq!((sent(&one[1]), sent(&one[2])), (9999, 10));
        let others: Vec<_> = (1001..1005).map(user).collect();
        let of_others: Vec<_> = others.iter().map(|places| sent(&places[2])).collect();
        assert_eq!(of_others, [9999; 4]);
        assert_eq!([&others[0][1], &others[1][1]].map(sent), [9999; 2]);
        assert!(sent(&others[2][1]) < UNREAD_DESCRIPTORS);
        assert_eq!(crowd.descriptors.get(), 4 * EIGHTH, "the other half is not theirs");
        assert_eq!(sent(&crowd.admit(0, true).unwrap()), 9999);
        drop((one, others));
        assert_eq!(crowd.descriptors.get(), 0);
    }

    #[test]
    fn unfinished_messages_of_a_user_are_limited_together_and_free_again_when_they_end() {
        let crowd = Crowd::of(64, 512);
        let (one, two) = (crowd.admit(1000, false).unwrap(), crowd.admit(1000, false).unwrap());
        let other = crowd.admit(1001, false).unwrap();
        let mut charge = one.charge(USER_BYTES - 10).unwrap();
        charge.merge(one.charge(10).unwrap());
        assert!(two.charge(1).is_none());
        assert!(other.charge(1).is_some());
        drop(charge);
        assert!(two.charge(USER_BYTES).is_some());
    }

    #[tokio::test]
    async fn what_all_others_take_together_is_not_taken_from_root() {
        let crowd = Crowd::of(4096, 512);
        let users: Vec<Place> = (1000..1100).map(|uid| crowd.admit(uid, false).unwrap()).collect();
        let root = crowd.admit(0, true).unwrap();
        let bytes: Vec<_> = users.iter().map_while(|user| user.charge(USER_BYTES)).collect();
        assert_eq!(bytes.len(), ALL_BYTES / USER_BYTES);
        assert!(users[99].charge(1).is_none());
        assert!(root.charge(USER_BYTES).is_some());
        let (mut documents, mut work) = (Vec::new(), Vec::new());
        for user in &users[..ALL_DOCUMENTS] {
            documents.push(user.document().await);
        }
        for user in &users[..ALL_WORK / USER_WORK] {
            for _ in 0..USER_WORK {
                work.push(user.work().await);
            }
        }
        tokio::select! {
            biased;
            _ = users[99].document() => panic!("there are too many documents"),
            _ = users[99].work() => panic!("there are too many looks"),
            _ = yield_now() => {}
        }
        drop((root.document().await, root.work().await));
    }
}
