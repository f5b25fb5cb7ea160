//! Bad input: one line on stderr, nothing on stdout, and an exit code.

use std::fs;

use snapbox::str;

use crate::{Dir, avr, text};

/// Paths that are not those of emulators, each with a part of the error.
fn other_paths(dir: &Dir) -> Vec<(String, &'static str)> {
    fs::write(dir.path("plain"), "a text\n").expect("a file");
    fs::create_dir(dir.path("directory")).expect("a directory");
    // A process that opens it waits for a writer that never comes.
    let made = std::process::Command::new("mkfifo").arg(dir.path("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    vec![
        (text(&dir.path("pipe")), "permission denied; check its mode"),
        (text(&dir.path("gone")), "cannot find the emulator"),
        ("gone".to_owned(), "neither in the working directory nor on PATH"),
        (text(&dir.path("directory")), "it is a directory"),
        (text(&dir.path("plain")), "permission denied; check its mode"),
        (dir.program("text", "a text\n"), "it is neither a script"),
        (dir.program("script", "#!/none/such\n"), "interpreter"),
        ("/bin/true".to_owned(), "it sent no QMP greeting"),
        ("/bin/cat".to_owned(), "it sent no QMP greeting"),
    ]
}

#[test]
fn a_path_that_is_not_an_emulator_gets_one_clear_line() {
    let dir = Dir::new();
    for (path, what) in other_paths(&dir) {
        for arguments in [
            &["query", &path, "machine:q35"][..],
            &["inspect", &path],
            &["export", &path],
            &["diff", &path, &path],
            &["record", &path],
        ] {
            let run = dir.run(arguments);
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {run:?}");
            let complaint = run.complaint();
            assert!(complaint.contains(what), "{arguments:?}: {complaint}");
            assert!(!complaint.contains("os error"), "{complaint}");
        }
        let warm = dir.run(&["warm", &path]);
        assert_eq!(warm.code, Some(1), "{warm:?}");
        assert!(warm.complaint().contains(what), "{warm:?}");
        assert!(warm.stdout.ends_with("1 failed\n"), "{warm:?}");
    }
    assert_eq!(dir.json(&["list", "--json"]), serde_json::json!([]));
}

#[test]
fn a_query_that_cannot_be_parsed_is_reported_before_any_probe() {
    let dir = Dir::new();
    let avr = avr();
    let queries = ["colour:red", "q35", "machine:", "cpu:EPYC@xyz", "property:virtio"];
    let commands = queries.map(|query| ["query", &avr, "machine:uno", query]);
    let shown = dir.session(&commands.each_ref().map(|command| &command[..]));
    dir.assert_snapshot(&shown, str![[r#"
$ capscache query /usr/bin/qemu-system-avr machine:uno colour:red
! capscache: cannot parse the query "colour:red": unknown kind; kinds are machine, cpu, cpu-model, machine-deprecated, version, gic, firmware, device, property, type, command, event, option, schema, flag
exit code: 2
$ capscache query /usr/bin/qemu-system-avr machine:uno q35
! capscache: cannot parse the query "q35": it is not KIND:NAME; kinds are machine, cpu, cpu-model, machine-deprecated, version, gic, firmware, device, property, type, command, event, option, schema, flag
exit code: 2
$ capscache query /usr/bin/qemu-system-avr machine:uno machine:
! capscache: cannot parse the query "machine:": it is not KIND:NAME; kinds are machine, cpu, cpu-model, machine-deprecated, version, gic, firmware, device, property, type, command, event, option, schema, flag
exit code: 2
$ capscache query /usr/bin/qemu-system-avr machine:uno cpu:EPYC@xyz
! capscache: cannot parse the accelerator "xyz": unknown name; names are kvm, hvf, tcg, qtest
exit code: 2
$ capscache query /usr/bin/qemu-system-avr machine:uno property:virtio
! capscache: cannot parse the property "virtio": it has no dot; write property:TYPE.PROPERTY
exit code: 2

"#]]);
    assert!(!dir.root().exists());
}

#[test]
fn a_root_that_is_not_a_directory_is_reported_with_a_remedy() {
    let dir = Dir::new();
    let file = dir.program("file", "");
    for root in [file.as_str(), "/dev/null/root"] {
        for arguments in [&["list"][..], &["query", &avr(), "machine:uno"], &["warm", &avr()]] {
            let run = dir.run(&[&["--root", root], arguments].concat());
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
            let complaint = run.complaint();
            let begin = format!("cannot use {root} as the root of the cache: ");
            assert!(complaint.starts_with(&begin), "{run:?}");
            assert!(complaint.ends_with("; give another one with --root DIR"), "{run:?}");
        }
    }
}

#[test]
fn a_root_that_cannot_be_written_costs_no_answer() {
    let dir = Dir::new();
    // A directory in which not even root can create a file.
    let query = dir.run(&["--root", "/proc/self/task", "query", &avr(), "machine:uno"]);
    assert_eq!((query.code, query.stdout.as_str()), (Some(0), "machine:uno\tyes\n"));
    let complaint = query.complaint();
    assert!(complaint.starts_with("cannot store the answers: "), "{complaint}");
    let query = dir.run(&["--root", "/proc/none/such", "query", &avr(), "machine:uno"]);
    assert_eq!((query.code, query.stdout.as_str()), (Some(0), "machine:uno\tyes\n"));
    let warm = dir.run(&["--root", "/proc/self/task", "warm", &avr()]);
    assert_eq!(warm.code, Some(1));
    assert!(warm.complaint().contains("cannot store the answers"), "{warm:?}");
    assert!(warm.stdout.ends_with("1 failed\n"), "{warm:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_gets_one_line_with_the_usage() {
    let dir = Dir::new();
    let shown = dir.session(&[
        &["wram"],
        &["list", "--jsno"],
        &["query", "x"],
        &["warm"],
        &["warm", "--jobs", "none", "x"],
        &["export", "x", "--format", "xml"],
        &["inspect", &avr(), "none"],
        &["inspect", &avr(), "none:such"],
        &["invalidate"],
    ]);
    dir.assert_snapshot(&shown, str![[r#"
$ capscache wram
! capscache: unrecognized subcommand 'wram'; a similar subcommand exists: 'warm'; usage: capscache [OPTIONS] [COMMAND]
exit code: 2
$ capscache list --jsno
! capscache: unexpected argument '--jsno' found; a similar argument exists: '--json'; usage: capscache list --json
exit code: 2
$ capscache query x
! capscache: the following required arguments were not provided: <QUERY>...; usage: capscache query <EMULATOR> <QUERY>...
exit code: 2
$ capscache warm
! capscache: cannot warm: no emulator is given; give the paths of emulators, --all or --known
exit code: 2
$ capscache warm --jobs none x
! capscache: invalid value 'none' for '--jobs <N>': invalid digit found in string
exit code: 2
$ capscache export x --format xml
! capscache: invalid value 'xml' for '--format <FORMAT>' [possible values: json, yaml, libvirt-xml, domcapabilities]; a similar value exists: 'yaml'
exit code: 2
$ capscache inspect /usr/bin/qemu-system-avr none
! capscache: cannot show "none": unknown section; sections are machines, cpus, host-cpu, devices, objects, types, commands, events, options, migration, tpm, schema, flags, firmware, report, and KIND:NAME, such as device:virtio-blk-pci
exit code: 2
$ capscache inspect /usr/bin/qemu-system-avr none:such
! capscache: cannot show "none:such": unknown kind; kinds are machine, cpu, device, object, type
exit code: 2
$ capscache invalidate
! capscache: the following required arguments were not provided: <EMULATOR>...; usage: capscache invalidate <EMULATOR>...
exit code: 2

"#]]);
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let dir = Dir::new();
    let mut command = dir.command();
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    command.args(["query", &avr(), "machine:uno"]).stdout(full);
    let run = crate::run(&mut command);
    assert_eq!(run.code, Some(2));
    assert_eq!(run.complaint(), "cannot write the answer: No space left on device");
    let record = dir.run(&["record", &avr(), "-o", "/none/such/file"]);
    assert_eq!((record.code, record.stdout.as_str()), (Some(2), ""));
    let expected = "cannot write the transcript /none/such/file: No such file or directory";
    assert_eq!(record.complaint(), expected);
}
