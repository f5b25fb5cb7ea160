//! An emulator that is started but does not run, and its monitor.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use serde_json::{Value, json};

/// The longest time between two lines of the monitor.
const PATIENCE: Duration = Duration::from_secs(30);

/// An emulator; it is killed when it is dropped.
pub(crate) struct Emulator {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Emulator {
    /// Starts an emulator and waits for its greeting.
    ///
    /// # Errors
    /// The message of an emulator that refuses its arguments.
    pub(crate) fn start(program: &str, arguments: &[String]) -> Result<Emulator, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .env("QEMU_AUDIO_DRV", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = Some(spawn(move || {
            let mut text = String::new();
            _ = stderr.read_to_string(&mut text);
            text
        }));
        let mut emulator = Emulator { child, stdin, lines, stderr };
        emulator.line()?;
        emulator.call("qmp_capabilities", json!({}))?;
        Ok(emulator)
    }

    /// Executes one command.
    pub(crate) fn call(&mut self, execute: &str, arguments: Value) -> Result<Value, String> {
        let mut replies = self.call_all(&[(execute, arguments)])?;
        replies.pop().unwrap()
    }

    /// Executes commands; returns their replies, or the descriptions of their errors, in order.
    pub(crate) fn call_all(
        &mut self,
        commands: &[(&str, Value)],
    ) -> Result<Vec<Result<Value, String>>, String> {
        let mut text = String::new();
        for (id, (execute, arguments)) in commands.iter().enumerate() {
            let command = json!({"execute": execute, "arguments": arguments, "id": id});
            text.push_str(&format!("{command}\n"));
        }
        if self.stdin.write_all(text.as_bytes()).is_err() {
            return Err(self.last_words());
        }
        let mut replies: Vec<Option<Result<Value, String>>> = vec![None; commands.len()];
        while replies.iter().any(Option::is_none) {
            let line = self.line()?;
            let message: Value = serde_json::from_str(&line).expect("the monitor sends JSON");
            let Some(id) = message["id"].as_u64() else { continue };
            let reply = match message.get("return") {
                Some(value) => Ok(value.clone()),
                None => Err(message["error"]["desc"].as_str().unwrap_or_default().to_owned()),
            };
            replies[usize::try_from(id).unwrap()] = Some(reply);
        }
        Ok(replies.into_iter().flatten().collect())
    }

    fn line(&mut self) -> Result<String, String> {
        self.lines.recv_timeout(PATIENCE).map_err(|_| self.last_words())
    }

    /// Returns the messages of an emulator that ended, or that does not reply.
    fn last_words(&mut self) -> String {
        _ = self.child.kill();
        _ = self.child.wait();
        let text = self.stderr.take().and_then(|stderr| stderr.join().ok()).unwrap_or_default();
        if text.trim().is_empty() { "no reply".to_owned() } else { text.trim().to_owned() }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
