//! `query`: one line per question, yes, no or unknown.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use capscache::{Groups, Tri};

use crate::args;
use crate::output;
use crate::question::{Question, QuestionError, groups_for};
use crate::session::{Session, locate};

pub(crate) fn run(session: &Session, args: &args::Query) -> Result<ExitCode> {
    // A question that makes no sense is told before anything is probed.
    let queries = args.query.iter().map(|text| text.parse());
    let queries = queries.collect::<Result<Vec<Question>, QuestionError>>()?;
    let source = session.source()?;
    let emulator = locate(&args.emulator);
    let mut entry = session.answers(&source, &emulator, Groups::CORE, args.probing)?;
    let lacking = groups_for(&queries, &entry);
    if !lacking.is_core() {
        entry = session.answers(&source, &emulator, lacking, args.probing)?;
    }
    let answers: Vec<Tri> = queries.iter().map(|query| query.answer(&entry)).collect();
    let mut text = String::new();
    for (query, answer) in args.query.iter().zip(&answers) {
        let _ = writeln!(text, "{query}\t{answer}");
    }
    output::print(&text)?;
    Ok(output::code_of(answers))
}
