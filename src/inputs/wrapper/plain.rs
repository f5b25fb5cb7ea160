//! Scripts that run only the programs that their text names.
//!
//! A plain script has only the constructs that wrappers of distributions have: assignments, `set`, `export`,
//! and commands with literal words and `"$@"`. Any other construct of a shell may run a program that the text
//! does not name.

use super::is_name;

/// Shells that run plain scripts.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "ash"];

/// Returns whether a script runs only the programs that it names.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    // A backslash continues a command in the next line, and does not continue a comment.
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let code: Vec<&str> = rest.lines().filter(|line| !is_comment(line)).collect();
    first.strip_prefix("#!").is_some_and(is_shell)
        && code.join("\n").replace(" \\\n", " ").lines().all(is_plain_line)
}

/// Returns whether an interpreter is a shell without options that make it run something else.
fn is_shell(interpreter: &str) -> bool {
    let mut words = interpreter.split_ascii_whitespace();
    let shell = words.next().and_then(|path| path.strip_prefix('/')?.rsplit('/').next());
    shell.is_some_and(|shell| SHELLS.contains(&shell))
        && words.all(|word| {
            word.strip_prefix('-')
                .is_some_and(|word| word.matches(['e', 'u', 'x']).count() == word.len())
        })
}

fn is_plain_line(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip_while(|word| is_assignment(word)).peekable();
    words.next_if(|word| *word == "exec");
    let is_command = words.next().is_none_or(|command| {
        is_literal(command)
            && (command.trim_matches(['"', '\'']).starts_with('/') || is_name_of_command(command))
    });
    let is_argument = |word| is_literal(word) && !is_relative(word);
    is_command && words.all(|word| word == "\"$@\"" || is_assignment(word) || is_argument(word))
}

/// Returns whether a command is searched for and does not change the meaning of later ones.
fn is_name_of_command(command: &str) -> bool {
    const OTHERS: [&str; 8] = [".", "source", "eval", "cd", "pushd", "popd", "alias", "trap"];
    !command.contains('/') && !OTHERS.contains(&command.trim_matches(['"', '\'']))
}

/// Returns whether a word may name a program that a command such as `env` runs (`./u`, `-S/p`), and that is not
/// among the files that were found. Values, as in `-L=/p` or `file=/p`, do not.
fn is_relative(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'']);
    let Some(slash) = word.find('/') else { return false };
    slash > 0 && (word.starts_with('.') || !word[..slash].contains(['=', ',', ':']))
}

/// Returns whether a word is `NAME=VALUE`.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, value)| {
        !name.is_empty() && name.bytes().all(is_name) && is_literal(value)
    })
}

/// Returns whether a word stands for itself, in quotes or not.
fn is_literal(word: &str) -> bool {
    let quoted = |quote| word.strip_prefix(quote)?.strip_suffix(quote);
    let word = quoted('"').or_else(|| quoted('\'')).unwrap_or(word);
    word.bytes().all(|byte| is_name(byte) || b"/.,:=+-@%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typical_wrappers_of_distributions_are_plain() {
        for text in [
            "#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 -enable-kvm \"$@\"\n",
            "#! /bin/sh -e\n# a word\nset -eu\n\nexec qemu-system-x86_64 -machine accel=kvm \"$@\"",
            "#!/usr/bin/bash\nexport QEMU_MODULE_DIR=/opt/m\nA='/x' exec \"/opt/q\" \\\n  -m 1 \\\n  \"$@\"",
        ] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_script_that_may_run_a_program_that_it_does_not_name_is_not_plain() {
        for line in [
            "exec ${Q:-/p} \"$@\"",
            "exec $Q \"$@\"",
            "exec /usr/$A/q",
            "cd /a; ./u",
            "cd /a",
            "./u \"$@\"",
            "exec env ./u \"$@\"",
            "nice a/u",
            "exec env -S/p",
            "env ./u,x",
            "# a comment that does not go on \\\nexec $(cat x)",
            "a/u",
            ". /etc/default/qemu",
            "source x",
            "eval x",
            "exec $(cat x)",
            "exec `cat x`",
            "/a/q*",
            "/a/{b,c}",
            "~/q",
            "/a\\/b",
            "\"/a\"/b",
            "if x; then y; fi",
            "exec /a/q \"$@\" && /a/b",
            "read A < x",
            "$'a'",
            "\"$@\"",
            "exec /a/q $@",
        ] {
            let text = format!("#!/bin/sh\n{line}\n");
            assert!(!is_plain(text.as_bytes()), "{line}");
        }
        for first in [
            "",
            "#!sh",
            "#!./sh",
            "#!/usr/bin/env sh",
            "#!/bin/sh -c x",
            "#!/usr/bin/python3",
            "exec /a/q",
        ] {
            assert!(!is_plain(format!("{first}\nexec /a/q\n").as_bytes()), "{first}");
        }
    }
}
