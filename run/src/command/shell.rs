//! A command line for a shell.

use std::fmt::Write;

use super::Command;

impl Command {
    /// Returns the command for a shell: variables, the program, and an option with its value on each line.
    pub fn to_shell(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.environment {
            let _ = writeln!(text, "{name}={} \\", quote(value));
        }
        text.push_str(&quote(&self.program.to_string_lossy()));
        for (position, argument) in self.args.iter().enumerate() {
            // The value of an option is on its line.
            let is_option = argument.starts_with('-') || position == 0;
            text.push_str(if is_option { " \\\n" } else { " " });
            text.push_str(&quote(argument));
        }
        text.push('\n');
        text
    }
}

/// Quotes a word, if it has a character that may mean something to a shell.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%^".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_quoted() {
        let command = Command {
            program: "/usr/bin/qemu".into(),
            args: ["-S", "-object", r#"{"id":"it's"}"#, "-name", ""].map(str::to_owned).into(),
            environment: vec![("HOME".to_owned(), "/a b".to_owned())],
            ..Command::default()
        };
        let expected = "HOME='/a b' \\\n/usr/bin/qemu \\\n-S \\\n-object '{\"id\":\"it'\\''s\"}' \\\n-name ''\n";
        assert_eq!(command.to_shell(), expected);
    }
}
