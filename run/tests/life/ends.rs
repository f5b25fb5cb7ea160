//! The ways in which a guest ends.

use std::time::Duration;

use capscache_run::{Deadlines, End, Event};

use crate::kernel::{AWAIT_BUTTON, PANIC, POWER_OFF, RESET};
use crate::{Dir, guest, guest_of, guest_with, is_there};

/// Takes all events until the guest has ended.
fn names(running: &mut capscache_run::Running) -> Vec<String> {
    std::iter::from_fn(|| running.next_event()).map(|event: Event| event.name).collect()
}

#[test]
fn a_guest_that_powers_off_has_shut_down_and_leaves_only_its_log() {
    let dir = Dir::new();
    let mut running = dir.start(&guest_of("one", &dir.kernel(POWER_OFF), ""));
    let pid = running.pid();
    assert!(is_there(pid));
    assert_eq!(running.wait(), End::ShutDown);
    assert!(!is_there(pid));
    let events = names(&mut running);
    assert_eq!(events.first().map(String::as_str), Some("RESUME"), "{events:?}");
    assert!(events.contains(&"SHUTDOWN".to_owned()), "{events:?}");
    let files =
        ["cache", "etc", "lib", "lib/nvram", "log", "log/one.log", "run", "run/guest", "run/lock"];
    assert_eq!(dir.files(), files);
}

#[test]
fn the_steps_of_a_start_are_timed_in_order() {
    let dir = Dir::new();
    let running = dir.start(&guest("timed"));
    let steps: Vec<_> = running.timing().steps().map(|(step, _)| step).collect();
    let expected = [
        "command line",
        "lock",
        "files",
        "spawn",
        "greeting",
        "capabilities",
        "scope",
        "settings",
        "cont",
    ];
    assert_eq!(steps, expected);
    let spawn = running.timing().steps().find(|(step, _)| *step == "spawn").unwrap().1;
    assert!(spawn > Duration::ZERO && spawn < running.timing().total());
}

#[test]
fn the_power_button_shuts_down_a_guest_that_watches_it() {
    let dir = Dir::new();
    let xml = guest_of("button", &dir.kernel(AWAIT_BUTTON), "<on_poweroff>restart</on_poweroff>");
    let running = dir.start(&xml);
    // The guest enables the button at some time during its boot; until then QEMU drops the press.
    let presses = std::thread::scope(|scope| {
        let end = scope.spawn(|| running.wait());
        let mut presses = 0;
        while !end.is_finished() {
            running.shutdown();
            presses += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(end.join().unwrap(), End::ShutDown);
        presses
    });
    assert!(presses > 0);
}

#[test]
fn a_guest_that_ignores_the_button_is_ended_at_the_deadline() {
    let dir = Dir::new();
    let shutdown = Duration::from_millis(50);
    let deadlines = Deadlines { shutdown, ..Deadlines::default() };
    let run = dir.run(&guest("ignores")).deadlines(deadlines);
    let running = run.prepare(&crate::entry()).unwrap().start().unwrap();
    let pid = running.pid();
    running.shutdown();
    assert_eq!(running.wait(), End::TimedOut);
    assert!(!is_there(pid));
}

#[test]
fn quitting_ends_a_guest_at_once() {
    let dir = Dir::new();
    let running = dir.start(&guest("quit"));
    running.quit();
    assert_eq!(running.wait(), End::Quit);
}

#[test]
fn dropping_the_handle_kills_the_emulator() {
    let dir = Dir::new();
    let running = dir.start(&guest("dropped"));
    let pid = running.pid();
    drop(running);
    assert!(!is_there(pid));
    assert!(!dir.files().contains(&"run/guest/dropped".to_owned()));
}

#[test]
fn an_emulator_that_is_killed_has_exited_by_that_signal() {
    let dir = Dir::new();
    let running = dir.start(&guest("killed"));
    let pid = rustix::process::Pid::from_raw(running.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    let End::Exited { exit, .. } = running.wait() else { panic!("{:?}", running.wait()) };
    assert_eq!(exit.to_string(), "was killed by signal 6");
}

#[test]
fn a_reset_restarts_the_guest_or_ends_it_as_it_says() {
    let dir = Dir::new();
    let kernel = dir.kernel(RESET);
    let mut running = dir.start(&guest_of("restarts", &kernel, ""));
    let mut resets = 0;
    while resets < 2 {
        let event = running.next_event().unwrap();
        resets += usize::from(event.name == "RESET" && event.data["guest"] == true);
    }
    running.quit();
    assert_eq!(running.wait(), End::Quit);
    let running = dir.start(&guest_of("ends", &kernel, "<on_reboot>destroy</on_reboot>"));
    assert_eq!(running.wait(), End::Reset);
}

#[test]
fn a_guest_that_powers_off_is_restarted_if_it_says_so() {
    let dir = Dir::new();
    let elements = "<on_poweroff>restart</on_poweroff>";
    let mut running = dir.start(&guest_of("again", &dir.kernel(POWER_OFF), elements));
    let mut ends = 0;
    while ends < 2 {
        ends += usize::from(running.next_event().unwrap().name == "SHUTDOWN");
    }
    running.quit();
    assert_eq!(running.wait(), End::Quit);
}

#[test]
fn a_guest_that_panics_has_panicked() {
    let dir = Dir::new();
    let panic = "<panic model='isa'/>";
    let running = dir.start(&guest_with("panics", "", &dir.kernel(PANIC), panic));
    assert_eq!(running.wait(), End::Panicked);
}

#[test]
fn flags_of_the_cpu_are_queried_on_demand() {
    let dir = Dir::new();
    let running = dir.start(&guest("flags"));
    let flags = running.cpu_flags().unwrap();
    assert_eq!(flags.get("lm"), Some(&true), "{flags:?}");
    assert_eq!(flags.get("vmx"), Some(&false), "{flags:?}");
}

#[test]
fn the_async_calls_do_the_same_on_any_executor() {
    let dir = Dir::new();
    let prepared = dir.prepare(&guest_of("async", &dir.kernel(POWER_OFF), ""));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let end = runtime.block_on(async {
        let mut running = prepared.start_async().await.unwrap();
        let first = running.next_event_async().await.unwrap();
        assert_eq!(first.name, "RESUME");
        running.wait_async().await
    });
    assert_eq!(end, End::ShutDown);
}

#[test]
fn a_cpu_that_is_enabled_and_hotpluggable_is_plugged_in_before_the_guest_runs() {
    let dir = Dir::new();
    let cpus = "<vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>\
                <vcpu id='1' enabled='yes' hotpluggable='yes'/>\
                <vcpu id='2' enabled='no' hotpluggable='yes'/></vcpus>";
    let xml = guest("cpus").replace("<vcpu>1</vcpu>", &format!("<vcpu>3</vcpu>{cpus}"));
    let running = dir.start(&xml);
    let task = std::path::PathBuf::from(format!("/proc/{}/task", running.pid()));
    let names = std::fs::read_dir(task)
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    let mut cpus: Vec<_> = names.filter(|name| name.starts_with("CPU ")).collect();
    cpus.sort();
    assert_eq!(cpus.len(), 2, "{cpus:?}");
}
