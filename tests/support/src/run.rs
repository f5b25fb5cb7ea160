use std::process::Command;

/// Result of a run of the command.
#[derive(Debug)]
pub struct Run {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Returns the one line of standard error that reports a failure, without the name of the command.
    pub fn complaint(&self) -> &str {
        let line = self.stderr.strip_suffix('\n').expect("a whole line on stderr");
        assert!(!line.contains('\n'), "more than one line: {line}");
        line.strip_prefix("capscache: ").expect("the name of the command in front")
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().expect("the command starts");
    let utf8 = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), stdout: utf8(output.stdout), stderr: utf8(output.stderr) }
}
