//! The format of an answer: text for people, or a document for programs.

use std::io;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::document;
use crate::output;
use crate::yaml;

// For commands whose answers programs read too. (A doc comment would replace theirs.)
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputFormat {
    /// Format of the answer.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Form::Table)]
    format: Form,

    /// Print JSON: short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Text for people.
    Table,
    /// JSON.
    Json,
    /// YAML 1.1 and 1.2, with the same values as JSON.
    Yaml,
}

impl OutputFormat {
    /// Returns the format of a document; `None` for people.
    pub(crate) fn document(self) -> Option<DocumentFormat> {
        match self.format {
            _ if self.json => Some(DocumentFormat::Json),
            Form::Table => None,
            Form::Json => Some(DocumentFormat::Json),
            Form::Yaml => Some(DocumentFormat::Yaml),
        }
    }
}

/// A format for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentFormat {
    Json,
    Yaml,
}

impl DocumentFormat {
    /// Prints an answer.
    pub(crate) fn print(self, answer: &impl Serialize) -> Result<()> {
        match self {
            DocumentFormat::Json => {
                output::print_with(|out| document::write_json_pretty(answer, out))
            }
            DocumentFormat::Yaml => output::print_with(|out| yaml::write(answer, out)),
        }
    }

    /// Returns one of many answers: a line of JSON, or a document of YAML that begins with `---`.
    ///
    /// # Errors
    /// For an answer with a map whose keys are not text.
    pub(crate) fn event(self, event: &impl Serialize) -> io::Result<String> {
        let mut text = Vec::new();
        match self {
            DocumentFormat::Json => document::write_json(event, &mut text)?,
            DocumentFormat::Yaml => {
                text.extend(b"---\n");
                yaml::write(event, &mut text)?;
            }
        }
        String::from_utf8(text).map_err(io::Error::other)
    }
}
