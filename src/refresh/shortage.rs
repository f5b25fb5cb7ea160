//! Finds out, after a probe, the resources that this process lacked.

use std::fs;
use std::path::{Path, PathBuf};

use capscache_format::{Accelerator, Escaped, Input, InputKind, Model, PassReport, Scope};

use crate::inputs::incomplete::{is_absent, opens, record};
use crate::inputs::shortage;

/// Messages of programs in the C locale that lack a resource (errno(3): ENOMEM, EAGAIN, EMFILE, ENFILE,
/// ENOSPC; of glibc and musl), and signals and timeouts that a limit or the kernel may have caused.
const SHORTAGE_MESSAGES: [&str; 14] = [
    "Cannot allocate memory",
    "Out of memory",
    "out of memory",
    "failed to allocate",
    "Resource temporarily unavailable",
    "Failed to create thread",
    "Too many open files",
    "No file descriptors available",
    "No space left on device",
    "SIGKILL",
    "SIGXCPU",
    "SIGXFSZ",
    "gave no answer within",
    "cannot complete the probe within",
];

/// Returns whether a text, such as an error with its causes or the output of an emulator, shows a shortage.
pub(super) fn shows_shortage(text: &str) -> bool {
    SHORTAGE_MESSAGES.iter().any(|sign| text.contains(sign))
}

/// Records in a model the answers that are missing from it, if any are: those of an accelerator that is built
/// in and did not run, of queries that ended an emulator that lacked a resource, and of modules that could not
/// be opened. `closed_kvm`: KVM could not be opened, which is an input of its own.
pub(super) fn note(model: &mut Model, closed_kvm: bool) {
    let mut unopened = Vec::new();
    let mut reasons = Vec::new();
    let directories = model.inputs.iter().filter(|input| input.kind() == InputKind::Modules);
    for directory in directories.map(Input::path) {
        unopened.extend(unopened_in(directory));
    }
    for pass in &model.report.passes {
        let unloaded =
            pass.output_tail.lines().filter(|line| line.contains("ailed to open module"));
        for line in unloaded {
            let words = line.split([' ', ':']).filter(|word| word.starts_with('/'));
            let found = words.map(PathBuf::from).filter(|path| path.exists());
            let before = unopened.len();
            unopened.extend(found.filter(|path| !unopened.contains(path)).collect::<Vec<_>>());
            if unopened.len() > before {
                reasons.push(line.trim().to_owned());
            }
        }
    }
    if let Some(first) = unopened.first() {
        reasons.push(format!("{} cannot be opened", Escaped::new(first)));
    }
    let is_kvm = |pass: &&PassReport| pass.source.accelerator() == Some(Accelerator::Kvm);
    let failed = model.report.passes.iter().filter(|pass| pass.failure.is_some());
    let (kvm, binary): (Vec<_>, Vec<_>) = failed.partition(is_kvm);
    let kvm = if closed_kvm { Vec::new() } else { kvm };
    let failures = binary.iter().chain(&kvm);
    reasons.extend(failures.filter_map(|pass| pass.failure.clone()));
    let short = shortage();
    let quarantined = model.report.quarantined.iter();
    let lost_query = quarantined
        .filter(|lost| short.is_some() || shows_shortage(&lost.reason))
        .map(|lost| format!("{}: it {}", lost.command, lost.reason))
        .next();
    let lost_binary = !binary.is_empty() || lost_query.is_some() || !unopened.is_empty();
    reasons.extend(lost_query);
    if !lost_binary && kvm.is_empty() {
        return;
    }
    let mut reason = reasons.into_iter().next().unwrap_or_else(|| "an accelerator was lost".into());
    if let Some(short) = short {
        reason = format!("{reason} (the prober was short: {short})");
    }
    let scope = if lost_binary { Scope::Binary } else { Scope::Host };
    model.inputs.push(record(scope, reason, unopened));
}

/// The modules in a directory that cannot be opened, or the directory itself.
fn unopened_in(directory: &Path) -> Vec<PathBuf> {
    match fs::read_dir(directory) {
        Ok(entries) => {
            let modules = entries.flatten().map(|entry| entry.path());
            let modules = modules.filter(|path| path.extension().is_some_and(|so| so == "so"));
            modules.filter(|path| !opens(path)).collect()
        }
        Err(error) if is_absent(&error) => Vec::new(),
        Err(_) => vec![directory.to_owned()],
    }
}
