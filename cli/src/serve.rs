//! `serve`: answers over a Varlink socket, and keeps entries fresh.

mod log;

use std::process::ExitCode;

use anyhow::Result;
use capscache_service::Options;

use crate::args::Serve;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Serve) -> Result<ExitCode> {
    log::start(session.is_verbose());
    let mut options =
        Options::new(&args.socket).search(args.search.iter().cloned()).rewarm(args.rewarm);
    if let Some(jobs) = args.jobs {
        options = options.jobs(jobs);
    }
    capscache_service::serve(session.cache()?, &options)?;
    Ok(ExitCode::SUCCESS)
}
