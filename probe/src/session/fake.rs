//! Emulators for tests: shell scripts with a monitor at descriptor 3, and helpers to run them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use test_support::wait_until;

use crate::limits::Limits;
use crate::spawn::Launch;
use crate::spawn::sandbox::Sandbox;

/// Functions for every script: `greet`, `receive` (sets `$name` and `$id`), `say TEXT`, `answer JSON`, `negotiate`, and
/// `flood TEXT BYTES`, which sends a text over and over, without any line feed.
const PRELUDE: &str = r#"#!/bin/sh
say() { printf '%s\r\n' "$1" >&3; }
greet() { say '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 99}}, "capabilities": []}}'; }
receive() {
    IFS= read -r line <&3 || exit 0
    id=${line##*:}; id=${id%\}}
    name=${line#*\"execute\":\"}; name=${name%%\"*}
}
answer() { say "{\"return\": $1, \"id\": $id}"; }
negotiate() { greet; receive; answer '{}'; }
flood() { yes "$1" | tr -d '\n' | head -c "$2" >&3; }
"#;

/// An emulator that answers all that a probe needs; `CASES` come first, `ARCH` is its target, `BEFORE` runs before any
/// answer.
const CONTENT: &str = r#"negotiate
while receive; do BEFORE
case $name in
    CASES
    query-version) answer '{"qemu": {"major": 99, "minor": 0, "micro": 0}, "package": ""}';;
    query-target) answer '{"arch": "ARCH"}';;
    query-commands) answer '[{"name": "query-version"}]';;
    qom-list-types) answer '[{"name": "tcg-accel"}, {"name": "kvm-accel"}]';;
    query-kvm) case "$*" in
        *accel=kvm*) answer '{"enabled": true, "present": true}';;
        *) answer '{"enabled": false, "present": true}';;
    esac;;
    *) answer '[]';;
esac; done
"#;

/// A script in a directory of its own, which is removed with it.
pub(crate) struct Fake {
    pub(crate) path: PathBuf,
    pub(crate) dir: TempDir,
}

impl Fake {
    pub(crate) fn new(script: &str) -> Self {
        Self::named("qemu-system-fake", script)
    }

    fn named(name: &str, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        write_program(&path, &format!("{PRELUDE}{script}"));
        Self { path, dir }
    }

    /// Returns an emulator of a foreign target that answers all queries of a probe; `cases` of a shell's `case` replace
    /// some answers.
    pub(crate) fn qemu(cases: &str) -> Self {
        Self::qemu_that_first("", cases)
    }

    /// Returns the same with commands to run before each answer.
    pub(crate) fn qemu_that_first(before: &str, cases: &str) -> Self {
        Self::new(&content("fake", before, cases))
    }

    /// Returns the same for this host's own target: KVM is used where it opens.
    pub(crate) fn native_qemu(cases: &str) -> Self {
        let arch = std::env::consts::ARCH;
        Self::named(&format!("qemu-system-{arch}"), &content(arch, "", cases))
    }

    /// Returns an installed emulator, under a name that no other test uses; `None` if it is not installed.
    pub(crate) fn installed(emulator: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu-system-real");
        let installed = Path::new("/usr/bin").join(emulator);
        if !installed.exists() {
            println!("SKIPPED: there is no {}", installed.display());
            return None;
        }
        std::os::unix::fs::symlink(installed, &path).unwrap();
        Some(Self { path, dir })
    }

    /// Returns a launch under an accelerator.
    pub(crate) fn launch<'a>(&'a self, accelerator: &'a str) -> Launch<'a> {
        Launch {
            emulator: &self.path,
            accelerator,
            user: None,
            scratch: self.dir.path(),
            environment: &[],
            sandbox: &Sandbox::None,
        }
    }

    /// Returns whether a process runs with the path of this emulator in its command line.
    pub(crate) fn runs(&self) -> bool {
        let path = self.path.to_str().unwrap();
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(path)
        })
    }

    /// Asserts that all of its processes end: those that are not children of this one may take a moment.
    pub(crate) fn assert_gone(&self) {
        wait_until("no process of it is left", || !self.runs());
    }
}

fn content(arch: &str, before: &str, cases: &str) -> String {
    CONTENT.replace("ARCH", arch).replace("BEFORE", before).replace("CASES", cases)
}

/// Writes a program, in a process of its own: a child forked by another thread during the write would hold the file
/// open, and executing it would fail with ETXTBSY.
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Returns limits for fakes that never answer. Long enough for what they do before, on a machine under load.
pub(crate) fn short() -> Limits {
    Limits { start: Duration::from_secs(2), ..Limits::default() }
}

/// Runs a future like a probe: on a runtime of this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}
