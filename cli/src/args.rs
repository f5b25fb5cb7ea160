//! The command line.

use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use capscache::probe::Limits;
use capscache_libvirt::{Release, UnknownRelease};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::format::OutputFormat;

const EXAMPLES: &str = "\
Examples:
  capscache
  capscache warm --all
  capscache inspect qemu-system-x86_64 cpus
  capscache query qemu-system-x86_64 machine:q35 cpu:EPYC@kvm property:virtio-blk-pci.queue-size

An EMULATOR is a path; a bare name that is not a file in the working directory is searched on
PATH.
The cache is in --root, else in $CAPSCACHE_ROOT, else in /var/cache/capscache for root and in
$XDG_CACHE_HOME/capscache (~/.cache/capscache) for others.";

/// Capabilities of every QEMU on this host: probed once, stored, and answered from the cache.
///
/// Without a command, prints an overview of this host and what to do next.
#[derive(Debug, Parser)]
#[command(name = "capscache", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: GlobalOptions,

    /// Print on stderr which cache is used and why an emulator is probed.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// The format of the overview; each command has its own.
    #[command(flatten)]
    pub(crate) format: OutputFormat,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

// Options of all commands: the cache, and what emulators get and may use. (A doc comment would replace the
// command's.)
#[derive(Args, Clone, Debug)]
pub(crate) struct GlobalOptions {
    /// Directory of the cache; nothing outside it is written.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) root: Option<PathBuf>,

    /// Root of another cache whose valid entries are used, such as one in an image of this host; never
    /// written; may be repeated.
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub(crate) fallback: Vec<PathBuf>,

    /// Also trust files that belong to this user, a number, beside root's and your own.
    #[arg(long, value_name = "UID", global = true, hide_short_help = true)]
    pub(crate) trust_owner: Option<u32>,

    /// A variable for the environment of emulators, which otherwise contains only PATH and a locale;
    /// may be repeated.
    #[arg(long, value_name = "NAME=VALUE", global = true, value_parser = OsStringValueParser::new().try_map(variable))]
    pub(crate) env: Vec<(OsString, OsString)>,

    /// A directory or file that emulators may write to, such as the log of a wrapper, beside a temporary
    /// directory; may be repeated.
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub(crate) writable: Vec<PathBuf>,

    /// Time for one process of an emulator to answer; more helps on a slow host.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = NonZeroU32::new(10).expect("it is not zero"),
        global = true,
        hide_short_help = true
    )]
    pub(crate) start_timeout: NonZeroU32,

    /// Time for a whole probe, with all the processes that it needs; 60 by default, or --start-timeout
    /// if that is longer.
    #[arg(long, value_name = "SECONDS", global = true, hide_short_help = true)]
    pub(crate) probe_timeout: Option<NonZeroU32>,

    /// Times that a probe may start an emulator again that ended early, to leave out the query that
    /// ends it.
    #[arg(long, value_name = "N", default_value_t = Limits::default().restarts, global = true, hide_short_help = true)]
    pub(crate) restarts: u32,

    /// Time for which a failed probe is remembered, if nothing changes.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        global = true,
        hide_short_help = true
    )]
    pub(crate) failure_ttl: u32,
}

impl GlobalOptions {
    /// Returns the limits of a probe.
    pub(crate) fn limits(&self) -> Limits {
        let seconds = |number: NonZeroU32| Duration::from_secs(number.get().into());
        let (start, default) = (seconds(self.start_timeout), Limits::default());
        let probe = self.probe_timeout.map_or(default.probe.max(start), seconds);
        default.start(start).probe(probe).restarts(self.restarts)
    }
}

/// Splits an environment variable into its name and its value.
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

// Only the subcommand that is called is built: that is a good part of the time of a hit.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Probe the emulators whose answers are missing or stale.
    Warm(Warm),
    /// List the entries of the cache.
    List(List),
    /// Show the capabilities of an emulator.
    Inspect(Inspect),
    /// Answer queries with yes, no or unknown.
    Query(Query),
    /// Print whether an entry is valid, and if not, why.
    #[command(visible_alias = "why")]
    Status(Status),
    /// Check this host: KVM, the cache, watcher, service, libvirt and emulators, with a remedy for each
    /// finding.
    Doctor(Doctor),
    /// Drop entries.
    Invalidate(Invalidate),
    /// Remove entries of emulators that no longer exist, and files that ended processes left.
    Gc(Gc),
    /// Keep entries fresh: drop those that become stale, and print each event.
    Watch(Watch),
    /// Check entries for damage, every byte of them.
    Verify(Verify),
    /// Show the differences between the capabilities of two emulators.
    Diff(Diff),
    /// Print a whole entry.
    Export(Export),
    /// Probe an emulator and write a transcript of the QMP session.
    Record(Record),
    /// Export the answers in a transcript, without QEMU.
    Replay(Replay),
    /// Give every device of a guest an address, as libvirt does, and add the controllers that it needs.
    Devaddr(Devaddr),
    /// Fill libvirt's own cache of capabilities, or check it.
    #[command(subcommand, arg_required_else_help = false)]
    Libvirt(LibvirtCommand),
    /// Start a guest in QEMU, without a daemon, and watch it until it ends.
    Run(Run),
    /// Answer over a Varlink socket, for programs that may not read the cache or are not written in
    /// Rust.
    Serve(Serve),
    /// Print a completion script for a shell.
    Completions(Completions),
    /// Print candidates for the last word of a command line.
    #[command(hide = true)]
    Complete(Complete),
    /// Print the manual page.
    Man(Man),
}

// For commands that answer about one emulator, and probe it if necessary. (A doc comment would replace
// theirs.)
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Probing {
    /// Fail rather than probe.
    #[arg(long)]
    pub(crate) no_probe: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Checks every module and every shared object, and probes again what failed before.
Exits with 1 if an emulator could not be probed, or its answers could not be stored.")]
pub(crate) struct Warm {
    /// Emulators to probe.
    #[arg(value_name = "EMULATOR", conflicts_with_all = ["all", "known"])]
    pub(crate) emulators: Vec<PathBuf>,

    /// Every emulator on PATH, in /usr/libexec and in the --search directories.
    #[arg(long)]
    pub(crate) all: bool,

    /// Every emulator that has an entry, with the groups of the entry.
    #[arg(long, conflicts_with = "all")]
    pub(crate) known: bool,

    /// Also properties of every device and object, and every CPU model expanded.
    #[arg(long)]
    pub(crate) full: bool,

    /// Emulators to probe at a time; by default one more than there are CPUs.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// A further directory where --all searches for emulators; may be repeated.
    #[arg(long, value_name = "DIR", requires = "all")]
    pub(crate) search: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

const SECTIONS: &str = "\
Sections:
  machines  cpus  host-cpu  devices  objects  types  commands  events  options
  migration  tpm  schema  flags  firmware  report
  machine:NAME  cpu:NAME  device:NAME  object:NAME  type:NAME

Answers that a section needs and the entry lacks are probed. With --json a section is the part of
`capscache export` that it shows. The firmware descriptors of this host, for the emulator's
architecture, are not stored in entries: they are read each time, in their order of preference,
from qemu/firmware under XDG_CONFIG_HOME (or ~/.config), /etc and /usr/share.";

#[derive(Args, Debug)]
#[command(after_help = SECTIONS)]
pub(crate) struct Inspect {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// Section to show, such as `cpus` or `device:virtio-blk-pci`; an overview by default.
    pub(crate) section: Option<String>,

    #[command(flatten)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) release: LibvirtRelease,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

const QUERIES: &str = "\
Queries:
  machine:q35                         a machine type, by name or alias
  machine-deprecated:pc-i440fx-1.4    a machine type that QEMU reports as deprecated
  cpu:EPYC@kvm                        a CPU model that runs here under KVM; without @, under the
                                      best accelerator; if that one failed, unknown rather than
                                      the no of another
  cpu-model:EPYC                      a CPU model that QEMU lists
  device:virtio-blk-pci               a device that can be created
  property:virtio-blk-pci.queue-size  a property of a device or object
  type:virtio-gpu-gl-device           a QOM type
  command:blockdev-add                a QMP command
  event:SHUTDOWN                      a QMP event
  option:spice                        a group of command-line options
  schema:blockdev-add/arg-type/+file/aio/^io_uring
                                      a path in the QMP schema
  flag:virtio-gpu                     a capability flag of libvirt's
  version:>=8.2                       the version of QEMU; >=, >, <=, < or =, which may be left
                                      out; only the given parts count: 8.2.1 is 8.2, not >8.2
  gic:3                               an interrupt controller of this version for an ARM guest
  firmware:uefi,secure-boot           a firmware of this host for the emulator's architecture with
                                      all of these interfaces and features, as QEMU's
                                      firmware.json names them: bios, uefi, acpi-s3, amd-sev, ...

Prints QUERY, a tab, and yes, no or unknown; with --explain another tab and the reason. With --json,
prints a list of {query, answer}, with --explain also reason. Exits with 0
if all are yes, 1 if one is no, 3 if one is unknown and none is no, 2 on error.";

#[derive(Args, Debug)]
#[command(after_help = QUERIES)]
pub(crate) struct Query {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// Query, as KIND:NAME.
    #[arg(required = true)]
    pub(crate) query: Vec<String>,

    /// Add a tab and the reason to each line: why an answer is unknown, what a CPU model lacks, under
    /// which accelerator it runs.
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) release: LibvirtRelease,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 0 for valid, 1 for stale, damaged, unreadable or failed, 3 for missing, 2 on error."
)]
pub(crate) struct Status {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    /// Also check files that a hit does not: every module, every shared object.
    #[arg(long)]
    pub(crate) thorough: bool,

    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Starts no emulator and writes nothing. Exits with 1 if a check failed, and with 0 if there are only
warnings.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

#[derive(Args, Debug)]
pub(crate) struct Invalidate {
    /// Emulators whose entries to drop.
    #[arg(value_name = "EMULATOR", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) emulators: Vec<PathBuf>,

    /// Drop every entry.
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

#[derive(Args, Debug)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

const EVENTS: &str = "\
Prints one line per event until it is terminated; with --json an object per line, with --format yaml a
document that begins with ---:
  watching DIRECTORIES directories for ENTRIES entries
  dropped EMULATOR: REASON
  refreshed EMULATOR; refreshed EMULATOR: probed in MILLISECONDS ms
  appeared EMULATOR
  failed EMULATOR: REASON
  missed events, lost DIRECTORY, mounts changed: checked everything again
  other notices about the watcher itself

With --rewarm, emulators whose entries were dropped and emulators that appear are probed at low
priority; never a file that a user other than root and you could have written.";

#[derive(Args, Debug)]
#[command(after_help = EVENTS)]
pub(crate) struct Watch {
    /// Probe in the background emulators whose entries were dropped, and emulators that appear.
    #[arg(long)]
    pub(crate) rewarm: bool,

    /// A further directory where new emulators are searched, beside PATH and /usr/libexec; may be
    /// repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) search: Vec<PathBuf>,

    /// Emulators to probe at a time; by default as many as there are CPUs.
    #[arg(long, value_name = "N", requires = "rewarm")]
    pub(crate) jobs: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

#[derive(Args, Debug)]
#[command(after_help = "Exits with 1 if an entry is damaged.")]
pub(crate) struct Verify {
    /// Emulators whose entries to check; all entries by default.
    #[arg(value_name = "EMULATOR")]
    pub(crate) emulators: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Lines begin with - for what only A can do, with + for what only B can do, and with ? for \
                      what is unknown for one of them."
)]
pub(crate) struct Diff {
    /// Path of an emulator, or its name on PATH.
    pub(crate) a: PathBuf,

    /// Path or name of another emulator.
    pub(crate) b: PathBuf,

    #[command(flatten)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// All answers of QEMU, keys spelled as in QMP, on one line.
    Json,
    /// The same in YAML.
    Yaml,
    /// The `<qemuCaps>` XML of libvirt's cache.
    LibvirtXml,
    /// The `<domainCapabilities>` XML that libvirt reports for a machine type.
    #[value(name = "domcapabilities")]
    DomainCapabilities,
}

// The format of a whole entry. (A doc comment would replace the command's.)
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct EntryFormat {
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,

    /// Print JSON, as without an option: short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl EntryFormat {
    pub(crate) fn get(self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

// The domain that capabilities are for. (A doc comment would replace the command's.)
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Domain {
    /// With domcapabilities: the machine type, which may be an alias; libvirt's preferred one by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) machine: Option<String>,

    /// With domcapabilities: the accelerator; hardware by default, if the emulator runs under it.
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) virttype: Option<VirtType>,

    /// With domcapabilities: the folder with the CPU map of the release of libvirt; by default that of the installed one.
    #[arg(long, value_name = "DIR")]
    pub(crate) cpu_map: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VirtType {
    /// Hardware, through KVM.
    Kvm,
    /// Hardware, through Apple's Hypervisor framework.
    Hvf,
    /// TCG.
    Qemu,
}

impl From<VirtType> for capscache_libvirt::VirtType {
    fn from(virttype: VirtType) -> capscache_libvirt::VirtType {
        match virttype {
            VirtType::Kvm => capscache_libvirt::VirtType::Kvm,
            VirtType::Hvf => capscache_libvirt::VirtType::Hvf,
            VirtType::Qemu => capscache_libvirt::VirtType::Qemu,
        }
    }
}

// For commands that speak libvirt's vocabulary. (A doc comment would replace theirs.)
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct LibvirtRelease {
    /// Release of libvirt whose flags and XML to use: 9.0, 10.0, 11.3 or 12.8; the installed one by default, and
    /// the newest if none is installed.
    #[arg(long, value_name = "VERSION")]
    pub(crate) libvirt: Option<Release>,
}

impl LibvirtRelease {
    /// Returns the release.
    pub(crate) fn get(self) -> Result<Release, UnknownRelease> {
        self.libvirt.map_or_else(Release::of_this_host, Ok)
    }
}

// Values of libvirt itself, which QEMU does not have.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Libvirt {
    /// With libvirt-xml: when libvirt's own files last changed, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) self_ctime: i64,

    /// With libvirt-xml: the version of libvirt, such as 11003000 for 11.3.0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) self_version: u32,
}

/// Accelerators that a transcript may not identify.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReplayAccelerator {
    /// Apple's Hypervisor framework.
    Hvf,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// Path of an emulator, or its name on PATH.
    pub(crate) emulator: PathBuf,

    #[command(flatten)]
    pub(crate) format: EntryFormat,

    #[command(flatten)]
    pub(crate) release: LibvirtRelease,

    #[command(flatten)]
    pub(crate) libvirt: Libvirt,

    #[command(flatten)]
    pub(crate) domain: Domain,

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

    /// Do not use KVM.
    #[arg(long)]
    pub(crate) no_kvm: bool,
}

/// Address at which a recorded emulator answers.
#[derive(Clone, Debug)]
pub(crate) enum Monitor {
    /// Standard input and output.
    Stdio,
    /// The path of a socket.
    Unix(PathBuf),
}

impl FromStr for Monitor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Monitor, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Monitor::Unix(path.into())),
            None if text == "stdio" => Ok(Monitor::Stdio),
            _ => Err("use unix:PATH or stdio"),
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
To install a recorded emulator for a driver, write a script in its place:

    #!/bin/sh
    exec capscache replay /srv/qemu.qmp.gz --emulate -- \"$@\"

Replies are found by command and arguments, in the recording of the accelerator that the driver selects. A
command that the emulator does not have is refused with CommandNotFound, as by QEMU.")]
pub(crate) struct Replay {
    /// A transcript, which may be compressed with gzip; `-` is stdin.
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) format: EntryFormat,

    #[command(flatten)]
    pub(crate) release: LibvirtRelease,

    /// With libvirt-xml and domcapabilities: the emulator's path; /usr/bin/qemu-system-ARCH by default.
    #[arg(long, value_name = "PATH")]
    pub(crate) emulator: Option<String>,

    /// With libvirt-xml: the microcode of the host's CPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) microcode_version: u32,

    /// Accelerator of the first pass in a transcript of libvirt's, where it was not KVM: before
    /// QEMU 10.2 transcripts identify only that.
    #[arg(long, value_enum)]
    pub(crate) accelerator: Option<ReplayAccelerator>,

    /// Answer QMP commands at `unix:PATH` or `stdio`, as the recorded emulator would, until a client sends `quit`.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["emulate", "format", "json", "emulator", "microcode_version"])]
    pub(crate) serve: Option<Monitor>,

    /// Run as the recorded emulator, with the arguments of QEMU after `--`.
    #[arg(long, conflicts_with_all = ["format", "json", "emulator", "microcode_version"])]
    pub(crate) emulate: bool,

    /// Append each command that the emulator has and the recording has no reply to, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    pub(crate) unanswered: Option<PathBuf>,

    /// With --emulate: stdin is the socket of the monitor, and stdout that of the process which waits.
    #[arg(long, hide = true, requires = "emulate")]
    pub(crate) daemon: bool,

    /// With --emulate: arguments of QEMU. Read are -machine accel=, -accel, -qmp, -mon, -chardev, -pidfile, -daemonize
    /// and -version.
    #[arg(last = true, value_name = "ARGUMENT", requires = "emulate", allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,

    #[command(flatten)]
    pub(crate) domain: Domain,
}

#[derive(Args, Debug)]
#[command(after_help = "\
What has an address keeps it: a guest that was completed before does not change, and a device that is
added to it gets a free place. Facts about QEMU's devices come from --emulator or --transcript, otherwise
from a table of what QEMU since 4.2 has; no emulator is started and nothing is written.

The guest is printed in libvirt's XML; with --json or --format yaml as a document with the policy and the
reason for each address. Tunables on the command line replace those of --policy. devaddr.md, in the
documentation of the package, describes policies and JSON.")]
pub(crate) struct Devaddr {
    /// The guest, in libvirt's XML or in JSON; `-` for standard input.
    #[arg(value_name = "GUEST")]
    pub(crate) guest: PathBuf,

    #[command(flatten)]
    pub(crate) format: OutputFormat,

    /// Print why each device is where it is, one line each, instead of the guest.
    #[arg(long, group = "view", conflicts_with_all = ["format", "json"])]
    pub(crate) explain: bool,

    /// Draw buses and devices as a tree, instead of printing the guest.
    #[arg(long, group = "view", conflicts_with_all = ["format", "json"])]
    pub(crate) tree: bool,

    /// Draw buses and devices as an SVG picture, instead of printing the guest.
    #[arg(long, group = "view", conflicts_with_all = ["format", "json"])]
    pub(crate) svg: bool,

    /// Carry elements and attributes of the XML through that are not understood, which otherwise are errors.
    #[arg(long, conflicts_with_all = ["format", "json"])]
    pub(crate) keep_unknown: bool,

    /// Take the facts from the entry of this emulator, which is probed if it has no valid one.
    #[arg(long, value_name = "EMULATOR", group = "facts")]
    pub(crate) emulator: Option<PathBuf>,

    /// Take the facts from this transcript of a probe; see `record`.
    #[arg(long, value_name = "FILE", group = "facts")]
    pub(crate) transcript: Option<PathBuf>,

    /// Take the policy from this file, in JSON; it replaces that of a guest in JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tunables: Tunables,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

// The common tunables of a policy, for all devices of a guest. (A doc comment would replace the command's.)
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Tunables {
    /// Keep this many hotpluggable slots free, also after devices are added.
    #[arg(long, value_name = "N", help_heading = "Policy")]
    pub(crate) spare: Option<u32>,

    /// Place devices that can be on either on conventional PCI or on PCIe.
    #[arg(long, value_enum, help_heading = "Policy")]
    pub(crate) slot: Option<Slot>,

    /// Let devices on PCIe be unplugged while the guest runs, or not.
    #[arg(long, value_name = "true|false", help_heading = "Policy")]
    pub(crate) hotplug: Option<bool>,

    /// Put up to eight devices into a slot, as its functions.
    #[arg(long, help_heading = "Policy")]
    pub(crate) packed: bool,

    /// Give every NUMA node of the guest an expander bus with a free slot.
    #[arg(long, help_heading = "Policy")]
    pub(crate) expanders: bool,

    /// Treat the guest as one that libvirt defined before: USB devices without a port stay without.
    #[arg(long, help_heading = "Policy")]
    pub(crate) existing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Slot {
    Pci,
    Pcie,
}

const ENDS: &str = "\
--root is the directory of the guests here: it holds their sockets, logs and variables of firmware,
and in cache/ the entries of emulators. By default it is /var/lib/capscache for root, and
$XDG_STATE_HOME/capscache (~/.local/state/capscache) for others; entries of the cache that other
commands use are used too.

Prints RUNNING and then each event, one a line. SIGINT, SIGTERM and SIGHUP press the power button of
the guest; a second one ends QEMU. The guest dies with this command, unless it is detached.

Exits with 0 if the guest shut down (with --detach: if it runs; with --dry-run and --print-xml: if it was
printed), 1 if it did not start, 2 for wrong usage, 3 if QEMU ended unexpectedly, 4 if the guest
panicked, 5 if QEMU was ended on request or since the guest did not shut down in time.";

#[derive(Args, Debug)]
#[command(after_help = ENDS)]
pub(crate) struct Run {
    /// The guest, in libvirt's XML; `-` for standard input.
    #[arg(value_name = "GUEST")]
    pub(crate) guest: PathBuf,

    /// Print the command line, for a shell, instead of starting the guest.
    #[arg(long, group = "instead")]
    pub(crate) dry_run: bool,

    /// Print the guest with its devices, addresses and identifiers, instead of starting it.
    #[arg(long, group = "instead")]
    pub(crate) print_xml: bool,

    /// Print on stderr how long each step of the start took, in microseconds.
    #[arg(long)]
    pub(crate) timing: bool,

    #[command(flatten)]
    pub(crate) format: OutputFormat,

    /// Return when the guest runs, and leave it running; QEMU ends when the guest shuts down.
    #[arg(long)]
    pub(crate) detach: bool,

    /// A secret that the guest names: UUID=FILE, UUID=fd:N or UUID=systemd-credential:NAME; may be
    /// repeated. Others are read from secrets/UUID in the root.
    #[arg(long, value_name = "UUID=FILE")]
    pub(crate) secret: Vec<String>,

    /// The user that QEMU runs as, without any privileges.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// Scope of systemd (a control group) for the guest.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) scope: Scope,

    /// Time that the guest has to shut down on request.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) timeout: u32,

    #[command(flatten)]
    pub(crate) probing: Probing,
}

/// The use of a scope.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Scope {
    /// A scope, if systemd makes one.
    #[default]
    Auto,
    /// No scope.
    None,
    /// A scope, or the guest does not start.
    Required,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LibvirtCommand {
    /// Write libvirt's files of emulators, so that it starts none of them.
    Seed(Seed),
}

const SEED: &str = "\
libvirt is examined as it is installed, and not started: its release by the name of its library, the
change times of its daemon and drivers, the user in qemu.conf. Files that it accepts are not touched.
Others are replaced as a whole, from entries of this cache; an emulator without a valid entry is
probed first.

Prints a line for each emulator: accepted, written and why, or with --check the reason for which
libvirt would discard its file and start the emulator.

--image-root examines an image that is to be started on another host, and runs the image's own emulators
in it, which takes root, and /proc in it; --root is then a directory in the image. libvirt compares the
file of an emulator that it can run under KVM with kernel, CPU and microcode: such a file is left to the
first start, which is `capscache libvirt seed` before libvirt. Where files are unpacked one by one, as
the layers of a container, their change times are new and no file stays valid.

Exits with 0 if libvirt accepts all files, but those that are left to its first start; 1 if not, 2 on error.";

#[derive(Args, Debug)]
#[command(after_help = SEED)]
pub(crate) struct Seed {
    /// Emulators, by the paths that guests have; by default all that libvirt finds by itself, one of each
    /// architecture.
    #[arg(value_name = "EMULATOR")]
    pub(crate) emulators: Vec<PathBuf>,

    /// Write nothing: print which files libvirt accepts, and why not.
    #[arg(long)]
    pub(crate) check: bool,

    /// The cache of this user's libvirt, qemu:///session; the default for users other than root.
    #[arg(long, group = "instance")]
    pub(crate) session: bool,

    /// The cache of a libvirt within a process, qemu:///embed?root=DIR.
    #[arg(long, value_name = "DIR", group = "instance")]
    pub(crate) embed: Option<PathBuf>,

    /// The daemon that runs here, virtqemud or libvirtd, or its path; by default the one that is installed
    /// or that systemd starts.
    #[arg(long, value_name = "NAME", conflicts_with = "embed")]
    pub(crate) daemon: Option<PathBuf>,

    /// The root directory of an image in which libvirt and QEMU are installed.
    #[arg(long, value_name = "DIR", conflicts_with = "session")]
    pub(crate) image_root: Option<PathBuf>,

    /// The change times of files in the finished image: kept, or, in a squashfs or erofs, those of
    /// modification.
    #[arg(long, value_enum, default_value_t = ImageTimes::Kept, requires = "image_root")]
    pub(crate) image_times: ImageTimes,

    #[command(flatten)]
    pub(crate) format: OutputFormat,
}

/// Change times of files in a finished image.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ImageTimes {
    Kept,
    Modification,
}

const SERVICE: &str = "\
The interface is io.capscache.Cache; introspection describes it. Every user who can connect may read.
Only root and the service's own user may warm and invalidate entries. Only they may have an emulator
probed that has no entry yet, unless `capscache warm --all` would find it, it belongs to root,
neither it nor the directories above it can be written by others, and, if it is a script, its text
names all that it runs.

Sockets that are passed (LISTEN_FDS) are used instead of --socket. Readiness, state and watchdog
messages are sent to $NOTIFY_SOCKET. After SIGTERM or SIGINT, running calls get up to a second to end.

Other commands that need no more than an entry use the service, at $CAPSCACHE_SOCKET or the same default,
where their user may not write to the root that the service serves.";

#[derive(Args, Debug)]
#[command(after_help = SERVICE)]
pub(crate) struct Serve {
    /// Path of the socket to listen on.
    #[arg(long, value_name = "PATH", default_value = capscache_service::interface::SOCKET)]
    pub(crate) socket: PathBuf,

    /// A further directory where emulators are searched, beside PATH and /usr/libexec; may be
    /// repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) search: Vec<PathBuf>,

    /// Probe in the background emulators whose entries have become stale, before a client needs them.
    #[arg(long)]
    pub(crate) rewarm: bool,

    /// Emulators to probe at a time; by default as many as there are CPUs.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Keep libvirt's own cache filled, as `capscache libvirt seed` does: at the start, and whenever an entry
    /// changes. Its files are written as the user of the service.
    #[arg(long)]
    pub(crate) seed_libvirt: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Complete {
    /// The words behind the command's name, up to the cursor.
    #[arg(last = true, required = true, allow_hyphen_values = true, value_name = "WORD")]
    pub(crate) words: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The scripts for bash, zsh and fish complete emulators, sections, queries and names too, from valid
entries: nothing is probed. To install them:

  capscache completions bash > /etc/bash_completion.d/capscache
  capscache completions zsh  > /usr/local/share/zsh/site-functions/_capscache
  capscache completions fish > /etc/fish/completions/capscache.fish")]
pub(crate) struct Completions {
    /// Shell to complete for.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write a page for each command into this directory instead.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
