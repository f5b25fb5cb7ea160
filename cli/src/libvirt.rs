//! `libvirt seed`: fills libvirt's own cache of capabilities, or checks it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::available_parallelism;

use anyhow::{Context, Result, anyhow, bail};
use capscache::{Escaped, Groups};
use capscache_libvirt::seed::{Instance, Options, SeedError, Seeder, State, Times};
use capscache_libvirt::{CpuData, Cpuid};
use capscache_service::export::as_named;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{ImageTimes, Probing, Seed};
use crate::format::DocumentFormat;
use crate::output;
use crate::remedy;
use crate::session::{Session, locate, user_caches};
use crate::source::Source;
use crate::text::Text;

pub(crate) fn seed(session: &Session, args: &Seed) -> Result<ExitCode> {
    let seeder = options(args)?.open()?;
    log(session, &seeder);
    let emulators = match &args.emulators[..] {
        [] if seeder.emulators().is_empty() => {
            bail!(
                "cannot find an emulator where libvirt searches for them; install QEMU, or give their paths"
            )
        }
        [] => seeder.emulators().to_vec(),
        given if args.image_root.is_some() => given.to_vec(),
        given => {
            let located = given.iter().map(|named| as_named(&locate(named)));
            located.collect::<Result<_, _>>()?
        }
    };
    let mut report = Report::new(args.format.document());
    let mut lacking = Vec::new();
    for emulator in emulators {
        match seeder.check(&emulator) {
            Ok(State::Accepted) => report.add(&emulator, Outcome::Accepted, None)?,
            Ok(state) if args.check => report.add_not_accepted(&emulator, &state)?,
            Ok(state) => lacking.push((emulator, state)),
            Err(error) => report.add_failed(&emulator, &error.into())?,
        }
    }
    if !lacking.is_empty() {
        write(session, args, &seeder, lacking, &mut report)?;
    }
    Ok(ExitCode::from(if report.is_all_accepted { 0 } else { output::NO }))
}

/// Returns the instance of libvirt that this user has.
pub(crate) fn own_instance() -> Result<Instance> {
    if rustix::process::geteuid().is_root() {
        return Ok(Instance::System);
    }
    session_instance()
}

fn session_instance() -> Result<Instance> {
    let caches = user_caches().context(
        "cannot find libvirt's cache of this user: neither HOME nor XDG_CACHE_HOME is set",
    )?;
    Ok(Instance::Session(caches))
}

fn options(args: &Seed) -> Result<Options> {
    let instance = match &args.embed {
        Some(root) => Instance::Embedded(std::path::absolute(root)?),
        None if args.session => session_instance()?,
        None if args.image_root.is_some() => Instance::System,
        None => own_instance()?,
    };
    let mut options = Options::new(instance);
    if let Some(daemon) = &args.daemon {
        options = options.daemon(daemon);
    }
    Ok(match &args.image_root {
        Some(root) => {
            let times = match args.image_times {
                ImageTimes::Kept => Times::Kept,
                ImageTimes::Modification => Times::OfModification,
            };
            options.image(std::path::absolute(root)?, times)
        }
        None => options.cpu_data(cpu_data()),
    })
}

fn log(session: &Session, seeder: &Seeder) {
    let (host, user) = (&seeder.present().host, seeder.user());
    let directory = seeder.directory();
    let daemon = seeder.daemon().map_or("a process".into(), |daemon| daemon.to_string_lossy());
    let kvm = if seeder.present().kvm_usable { "may" } else { "may not" };
    session.log(format_args!(
        "libvirt {} in {daemon}, changed at {}, has its files in {}, and runs QEMU as the user {} ({}), who {kvm} open \
         /dev/kvm",
        seeder.installed(),
        host.self_ctime,
        Escaped::new(&directory),
        user.name,
        user.uid
    ));
}

/// Writes the files of emulators, several at a time, since some may have to be probed.
fn write(
    session: &Session,
    args: &Seed,
    seeder: &Seeder,
    emulators: Vec<(PathBuf, State)>,
    report: &mut Report,
) -> Result<()> {
    if let Some(root) = &args.image_root {
        enter(root)?;
    }
    let source = source(session)?;
    let report = Mutex::new(report);
    let workers = available_parallelism().map_or(1, usize::from).min(emulators.len());
    let emulators = Mutex::new(emulators.into_iter());
    let work = || -> Result<()> {
        loop {
            let Some((emulator, state)) = lock(&emulators).next() else { return Ok(()) };
            let written = write_one(session, &source, seeder, &emulator);
            let mut report = lock(&report);
            match written {
                Ok(()) => report.add(&emulator, Outcome::Written, Some(reason(&state)))?,
                Err(error) if matches!(error.downcast_ref(), Some(SeedError::DependsOnHost)) => {
                    report.add(&emulator, Outcome::Left, None)?;
                }
                Err(error) => report.add_failed(&emulator, &error)?,
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write_one(session: &Session, source: &Source, seeder: &Seeder, emulator: &Path) -> Result<()> {
    let probing = Probing { no_probe: false };
    let identity = seeder.identify(emulator)?;
    let entry = session.answers(source, emulator, Groups::CORE, probing)?;
    Ok(seeder.write(emulator, &entry, &identity)?)
}

/// Makes the root directory of an image that of this process, so that its emulators are run with its libraries.
fn enter(root: &Path) -> Result<()> {
    let shown = Escaped::new(root);
    let entered = rustix::process::chroot(root).and_then(|()| rustix::process::chdir("/"));
    entered.map_err(std::io::Error::from).with_context(|| {
        format!("cannot run the emulators of the image {shown} (chroot, which takes root)")
    })?;
    if !Path::new("/proc/self").exists() {
        bail!("cannot run the emulators of the image {shown}: mount proc at {shown}/proc first");
    }
    Ok(())
}

/// Returns the source of entries. Where the cache belongs to another user, only its service is one: a process that
/// became that user could not write libvirt's files.
fn source(session: &Session) -> Result<Source> {
    let before = rustix::process::geteuid();
    let source = session.source()?;
    if rustix::process::geteuid() != before {
        bail!(
            "cannot use the cache {}, which belongs to another user: start its service, capscache.socket, or give \
             another cache with --root DIR",
            Escaped::new(source.root())
        );
    }
    Ok(source)
}

/// Returns the CPUID leaves that KVM of this host supports, as libvirt queries them.
pub(crate) fn cpu_data() -> Option<CpuData> {
    #[derive(Deserialize)]
    struct Leaf {
        function: u32,
        index: u32,
        eax: u32,
        ebx: u32,
        ecx: u32,
        edx: u32,
    }
    let leaves: Vec<Leaf> = serde_json::from_str(&capscache::probe::supported_cpuid()?).ok()?;
    Some(CpuData::of_host(leaves.into_iter().map(|leaf| {
        let Leaf { function: eax_in, index: ecx_in, eax, ebx, ecx, edx } = leaf;
        Cpuid { eax_in, ecx_in, eax, ebx, ecx, edx }
    })))
}

/// Returns why libvirt does not accept a file.
pub(crate) fn reason(state: &State) -> String {
    match state {
        State::Missing => "there was no file".to_owned(),
        State::Untrusted(why) => format!("it {why}"),
        State::Unreadable(error) => output::chain(error),
        State::Outdated(outdated) => outdated.to_string(),
        _ => String::new(),
    }
}

/// The result for an emulator.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Accepted,
    Missing,
    NotAccepted,
    Written,
    /// It depends on the host, and the image is to be started on another.
    Left,
    Failed,
}

impl Outcome {
    fn text(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Missing => "missing",
            Outcome::NotAccepted => "not accepted",
            Outcome::Written => "written",
            Outcome::Left => "left to the first start, since it depends on the host",
            Outcome::Failed => "failed",
        }
    }
}

/// The results for emulators, which are printed one by one.
struct Report {
    format: Option<DocumentFormat>,
    is_all_accepted: bool,
}

impl Report {
    fn new(format: Option<DocumentFormat>) -> Report {
        Report { format, is_all_accepted: true }
    }

    fn add(&mut self, emulator: &Path, outcome: Outcome, reason: Option<String>) -> Result<()> {
        if matches!(outcome, Outcome::Missing | Outcome::NotAccepted | Outcome::Failed) {
            self.is_all_accepted = false;
        }
        if let Some(format) = self.format {
            let emulator = emulator.to_string_lossy();
            let result = json!({"emulator": emulator, "state": outcome, "reason": reason});
            return output::print_document(&format.event(&result)?);
        }
        let (emulator, outcome) = (Escaped::new(emulator), outcome.text());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut text = Text::new();
        text.line(format_args!("{emulator}: {outcome}{reason}"));
        output::print(&text)
    }

    fn add_not_accepted(&mut self, emulator: &Path, state: &State) -> Result<()> {
        match state {
            State::Missing => self.add(emulator, Outcome::Missing, None),
            state => self.add(emulator, Outcome::NotAccepted, Some(reason(state))),
        }
    }

    /// Reports an error on stderr, and for programs also among the results.
    fn add_failed(&mut self, emulator: &Path, error: &anyhow::Error) -> Result<()> {
        self.is_all_accepted = false;
        let text = output::chain(error.as_ref());
        let with_remedy = anyhow!("{text}{}", remedy::of(&text));
        output::print_error_about(&Escaped::new(emulator).to_string(), &with_remedy);
        if self.format.is_some() { self.add(emulator, Outcome::Failed, Some(text)) } else { Ok(()) }
    }
}
