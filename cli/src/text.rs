//! Text for people.

use std::fmt::{self, Write};

use anstyle::Style;
use capscache::Escaped;

/// Text for people, with styles that are only printed on a terminal.
///
/// All input is escaped: only the command itself adds styles, tabs between fields and ends of lines. Besides
/// documents, such as JSON, nothing else is written to standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new() -> Text {
        Text::default()
    }

    /// Adds words to the line.
    pub(crate) fn add(&mut self, words: impl fmt::Display) {
        let words = words.to_string();
        let _ = write!(self.0, "{}", Escaped::new(&words));
    }

    /// Adds words in a style.
    pub(crate) fn styled(&mut self, style: Style, words: impl fmt::Display) {
        let _ = write!(self.0, "{style}");
        self.add(words);
        let _ = write!(self.0, "{style:#}");
    }

    /// Adds blanks.
    pub(crate) fn blanks(&mut self, number: usize) {
        let _ = write!(self.0, "{:number$}", "");
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) {
        self.0.push('\n');
    }

    /// Adds words and ends the line.
    pub(crate) fn line(&mut self, words: impl fmt::Display) {
        self.add(words);
        self.end();
    }

    /// Adds fields with tabs between them, for scripts, and ends the line.
    pub(crate) fn fields(&mut self, fields: &[&dyn fmt::Display]) {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                self.0.push('\t');
            }
            self.add(field);
        }
        self.end();
    }

    /// Adds another text, with its styles.
    pub(crate) fn append(&mut self, other: &Text) {
        self.0.push_str(&other.0);
    }

    /// Returns whether the text has no visible characters.
    pub(crate) fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// Returns the text with styles as escape sequences.
    pub(crate) fn with_styles(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_styles_tabs_and_line_ends_of_the_command_are_not_escaped() {
        let mut text = Text::new();
        text.styled(Style::new().bold(), "a\x1b[2Jb");
        text.line("\n\u{9b}31m");
        text.fields(&[&"x\ty", &1]);
        assert_eq!(text.with_styles(), "\x1b[1ma\\x1b[2Jb\x1b[0m\\n\\u{9b}31m\nx\\ty\t1\n");
    }
}
