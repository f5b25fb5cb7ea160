//! `query`: yes, no or unknown to each query.

use std::cell::OnceCell;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{Groups, Tri};
use capscache_query::{Query, QueryError, groups_for};
use serde_json::{Value, json};

use crate::args;
use crate::output;
use crate::session::{Session, locate, warn_of_missing};
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Query) -> Result<ExitCode> {
    // A query that cannot be parsed is reported before anything is probed.
    // The release is found when the first flag is queried, and once.
    let release = OnceCell::new();
    let release = || release.get_or_init(|| args.release.get()).clone();
    let queries = args.query.iter().map(|text| Query::parse(text, release));
    let queries = queries.collect::<Result<Vec<Query>, QueryError>>()?;
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let mut entry = session.answers(&source, &emulator, Groups::CORE, args.probing)?;
    let groups = groups_for(&queries, &entry);
    if !groups.is_core() {
        entry = session.answers(&source, &emulator, groups, args.probing)?;
    }
    let answers: Vec<Tri> = queries.iter().map(|query| query.answer(&entry)).collect();
    let lines = args.query.iter().zip(&queries).zip(&answers);
    let lines = lines
        .map(|((text, query), answer)| (text, answer, args.explain.then(|| query.explain(&entry))));
    if !args.explain {
        warn_of_missing(&entry);
    }
    match args.format.document() {
        Some(format) => format.print(&lines.map(as_json).collect::<Vec<_>>())?,
        None => output::print(&as_text(lines))?,
    }
    Ok(output::code_of(answers))
}

/// A query, its answer, and the reason if it is to be printed.
type Line<'a> = (&'a String, &'a Tri, Option<String>);

fn as_json((query, answer, reason): Line<'_>) -> Value {
    let mut object = json!({"query": query, "answer": answer.to_string()});
    if let Some(reason) = reason {
        object["reason"] = reason.into();
    }
    object
}

fn as_text<'a>(lines: impl Iterator<Item = Line<'a>>) -> Text {
    let mut text = Text::new();
    for (query, answer, reason) in lines {
        match reason {
            Some(reason) => text.fields(&[query, answer, &reason]),
            None => text.fields(&[query, answer]),
        }
    }
    text
}
