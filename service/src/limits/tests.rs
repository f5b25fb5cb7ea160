use tokio::task::LocalSet;

use super::*;

/// Returns the order in which users with this many connections each, all of which always wait for a turn, get
/// it, until the last of them had it so often.
async fn order(connections: &[(u32, usize)], last: usize) -> Vec<u32> {
    let (limits, order) = (Limits::with(4096, 512), Rc::new(RefCell::new(Vec::new())));
    let answered = |uid| order.borrow().iter().filter(|other| **other == uid).count();
    let tasks = LocalSet::new();
    for (uid, count) in connections {
        for _ in 0..*count {
            let (admission, order) = (limits.admit(*uid, false).unwrap(), Rc::clone(&order));
            tasks.spawn_local(async move {
                loop {
                    admission.wait_for_turn().await;
                    order.borrow_mut().push(admission.user.uid);
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
async fn only_the_user_whose_message_occupied_the_thread_is_delayed() {
    let limits = Limits::with(64, 512);
    let (one, two) = (limits.admit(1000, false).unwrap(), limits.admit(1000, false).unwrap());
    let other = limits.admit(1001, false).unwrap();
    let wait = async |admission: &Admission| {
        let began = tokio::time::Instant::now();
        admission.wait_for_turn().await;
        began.elapsed()
    };
    one.charge_time(LONG);
    assert_eq!(wait(&one).await, Duration::ZERO);
    one.charge_time(Duration::from_millis(20));
    assert_eq!(wait(&other).await, Duration::ZERO);
    assert_eq!(wait(&two).await.as_millis(), 60);
    assert_eq!(wait(&one).await, Duration::ZERO, "the delay is over");
    two.charge_time(Duration::from_secs(1000));
    assert_eq!(wait(&one).await.as_millis(), MAX_DELAY.as_millis());
}

#[test]
fn one_user_gets_a_quarter_and_all_of_them_leave_room_for_root() {
    let limits = Limits::with(64, 512);
    let admit = |uid, privileged| -> Vec<Admission> {
        std::iter::from_fn(|| limits.admit(uid, privileged)).collect()
    };
    let one = admit(1000, false);
    assert_eq!(one.len(), 16);
    let others: Vec<_> = (1001..1010).flat_map(|uid| admit(uid, false)).collect();
    assert_eq!(one.len() + others.len(), 64 - RESERVED);
    let root = admit(0, true);
    assert_eq!(root.len(), RESERVED);
    drop(one);
    assert_eq!(admit(1011, false).len(), 16);
    drop((others, root));
    assert_eq!(limits.connections(), 0);
    assert!(limits.users.borrow().is_empty(), "no user without a connection is kept");
}

#[test]
fn descriptors_of_one_user_that_may_be_unread_leave_those_of_others_room() {
    const EIGHTH: usize = 2 * UNREAD_DESCRIPTORS + 10;
    let limits = Limits::with(64, 8 * EIGHTH);
    let user = |uid| [(); 3].map(|()| limits.admit(uid, false).unwrap());
    let sent =
        |admission: &Admission| (0..9999).take_while(|_| admission.may_send_descriptor()).count();
    let one = user(1000);
    assert_eq!(sent(&one[0]), 9999, "earlier ones were received");
    assert_eq!((sent(&one[1]), sent(&one[2])), (9999, 10));
    let others: Vec<_> = (1001..1005).map(user).collect();
    let of_others: Vec<_> = others.iter().map(|admissions| sent(&admissions[2])).collect();
    assert_eq!(of_others, [9999; 4]);
    assert_eq!([&others[0][1], &others[1][1]].map(sent), [9999; 2]);
    assert!(sent(&others[2][1]) < UNREAD_DESCRIPTORS);
    assert_eq!(limits.descriptors.get(), 4 * EIGHTH, "the other half stays free");
    assert_eq!(sent(&limits.admit(0, true).unwrap()), 9999);
    drop((one, others));
    assert_eq!(limits.descriptors.get(), 0);
}

#[test]
fn unfinished_messages_of_a_user_are_limited_together_and_free_again_when_they_end() {
    let limits = Limits::with(64, 512);
    let (one, two) = (limits.admit(1000, false).unwrap(), limits.admit(1000, false).unwrap());
    let other = limits.admit(1001, false).unwrap();
    let mut charge = one.charge_bytes(USER_BYTES - 10).unwrap();
    charge.merge(one.charge_bytes(10).unwrap());
    assert!(two.charge_bytes(1).is_none());
    assert!(other.charge_bytes(1).is_some());
    drop(charge);
    assert!(two.charge_bytes(USER_BYTES).is_some());
}

#[tokio::test]
async fn all_unprivileged_users_together_leave_room_for_root() {
    let limits = Limits::with(4096, 512);
    let users: Vec<Admission> = (1000..1100).map(|uid| limits.admit(uid, false).unwrap()).collect();
    let root = limits.admit(0, true).unwrap();
    let bytes: Vec<_> = users.iter().map_while(|user| user.charge_bytes(USER_BYTES)).collect();
    assert_eq!(bytes.len(), ALL_BYTES / USER_BYTES);
    assert!(users[99].charge_bytes(1).is_none());
    assert!(root.charge_bytes(USER_BYTES).is_some());
    let (mut documents, mut calls) = (Vec::new(), Vec::new());
    for user in &users[..ALL_DOCUMENTS] {
        documents.push(user.document().await);
    }
    for user in &users[..ALL_BLOCKING / USER_BLOCKING] {
        for _ in 0..USER_BLOCKING {
            calls.push(user.blocking_call().await);
        }
    }
    tokio::select! {
        biased;
        _ = users[99].document() => panic!("there are too many documents"),
        _ = users[99].blocking_call() => panic!("there are too many blocking calls"),
        _ = yield_now() => {}
    }
    drop((root.document().await, root.blocking_call().await));
}
