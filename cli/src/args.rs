//! What can be said on the command line.

use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use capscache::probe::Limits;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  capscache warm --all
  capscache inspect qemu-system-x86_64 cpus
  capscache query qemu-system-x86_64 machine:q35 cpu:EPYC@kvm property:virtio-blk-pci.queue-size

An EMULATOR is a path; a bare name that is no file here is looked up on PATH.
The cache is in --root, else in $CAPSCACHE_ROOT, else in /var/cache/capscache for root and in
$XDG_CACHE_HOME/capscache (~/.cache/capscache) for others.";

/// What every QEMU on this host can do: asked once, kept, and answered from the cache.
#[derive(Debug, Parser)]
#[command(name = "capscache", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Say on stderr what is looked at and why something is probed.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

// Where the cache is, and whom it believes. (No doc comment: it would take the place of the
// command's.)
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Directory of the cache; nothing outside it is written.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) root: Option<PathBuf>,

    /// Root of another cache, such as one in an image of this host, to use what is valid there; never
    /// written; may be repeated.
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub(crate) fallback: Vec<PathBuf>,

    /// Believe also the files of this user, by number, beside root's and your own.
    #[arg(long, value_name = "UID", global = true, hide_short_help = true)]
    pub(crate) trust_owner: Option<u32>,

    /// A variable of the emulators' environment, which is empty but for PATH and a locale; may be
    /// repeated.
    #[arg(long, value_name = "NAME=VALUE", global = true, value_parser = OsStringValueParser::new().try_map(variable))]
    pub(crate) env: Vec<(OsString, OsString)>,

    /// A directory or file that emulators may write to, such as the log of a wrapper; otherwise they
    /// write to a temporary directory alone; may be repeated.
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub(crate) writable: Vec<PathBuf>,

    /// How long one process of an emulator may take to answer, on a slow host.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = NonZeroU32::new(10).expect("it is not zero"),
        global = true,
        hide_short_help = true
    )]
    pub(crate) start_timeout: NonZeroU32,

    /// How long a whole probe may take, with all the processes that it needs; 60 by default, or as long
    /// as --start-timeout if that is longer.
    #[arg(long, value_name = "SECONDS", global = true, hide_short_help = true)]
    pub(crate) probe_timeout: Option<NonZeroU32>,

    /// How often a probe may start an emulator again that is lost, to get around what ends it.
    #[arg(long, value_name = "N", default_value_t = Limits::default().restarts, global = true, hide_short_help = true)]
    pub(crate) restarts: u32,

    /// How long to believe that an emulator cannot be probed, if nothing changes.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        global = true,
        hide_short_help = true
    )]
    pub(crate) failure_ttl: u32,
}

impl Place {
    /// What a probe may cost.
    pub(crate) fn limits(&self) -> Limits {
        let seconds = |number: NonZeroU32| Duration::from_secs(number.get().into());
        let (start, default) = (seconds(self.start_timeout), Limits::default());
        Limits {
            start,
            probe: self.probe_timeout.map_or(default.probe.max(start), seconds),
            restarts: self.restarts,
            ..default
        }
    }
}

/// The name and the value of an environment variable.
fn variable(text: OsString) -> Result<(OsString, OsString), &'static str> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err("write NAME=VALUE"),
        Some(at) => {
            let (name, value) = (&bytes[..at], &bytes[at + 1..]);
            Ok((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
        }
    }
}

// Only the subcommand that is called is built: that is a good part of what a hit takes.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Probe the emulators whose answers are missing or stale.
    Warm(Warm),
    /// List what is in the cache.
    List(List),
    /// Show what an emulator can do.
    Inspect(Inspect),
    /// Answer questions with yes, no or unknown.
    Query(Query),
    /// Say whether an entry is valid, and if not, why.
    #[command(visible_alias = "why")]
    Status(Status),
    /// Drop entries.
    Invalidate(Invalidate),
    /// Remove what nobody needs any more: entries of emulators that are gone, and leftovers.
    Gc,
    /// Keep entries fresh: drop what becomes stale, and say so.
    Watch(Watch),
    /// Check entries for damage, every byte of them.
    Verify(Verify),
    /// Show what one emulator can do that another cannot.
    Diff(Diff),
    /// Print an entry as a whole.
    Export(Export),
    /// Probe an emulator and write down the conversation.
    Record(Record),
    /// Export what a transcript says, without any QEMU.
    Replay(Replay),
    /// Answer over a Varlink socket, for programs that may not read the cache or are not written in
    /// Rust.
    Serve(Serve),
    /// Print a completion script for a shell.
    Completions(Completions),
    /// Print the manual page.
    Man(Man),
}

// For commands that answer about one emulator, and probe it if need be. (No doc comment: it would
// take the place of theirs.)
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Probing {
    /// Fail rather than probe.
    #[arg(long)]
    pub(crate) no_probe: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Looks thoroughly, at every module and every shared object, and tries again what failed before.
Exits with 1 if an emulator could not be probed, or its answers not kept.")]
pub(crate) struct Warm {
    /// Emulators to probe.
    #[arg(value_name = "EMULATOR", conflicts_with = "all")]
    pub(crate) emulators: Vec<PathBuf>,

    /// Every emulator on PATH, in /usr/libexec and in the --search directories.
    #[arg(long)]
    pub(crate) all: bool,

    /// Also properties of every device and object, and every CPU model expanded.
    #[arg(long)]
    pub(crate) full: bool,

    /// Emulators to probe at a time; by default as many as there are CPUs.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// A further directory where --all looks for emulators; may be repeated.
    #[arg(long, value_name = "DIR", requires = "all")]
    pub(crate) search: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const SECTIONS: &str = "\
Sections:
  machines  cpus  host-cpu  devices  objects  types  commands  events  options
  migration  tpm  schema  flags  firmware  report
  machine:NAME  cpu:NAME  device:NAME  object:NAME  type:NAME

What a section needs and the entry lacks is probed. With --json a section is the part of
`capscache export` that it shows. The firmware descriptors of this host, for the emulator's
architecture, are in no entry: they are read anew each time, in the order in which one is to be
taken, from qemu/firmware under XDG_CONFIG_HOME (or ~/.config), /etc and /usr/share.";

#[derive(Args, Debug)]
#[command(after_help = SECTIONS)]
pub(crate) struct Inspect {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// What to show, such as `cpus` or `device:virtio-blk-pci`; an overview by default.
    pub(crate) section: Option<String>,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

const QUERIES: &str = "\
Queries:
  machine:q35                         a machine type, by name or alias
  machine-deprecated:pc-i440fx-1.4    a machine type that QEMU calls deprecated
  cpu:EPYC@kvm                        a CPU model that runs here under KVM; without @, under the
                                      best accelerator; where that was lost, unknown rather than
                                      the no of another
  cpu-model:EPYC                      a CPU model that QEMU knows
  device:virtio-blk-pci               a device that can be made
  property:virtio-blk-pci.queue-size  a property of a device or object
  type:virtio-gpu-gl-device           a QOM type
  command:blockdev-add                a QMP command
  event:SHUTDOWN                      a QMP event
  option:spice                        a group of command-line options
  schema:blockdev-add/arg-type/+file/aio/^io_uring
                                      a path in the QMP schema
  flag:virtio-gpu                     a capability flag of libvirt's
  version:>=8.2                       the version of QEMU; >=, >, <=, < or =, which may be left
                                      out, in the parts that are named: 8.2.1 is 8.2, not >8.2
  gic:3                               an interrupt controller of this version for an ARM guest
  firmware:uefi,secure-boot           a firmware of this host for the emulator's architecture with
                                      all of these interfaces and features, by the names of
                                      QEMU's firmware.json: bios, uefi, acpi-s3, amd-sev, ...

Prints QUERY, a tab, and yes, no or unknown; with --explain another tab and the reason. Exits with 0 if all are yes, 1 if one is no, 3 if
one is unknown and none is no, 2 on error.";

#[derive(Args, Debug)]
#[command(after_help = QUERIES)]
pub(crate) struct Query {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// What to ask, as KIND:NAME.
    #[arg(required = true)]
    pub(crate) query: Vec<String>,

    /// Add a tab and the reason to each line: why an answer is unknown, what a CPU model lacks, under
    /// which accelerator it runs.
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 0 for valid, 1 for stale, damaged or failed, 3 for missing, 2 on error."
)]
pub(crate) struct Status {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// Look also at what a hit does not pay for: every module, every shared object.
    #[arg(long)]
    pub(crate) thorough: bool,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Invalidate {
    /// Emulators whose entries to drop.
    #[arg(value_name = "EMULATOR", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) emulators: Vec<PathBuf>,

    /// Drop every entry.
    #[arg(long)]
    pub(crate) all: bool,
}

const EVENTS: &str = "\
Prints one line per event until it is ended:
  watching DIRECTORIES directories for ENTRIES entries
  dropped EMULATOR: what changed
  refreshed EMULATOR
  appeared EMULATOR
  failed EMULATOR: why it could not be probed
  missed events, lost a directory, mounts changed: and everything is looked at again

With --rewarm what was dropped is probed again, and what appears is probed, at low priority; never a
file that somebody else than root and you could have written.";

#[derive(Args, Debug)]
#[command(after_help = EVENTS)]
pub(crate) struct Watch {
    /// Probe again in the background what was dropped, and what appears.
    #[arg(long)]
    pub(crate) rewarm: bool,

    /// A further directory where new emulators are looked for, beside PATH and /usr/libexec; may be
    /// repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) search: Vec<PathBuf>,

    /// Emulators to probe at a time; by default as many as there are CPUs.
    #[arg(long, value_name = "N", requires = "rewarm")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Print a JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Exits with 1 if an entry is damaged.")]
pub(crate) struct Verify {
    /// Emulators whose entries to check; all entries by default.
    #[arg(value_name = "EMULATOR")]
    pub(crate) emulators: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Lines begin with - for what only A can do, with + for what only B can do, and with ? for \
                      what one of them did not tell."
)]
pub(crate) struct Diff {
    /// Path of an emulator, or its name on PATH.
    pub(crate) a: PathBuf,

    /// Another one.
    pub(crate) b: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Everything that QEMU said, keys spelt as QMP spells them, on one line.
    Json,
    /// The `<qemuCaps>` XML that libvirt keeps of it.
    LibvirtXml,
}

// Of libvirt itself, which no QEMU knows.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Libvirt {
    /// With libvirt-xml: when libvirt's own files last changed, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) self_ctime: i64,

    /// With libvirt-xml: the version of libvirt, such as 11003000 for 11.3.0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) self_version: u32,
}

/// Accelerators that a recording does not tell of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Untold {
    /// Apple's Hypervisor framework.
    Hvf,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) libvirt: Libvirt,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

#[derive(Args, Debug)]
pub(crate) struct Record {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// File to write the transcript to; stdout by default.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Also properties of every device and object, and every CPU model expanded.
    #[arg(long)]
    pub(crate) full: bool,

    /// Leave KVM out.
    #[arg(long)]
    pub(crate) no_kvm: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// A transcript, which may be compressed with gzip; `-` is stdin.
    pub(crate) file: PathBuf,

    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,

    /// With libvirt-xml: the emulator's path; /usr/bin/qemu-system-ARCH by default.
    #[arg(long, value_name = "PATH")]
    pub(crate) emulator: Option<String>,

    /// With libvirt-xml: the microcode of the host's CPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) microcode_version: u32,

    /// The hardware that the first pass of a recording of libvirt's ran under, which only KVM tells.
    #[arg(long, value_enum)]
    pub(crate) accelerator: Option<Untold>,
}

const SERVICE: &str = "\
The interface is io.capscache.Cache; introspection describes it. Everybody who may connect reads. Only
root and the service's own user warm and invalidate, or have an emulator probed that is not known yet,
unless it is one that `capscache warm --all` would find, belongs to root and cannot be written by
others, and neither can the directories above it.

A socket that is passed in (LISTEN_FDS) is used instead of --socket. Readiness, state and watchdog are
told to $NOTIFY_SOCKET. SIGTERM and SIGINT let calls end that are under way, for up to a second.

The command asks the service, at $CAPSCACHE_SOCKET or else at the same default, where its user may not
write to the root that the service keeps.";

#[derive(Args, Debug)]
#[command(after_help = SERVICE)]
pub(crate) struct Serve {
    /// Where to listen.
    #[arg(long, value_name = "PATH", default_value = capscache_service::interface::SOCKET)]
    pub(crate) socket: PathBuf,

    /// A further directory where emulators are looked for, beside PATH and /usr/libexec; may be
    /// repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) search: Vec<PathBuf>,

    /// Probe again in the background what has become stale, before anybody asks.
    #[arg(long)]
    pub(crate) rewarm: bool,

    /// Emulators to probe at a time; by default as many as there are CPUs.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write a page for each command into this directory instead.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
