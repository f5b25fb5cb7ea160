//! `warm`: probes what is missing or stale, several emulators at a time.

mod board;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use capscache::{Capabilities, Escaped, Groups, find_emulators};
use capscache_service::check::{Checked, check};
use capscache_service::client::Client;

use self::board::Board;
use crate::args::Warm;
use crate::output;
use crate::session::{Session, locate};
use crate::source::{Source, get_from_service};

/// What became of one emulator.
enum Outcome {
    /// The cache had all that was asked for.
    Cached(Capabilities),
    /// It was probed, and that took so long.
    Probed(Capabilities, Duration),
    /// It is the same file as this other one, and shares its answers.
    Shared(Capabilities, PathBuf),
    /// It cannot be probed.
    Failed(anyhow::Error),
    /// It was probed, and the answers could not be kept.
    NotKept(Capabilities, anyhow::Error),
}

pub(crate) fn run(session: &Session, args: &Warm) -> Result<ExitCode> {
    let emulators = wanted(args)?;
    let source = session.source()?;
    let groups = if args.full { Groups::ALL } else { Groups::CORE };
    let jobs = args.jobs.map_or_else(default_jobs, usize::from);
    let board = Board::new(&emulators, args.full);
    let queue = Mutex::new(largest_first(by_file(emulators)).into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(names) = next() {
            for (at, emulator) in names.iter().enumerate() {
                let first = if at == 0 { None } else { names.first() };
                let outcome = warm(session, &source, emulator, groups, first, &board);
                board.show(emulator, outcome)?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().try_for_each(join)
    })?;
    let failed = board.finish()?;
    Ok(ExitCode::from(if failed { output::NO } else { 0 }))
}

/// The emulators that are meant, each once, in the order in which they were given or found.
fn wanted(args: &Warm) -> Result<Vec<PathBuf>> {
    if args.all {
        let found = find_emulators(&args.search);
        if found.is_empty() {
            bail!("no emulator on PATH or in /usr/libexec: install QEMU, or give --search DIR");
        }
        return Ok(found);
    }
    if args.emulators.is_empty() {
        bail!("nothing to warm: give the paths of emulators, or --all");
    }
    let mut seen = HashSet::new();
    let located = args.emulators.iter().map(|named| locate(named));
    Ok(located.filter(|emulator| seen.insert(emulator.clone())).collect())
}

/// Names of one file stand together, its own name first: it is probed once, and no worker waits
/// for another one's probe.
fn by_file(emulators: Vec<PathBuf>) -> Vec<Vec<PathBuf>> {
    let mut groups: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
    for emulator in emulators {
        let file = emulator.canonicalize().unwrap_or_else(|_| emulator.clone());
        match groups.iter_mut().find(|(known, _)| *known == file) {
            Some((_, names)) if emulator == file => names.insert(0, emulator),
            Some((_, names)) => names.push(emulator),
            None => groups.push((file, vec![emulator])),
        }
    }
    groups.into_iter().map(|(_, names)| names).collect()
}

/// The work that takes longest is begun first, so that no worker is left with it at the end. The
/// size of a wrapper script says nothing of what it starts: those come before all others.
fn largest_first(mut files: Vec<Vec<PathBuf>>) -> Vec<Vec<PathBuf>> {
    const SMALLEST_PROGRAM_BYTES: u64 = 1 << 20;
    let size = |names: &Vec<PathBuf>| {
        let status = names.first().and_then(|name| name.metadata().ok());
        let size = status.map_or(0, |status| status.len());
        if size < SMALLEST_PROGRAM_BYTES { u64::MAX } else { size }
    };
    files.sort_by_cached_key(|names| std::cmp::Reverse(size(names)));
    files
}

/// One more than there are processors: while an entry is synced to disk, another probe goes on.
fn default_jobs() -> usize {
    available_parallelism().map_or(1, usize::from) + 1
}

fn warm(
    session: &Session,
    source: &Source,
    emulator: &Path,
    groups: Groups,
    first: Option<&PathBuf>,
    board: &Board,
) -> Outcome {
    let cache = match source {
        Source::Root(cache) => cache,
        Source::Service(client, _) => return ask(client, emulator, groups, board),
    };
    match check(cache, emulator, groups) {
        Ok(Checked::Cached(hit)) => return Outcome::Cached(hit),
        Ok(Checked::Stale(why)) => board.aside(|| {
            let (emulator, why) = (Escaped::new(emulator), why.to_string());
            let why = output::without_number(&why);
            session.tell(format_args!("{emulator} is stale: {why}"));
        }),
        Ok(Checked::Unusable(error)) => {
            let why = output::chain(&error);
            board.aside(|| output::warn(format_args!("{why}; probing anew")));
        }
        Ok(Checked::Lacking) => {}
        Err(error) => return Outcome::Failed(error.into()),
    }
    let running = board.begin(emulator);
    let began = Instant::now();
    let result = cache.get_with(emulator, groups);
    let elapsed = began.elapsed();
    running.end();
    let capabilities = match result {
        Ok(capabilities) => capabilities,
        Err(error) => return Outcome::Failed(session.explain(error, emulator)),
    };
    if let Some(error) = capabilities.persist_error() {
        let error = anyhow!("the answers could not be kept: {}", output::chain(error));
        return Outcome::NotKept(capabilities, error);
    }
    match first {
        Some(first) if is_link_to(emulator, &capabilities.executable()) => {
            Outcome::Shared(capabilities, first.clone())
        }
        _ => Outcome::Probed(capabilities, elapsed),
    }
}

/// Has the service get what is missing or stale.
fn ask(client: &Client, emulator: &Path, groups: Groups, board: &Board) -> Outcome {
    let get = |no_probe| get_from_service(client, emulator, groups, no_probe);
    if let Ok(hit) = get(true)
        && hit.has(groups)
    {
        return Outcome::Cached(hit);
    }
    let running = board.begin(emulator);
    let began = Instant::now();
    let result = get(false);
    running.end();
    match result {
        Ok(capabilities) => Outcome::Probed(capabilities, began.elapsed()),
        Err(error) => Outcome::Failed(error),
    }
}

/// Whether an emulator's name leads to `executable` without any script between them.
fn is_link_to(emulator: &Path, executable: &Path) -> bool {
    emulator.canonicalize().is_ok_and(|file| file == executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_stand_together_and_its_own_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().canonicalize().unwrap().join(name);
        std::fs::write(path("ppc64"), "").unwrap();
        std::os::unix::fs::symlink("ppc64", path("a-link")).unwrap();
        let groups = by_file(vec![path("a-link"), path("gone"), path("ppc64")]);
        assert_eq!(groups, [vec![path("ppc64"), path("a-link")], vec![path("gone")]]);
    }
}
