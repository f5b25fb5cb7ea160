//! `serve`: answers over a Varlink socket, and keeps entries fresh.

mod log;
mod seeding;

use std::process::ExitCode;

use anyhow::Result;
use capscache_service::Options;

use crate::args::Serve;
use crate::libvirt::own_instance;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Serve) -> Result<ExitCode> {
    log::start(session.is_verbose());
    let mut options =
        Options::new(&args.socket).search(args.search.iter().cloned()).rewarm(args.rewarm);
    if let Some(jobs) = args.jobs {
        options = options.jobs(jobs);
    }
    // Of the user that this process has now: with the cache it may become another one.
    let instance = own_instance();
    let cache = session.cache()?;
    if args.seed_libvirt {
        options = options.on_event(seeding::start(cache.clone(), instance?)?);
    }
    capscache_service::serve(cache, &options)?;
    Ok(ExitCode::SUCCESS)
}
