//! `query`: one line per query, yes, no or unknown.

use std::process::ExitCode;

use anyhow::Result;
use capscache::{Groups, Tri};
use capscache_service::query::{Query, QueryError, groups_for};

use crate::args;
use crate::output;
use crate::session::{Session, locate, warn_of_missing};
use crate::text::Text;

pub(crate) fn run(session: &Session, args: &args::Query) -> Result<ExitCode> {
    // A query that cannot be parsed is reported before anything is probed.
    let queries = args.query.iter().map(|text| Query::parse(text, || args.release.get()));
    let queries = queries.collect::<Result<Vec<Query>, QueryError>>()?;
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let mut entry = session.answers(&source, &emulator, Groups::CORE, args.probing)?;
    let groups = groups_for(&queries, &entry);
    if !groups.is_core() {
        entry = session.answers(&source, &emulator, groups, args.probing)?;
    }
    let answers: Vec<Tri> = queries.iter().map(|query| query.answer(&entry)).collect();
    let mut text = Text::new();
    for ((query_text, query), answer) in args.query.iter().zip(&queries).zip(&answers) {
        if args.explain {
            text.fields(&[query_text, answer, &query.explain(&entry)]);
        } else {
            text.fields(&[query_text, answer]);
        }
    }
    if !args.explain {
        warn_of_missing(&entry);
    }
    output::print(&text)?;
    Ok(output::code_of(answers))
}
