//! Tests of the library on real emulators and recorded conversations.

mod accidents;
mod cache;
mod documents;
mod failures;
mod firmware;
mod fuzzing;
mod guards;
mod inputs;
mod planted;
mod qmp;
mod release;
mod replaced;
mod replay;
mod rights;
mod roots;
mod routes;
mod truth;
mod upkeep;
mod writers;

/// Configures a cache: wrappers may write to the directories of the tests, for example to count their starts.
fn builder(root: impl Into<std::path::PathBuf>) -> capscache::CacheBuilder {
    capscache::Cache::builder(root).writable([std::env::temp_dir()])
}

/// Opens a cache as [`builder`] configures it.
fn open(root: impl Into<std::path::PathBuf>) -> Result<capscache::Cache, capscache::Error> {
    builder(root).open()
}

/// A process that runs one of these tests, an ignored one, with further variables.
fn child(test: &str, variables: &[(&str, &std::path::Path)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    // Its output, such as a failure or a skip, is that of this test.
    command.args(["--exact", test, "--include-ignored", "--quiet", "--nocapture"]);
    command.envs(variables.iter().copied());
    command
}

/// Returns a [`child`] in its own mount namespace, where a shell script runs first; `None` after reporting a
/// skip where that is not permitted. Emulators run with the mounts of the script.
fn child_after(
    script: &str,
    test: &str,
    variables: &[(&str, &std::path::Path)],
) -> Option<std::process::Command> {
    if !test_support::rights::can_mount() {
        return None;
    }
    let child = child(test, variables);
    let mut command = std::process::Command::new("unshare");
    let script =
        format!("trap 'exit {NOT_PREPARED}' EXIT; set -e; {script}; trap - EXIT; exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(child.get_program());
    command.args(child.get_args()).envs(variables.iter().copied());
    Some(command)
}

/// The exit status of a process whose script failed for lack of a right.
const NOT_PREPARED: i32 = 77;

/// Waits for a process of [`child_after`], which has to succeed if its script did.
fn succeeds(child: &mut std::process::Command) {
    let status = child.status().expect("unshare is installed");
    if status.code() == Some(NOT_PREPARED) {
        println!("SKIPPED: the test could not be prepared here, see above");
    } else {
        assert!(status.success(), "{status}");
    }
}

/// For [`child_after`]: nothing can be written to `$ROOT`.
const READ_ONLY: &str = "mount --bind $ROOT $ROOT; mount -o remount,bind,ro $ROOT";
