#![no_main]
#[path = "../../run/tests/snapshots/emulators.rs"]
mod emulators;
#[path = "../../run/tests/snapshots/host.rs"]
mod host;
#[path = "../src/run.rs"]
mod run;

use std::cell::RefCell;

thread_local! {
    static EMULATORS: RefCell<emulators::Emulators> = RefCell::default();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    EMULATORS.with_borrow_mut(|emulators| run::xml(data, emulators));
});
