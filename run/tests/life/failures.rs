//! Guests that do not start.

use std::time::Duration;

use capscache_run::{Deadlines, Exit, SpawnError, StartError};

use crate::{Dir, entry, guest, guest_of, guest_with};

/// Options that are passed on to QEMU.
fn arguments(arguments: &[&str]) -> String {
    let arguments = arguments.iter().map(|argument| format!("<qemu:arg value='{argument}'/>"));
    format!("<qemu:commandline>{}</qemu:commandline>", arguments.collect::<String>())
}

/// Nothing of a guest is left but its log.
fn assert_clean(dir: &Dir, name: &str) {
    assert!(!dir.files().contains(&format!("run/guest/{name}")), "{:?}", dir.files());
}

#[test]
fn an_emulator_that_dies_at_once_is_reported_with_its_message() {
    let dir = Dir::new();
    let xml = guest_of("bad", "", &arguments(&["-machine", "no-such-option=on"]));
    let error = dir.prepare(&xml).start().unwrap_err();
    let StartError::Exited { exit, output, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*exit, Exit::Status(1));
    assert_eq!(
        output,
        "qemu-system-x86_64: Property 'pc-i440fx-7.2-machine.no-such-option' not found"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "cannot start the guest: {} exited with status 1: {output}",
            test_support::x86_64()
        )
    );
    assert_clean(&dir, "bad");
}

#[test]
fn a_missing_emulator_is_named() {
    let dir = Dir::new();
    let xml = guest("lost").replace(&test_support::x86_64(), "/nowhere/qemu");
    let error = dir.prepare(&xml).start().unwrap_err();
    let StartError::Spawn(cause) = &error else { panic!("{error:?}") };
    assert!(
        matches!(&**cause, SpawnError::NotFound { path } if path.as_os_str() == "/nowhere/qemu")
    );
    assert_clean(&dir, "lost");
}

#[test]
fn an_emulator_that_never_greets_is_given_up_and_killed() {
    let dir = Dir::new();
    let program = dir.path("emulator");
    test_support::write_program(&program, "#!/bin/sh\necho hanging >&2\nexec sleep 1000\n");
    let xml = guest("hangs").replace(&test_support::x86_64(), program.to_str().unwrap());
    let deadlines = Deadlines { start: Duration::from_secs(3), ..Deadlines::default() };
    let prepared = dir.run(&xml).deadlines(deadlines).prepare(&entry()).unwrap();
    let error = prepared.start().unwrap_err();
    let StartError::TimedOut { step, output, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*step, output.as_str()), ("greeting", "hanging"));
    assert_clean(&dir, "hangs");
}

#[test]
fn a_missing_disk_is_reported_by_the_emulator() {
    let dir = Dir::new();
    let disk = "<disk type='file'><driver name='qemu' type='raw'/><source file='/nowhere/disk.img'/>\
                <target dev='hda' bus='ide'/></disk>";
    let error = dir.prepare(&guest_with("disk", "", "", disk)).start().unwrap_err();
    let StartError::Exited { output, .. } = &error else { panic!("{error:?}") };
    assert!(
        output.contains("Could not open '/nowhere/disk.img': No such file or directory"),
        "{output}"
    );
}

#[test]
fn a_start_that_is_given_up_leaves_nothing() {
    let dir = Dir::new();
    let program = dir.path("emulator");
    let pid = dir.path("pid");
    let script =
        format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}\nexec sleep 1000\n", pid.display());
    test_support::write_program(&program, &script);
    let xml = guest("given").replace(&test_support::x86_64(), program.to_str().unwrap());
    let prepared = dir.prepare(&xml);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let start = prepared.start_async();
        tokio::select! {
            started = start => panic!("{started:?}"),
            () = async {
                while !pid.exists() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            } => {}
        }
    });
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    test_support::wait_until("the process ended", || !crate::is_there(pid));
    test_support::wait_until("its files are removed", || {
        !dir.files().contains(&"run/guest/given".to_owned())
    });
}

#[test]
fn a_root_that_others_may_write_to_is_refused() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("root")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path("root"), open).unwrap();
    let error = dir.prepare(&guest("open")).start().unwrap_err();
    assert!(error.to_string().contains("another user owns it or may write to it"), "{error}");
}
