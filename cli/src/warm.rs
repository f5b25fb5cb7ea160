//! `warm`: probes emulators whose entries are missing or stale, several at a time.

mod document;
mod progress;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use capscache::discovery::find_emulators;
use capscache::queue::{Caller, ProbeQueue, Slot};
use capscache::{Capabilities, Escaped, Group, Groups, Revalidated};
use capscache_service::client::Client;

use self::progress::Progress;
use crate::args::Warm;
use crate::entries::Summary;
use crate::output;
use crate::session::{Session, locate};
use crate::source::{Source, get_from_service};
use crate::text::Text;

/// Result for one emulator.
enum Outcome {
    /// The entry is valid and has all requested groups.
    Cached(Capabilities),
    /// It was probed, in this time.
    Probed(Capabilities, Duration),
    /// It is a link to the same file as this emulator, and shares its probe.
    Shared(Capabilities, PathBuf),
    /// It cannot be probed.
    Failed(anyhow::Error),
    /// It was probed, and the answers could not be stored.
    NotStored(Capabilities, anyhow::Error),
}

pub(crate) fn run(session: &Session, args: &Warm) -> Result<ExitCode> {
    let named = if args.known { Vec::new() } else { requested(args)? };
    let source = session.source()?;
    let known = if args.known { known(&source)? } else { BTreeMap::new() };
    if args.known && known.is_empty() {
        match args.format.document() {
            Some(format) => format.print(&[(); 0])?,
            None => {
                let mut text = Text::new();
                text.line("no emulator has an entry");
                output::print(&text)?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let emulators = if args.known { known.keys().cloned().collect() } else { named };
    let groups = if args.full { Groups::ALL } else { Groups::CORE };
    let jobs = args.jobs.map_or_else(default_jobs, usize::from);
    let progress = Progress::new(&emulators, args.full, args.format.document());
    let warm_names = |names: &[PathBuf]| {
        for (at, emulator) in names.iter().enumerate() {
            let first = if at == 0 { None } else { names.first() };
            let groups = groups | known.get(emulator).copied().unwrap_or_default();
            let outcome = warm(session, &source, emulator, groups, first, &progress);
            progress.show(emulator, outcome)?;
        }
        Ok(())
    };
    let (queue, error) = (ProbeQueue::new(jobs), OnceLock::new());
    let (warm_names, set_error) = (&warm_names, |first| error.set(first));
    std::thread::scope(|scope| -> Result<()> {
        for names in largest_first(by_file(emulators)) {
            let slot = wait_for_slot(&queue)?;
            if error.get().is_some() {
                break;
            }
            let set_error = &set_error;
            let work = move || {
                let _slot = slot;
                warm_names(&names).or_else(set_error)
            };
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, work).context("cannot start a thread for a probe")?;
        }
        Ok(())
    })?;
    if let Some(error) = error.into_inner() {
        return Err(error);
    }
    let failed = progress.finish()?;
    Ok(ExitCode::from(if failed { output::NO } else { 0 }))
}

/// Waits until fewer probes run than may run at a time.
fn wait_for_slot(queue: &ProbeQueue) -> Result<Slot> {
    let (sender, slots) = channel();
    let _turn = queue.wait(Caller::own(), move |slot| drop(sender.send(slot)))?;
    Ok(slots.recv().expect("the turn is not dropped before"))
}

/// Returns the requested emulators, each once, in the order of the command line or of the search.
fn requested(args: &Warm) -> Result<Vec<PathBuf>> {
    if args.all {
        let found = find_emulators(&args.search);
        if found.is_empty() {
            bail!(
                "cannot find an emulator: PATH and /usr/libexec have none; install QEMU, or give --search DIR"
            );
        }
        return Ok(found);
    }
    if args.emulators.is_empty() {
        bail!("cannot warm: no emulator is given; give the paths of emulators, --all or --known");
    }
    let mut seen = HashSet::new();
    let located = args.emulators.iter().map(|named| locate(named));
    Ok(located.filter(|emulator| seen.insert(emulator.clone())).collect())
}

/// Returns the emulators that have an entry and are still there, with the groups of the entries.
fn known(source: &Source) -> Result<BTreeMap<PathBuf, Groups>> {
    let summaries = source.entries()?.into_iter().filter_map(|entry| entry.summary);
    let emulators = summaries.map(|summary| (PathBuf::from(&summary.emulator), groups(&summary)));
    Ok(emulators.filter(|(emulator, _)| emulator.exists()).collect())
}

fn groups(of: &Summary) -> Groups {
    let groups = of.groups.iter().filter_map(|name| Group::from_name(name));
    groups.fold(Groups::CORE, |all, group| all | group.into())
}

/// Groups the names of one file, its own name first: it is probed once, and no worker waits for another
/// worker's probe.
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

/// Sorts files by size, so that the longest probe does not start last. The size of a wrapper script does not
/// show that of its emulator: scripts come first.
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

/// Returns one more than the number of processors: while an entry is synced to disk, another probe runs.
fn default_jobs() -> usize {
    available_parallelism().map_or(1, usize::from) + 1
}

fn warm(
    session: &Session,
    source: &Source,
    emulator: &Path,
    groups: Groups,
    first: Option<&PathBuf>,
    progress: &Progress,
) -> Outcome {
    let cache = match source {
        Source::Root(cache) => cache,
        Source::Service(client, _) => return warm_by_service(client, emulator, groups, progress),
    };
    match cache.revalidate(emulator, groups) {
        Ok(Revalidated::Valid(hit)) => return Outcome::Cached(hit),
        Ok(Revalidated::Stale(why)) => progress.suspend(|| {
            let emulator = Escaped::new(emulator);
            session.log(format_args!("{emulator} is stale: {why}"));
        }),
        Ok(Revalidated::Unusable(error)) => {
            let why = output::chain(&error);
            progress.suspend(|| output::warn(format_args!("{why}; probing again")));
        }
        Ok(_) => {}
        Err(error) => return Outcome::Failed(error.into()),
    }
    let running = progress.begin(emulator);
    let began = Instant::now();
    let result = cache.get_with(emulator, groups);
    let elapsed = began.elapsed();
    running.end();
    let capabilities = match result {
        Ok(capabilities) => capabilities,
        Err(error) => return Outcome::Failed(session.explain(error, emulator)),
    };
    if let Some(error) = capabilities.persist_error() {
        let error = anyhow!("cannot store the answers: {}", output::chain(error));
        return Outcome::NotStored(capabilities, error);
    }
    match first {
        Some(first) if is_link_to(emulator, &capabilities.executable()) => {
            Outcome::Shared(capabilities, first.clone())
        }
        _ => Outcome::Probed(capabilities, elapsed),
    }
}

/// Warms an emulator through the service.
fn warm_by_service(
    client: &Client,
    emulator: &Path,
    groups: Groups,
    progress: &Progress,
) -> Outcome {
    let get = |no_probe| get_from_service(client, emulator, groups, no_probe);
    if let Ok(hit) = get(true)
        && hit.has(groups)
    {
        return Outcome::Cached(hit);
    }
    let running = progress.begin(emulator);
    let began = Instant::now();
    let result = get(false);
    running.end();
    match result {
        Ok(capabilities) => Outcome::Probed(capabilities, began.elapsed()),
        Err(error) => Outcome::Failed(error),
    }
}

/// Returns whether an emulator's path resolves to `executable` without a script in between.
fn is_link_to(emulator: &Path, executable: &Path) -> bool {
    emulator.canonicalize().is_ok_and(|file| file == executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_are_grouped_and_its_own_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().canonicalize().unwrap().join(name);
        std::fs::write(path("ppc64"), "").unwrap();
        std::os::unix::fs::symlink("ppc64", path("a-link")).unwrap();
        let groups = by_file(vec![path("a-link"), path("gone"), path("ppc64")]);
        assert_eq!(groups, [vec![path("ppc64"), path("a-link")], vec![path("gone")]]);
    }
}
