//! Bad input: one line on stderr, nothing on stdout, and an exit code.

use std::fs;

use crate::{Dir, avr, text};

/// What can stand in the place of an emulator, and a part of what is said about it.
fn no_emulators(dir: &Dir) -> Vec<(String, &'static str)> {
    fs::write(dir.path("plain"), "a text\n").expect("a file");
    fs::create_dir(dir.path("directory")).expect("a directory");
    // Whoever opens it waits for a writer that never comes.
    let made = std::process::Command::new("mkfifo").arg(dir.path("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    vec![
        (text(&dir.path("pipe")), "may not be executed"),
        (text(&dir.path("gone")), "there is no emulator"),
        ("gone".to_owned(), "neither here nor on PATH"),
        (text(&dir.path("directory")), "is a directory"),
        (text(&dir.path("plain")), "may not be executed"),
        (dir.program("text", "a text\n"), "is not a program"),
        (dir.program("script", "#!/none/such\n"), "interpreter"),
        ("/bin/true".to_owned(), "is it a QEMU system emulator?"),
        ("/bin/cat".to_owned(), "is it a QEMU system emulator?"),
    ]
}

#[test]
fn what_is_no_emulator_gets_one_clear_line() {
    let dir = Dir::new();
    for (path, what) in no_emulators(&dir) {
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
fn a_query_that_cannot_be_understood_is_told_before_anything_is_probed() {
    let dir = Dir::new();
    for (query, what) in [
        ("colour:red", "unknown kind of query \"colour\"; known are machine, cpu, "),
        ("q35", "\"q35\" is not a query: write KIND:NAME"),
        ("machine:", "\"machine:\" is not a query"),
        ("cpu:EPYC@xyz", "unknown accelerator \"xyz\""),
        ("property:virtio", "write property:TYPE.PROPERTY"),
    ] {
        let run = dir.run(&["query", &avr(), "machine:uno", query]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{query}");
        assert!(run.complaint().contains(what), "{run:?}");
    }
    assert!(!dir.root().exists());
}

#[test]
fn a_root_that_is_no_directory_is_told_with_what_to_do() {
    let dir = Dir::new();
    let file = dir.program("file", "");
    for root in [file.as_str(), "/dev/null/root"] {
        for arguments in [&["list"][..], &["query", &avr(), "machine:uno"], &["warm", &avr()]] {
            let run = dir.run(&[&["--root", root], arguments].concat());
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
            let begin = format!("cannot use {root} as the root of the cache: give another one: ");
            assert!(run.complaint().starts_with(&begin), "{run:?}");
        }
    }
}

#[test]
fn a_root_that_cannot_be_written_costs_no_answer() {
    let dir = Dir::new();
    // Its own directory, in which not even root can make a file.
    let query = dir.run(&["--root", "/proc/self/task", "query", &avr(), "machine:uno"]);
    assert_eq!((query.code, query.stdout.as_str()), (Some(0), "machine:uno\tyes\n"));
    let complaint = query.complaint();
    assert!(complaint.starts_with("the answers could not be kept: "), "{complaint}");
    let query = dir.run(&["--root", "/proc/none/such", "query", &avr(), "machine:uno"]);
    assert_eq!((query.code, query.stdout.as_str()), (Some(0), "machine:uno\tyes\n"));
    let warm = dir.run(&["--root", "/proc/self/task", "warm", &avr()]);
    assert_eq!(warm.code, Some(1));
    assert!(warm.complaint().contains("the answers could not be kept"), "{warm:?}");
    assert!(warm.stdout.ends_with("1 failed\n"), "{warm:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_gets_one_line_with_the_usage() {
    let dir = Dir::new();
    for (arguments, what) in [
        (&["wram"][..], "unrecognized subcommand 'wram'"),
        (&["list", "--jsno"], "unexpected argument '--jsno'"),
        (&["query", "x"], "usage: capscache query <EMULATOR> <QUERY>..."),
        (&["warm"], "give the paths of emulators, or --all"),
        (&["warm", "--jobs", "none", "x"], "invalid value 'none'"),
        (&["export", "x", "--format", "xml"], "possible values: json"),
        (&["inspect", &avr(), "none"], "there is no section \"none\""),
        (&["inspect", &avr(), "none:such"], "unknown kind of thing \"none\""),
        (&["invalidate"], "usage: capscache invalidate"),
    ] {
        let run = dir.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(run.complaint().contains(what), "{run:?}");
    }
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
