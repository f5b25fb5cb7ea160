/// A user without any rights.
pub const NOBODY: u32 = 65534;

/// Runs a closure as another user, in a new thread: the kernel reports the thread's user as the peer of the
/// connections that it makes.
pub fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let user = rustix::process::Uid::from_raw(uid);
            rustix::thread::set_thread_res_uid(user, user, user).expect("root may become any user");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
