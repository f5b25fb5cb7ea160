//! Whole processes: a query of a warm cache, as a shell runs it, and libvirt's domain capabilities.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use capscache::Cache;
use capscache_libvirt::{CpuMap, QemuCaps, Release};
use capscache_service::export::{self, qemu_caps};

use crate::measure::{Side, in_turn};
use crate::reading::Forms;
use crate::report::{Bar, Limit, Unit, Work};

const QUERY: &str = "capscache query";
const EMPTY: &str = "empty process";
const VIRSH: &str = "virsh domcapabilities";
const EXPORT: &str = "capscache export, domcapabilities";
const FROM_CACHE: &str = "entry, capabilities, CPU map, document";
const WITH_MAP: &str = "entry, capabilities, document";
const IN_MEMORY: &str = "document";

/// A program of this build; the error names the command that builds it.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.parent().context("this program has no directory")?.join(name);
    ensure!(
        program.exists(),
        "cannot find {name}: it is not built; run `cargo build --release --workspace`"
    );
    Ok(program)
}

/// Runs a program to its end and discards its output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "cannot run {command:?}: it ended with {status}");
    Ok(())
}

/// libvirt, embedded in `virsh` with its own root; `tini` reaps its children.
pub(crate) fn virsh(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("tini");
    let uri = format!("qemu:///embed?root={}", root.display());
    command.args(["-s", "--", "virsh", "-c", &uri]).args(arguments);
    command
}

/// The reason why libvirt cannot be compared with; `None` if it can.
pub(crate) fn no_libvirt() -> Option<String> {
    let is_there = |program: &str| run(Command::new(program).arg("--version")).is_ok();
    let missing: Vec<&str> = ["virsh", "tini"].into_iter().filter(|p| !is_there(p)).collect();
    (!missing.is_empty()).then(|| {
        format!("libvirt: {} not installed; `make bench-peers` installs it", missing.join(" and "))
    })
}

pub(crate) fn queries(forms: &Forms, directory: &Path, rounds: usize) -> Result<Work> {
    let what = "one answer from a warm cache, the whole process";
    let mut work = Work::new("process", what, Unit::Seconds);
    let empty = built("empty")?;
    let root = directory.join("libvirt");
    let mut sides = vec![Side::repeated(EMPTY, || run(&mut Command::new(&empty)))];
    match built("capscache") {
        Ok(command) => sides.push(Side::repeated(QUERY, move || {
            let mut query = Command::new(&command);
            query.arg("--root").arg(&forms.root).arg("query").arg(&forms.emulator);
            run(query.args(["command:quit", "--no-probe"]).env_remove("CAPSCACHE_ROOT"))
        })),
        Err(error) => work.skipped.push(error.to_string()),
    }
    if let Some(why) = no_libvirt() {
        work.skipped.push(why);
    } else {
        run(&mut virsh(&root, &["domcapabilities"])).context("cannot fill libvirt's cache")?;
        sides.push(Side::repeated(VIRSH, || run(&mut virsh(&root, &["domcapabilities"]))));
    }
    work.sides = in_turn(rounds, sides)?;
    work.add_bar(QUERY, EMPTY, Limit::AtMost(2.0));
    work.add_bar(VIRSH, QUERY, Limit::AtLeast(30.0));
    Ok(work)
}

/// Measures the domain capabilities of libvirt's preferred machine type: by whole processes, on this side and on libvirt's,
/// and in a program that has read the CPU map.
pub(crate) fn domain_capabilities(
    forms: &Forms,
    directory: &Path,
    rounds: usize,
) -> Result<[Work; 2]> {
    let what = "the domain capabilities of the preferred machine type from a warm cache, the whole process";
    let mut work = Work::new("domcapabilities", what, Unit::Seconds);
    let command = built("capscache")?;
    let mut sides = vec![Side::repeated(EXPORT, move || {
        let mut export = Command::new(&command);
        export.arg("--root").arg(&forms.root).arg("export").arg(&forms.emulator);
        export.args(["--format", "domcapabilities", "--no-probe"]);
        run(export.env_remove("CAPSCACHE_ROOT"))
    })];
    work.skipped.extend(no_libvirt());
    if work.skipped.is_empty() {
        let root = directory.join("domcapabilities");
        let emulator = forms.emulator.to_string_lossy();
        let theirs =
            move || run(&mut virsh(&root, &["domcapabilities", "--emulatorbin", &emulator]));
        theirs().context("cannot fill libvirt's cache")?;
        sides.push(Side::repeated(VIRSH, theirs));
    }
    work.sides = in_turn(rounds, sides)?;
    work.add_bar(VIRSH, EXPORT, Limit::AtLeast(4.0));
    Ok([work, domain_capabilities_in_memory(forms, rounds)?])
}

fn domain_capabilities_in_memory(forms: &Forms, rounds: usize) -> Result<Work> {
    let what = "the same document in a program, from the cache or from what it read before";
    let mut work = Work::new("domcapabilities-library", what, Unit::Seconds);
    let release = Release::of_this_host()?;
    let cache = Cache::open(&forms.root)?;
    let derived = || -> Result<QemuCaps> {
        Ok(qemu_caps(&forms.emulator, &cache.get(&forms.emulator)?, release)?)
    };
    let map_of = |caps: &QemuCaps| CpuMap::of_release(release, &caps.arch, None);
    let document = |caps: &QemuCaps, map: Option<&CpuMap>| -> Result<String> {
        Ok(export::domain_capabilities(caps, None, None, map)?.to_xml())
    };
    let caps = derived()?;
    let map = map_of(&caps)?;
    let sides = vec![
        Side::repeated(FROM_CACHE, || {
            let caps = derived()?;
            document(&caps, map_of(&caps)?.as_ref())
        }),
        Side::repeated(WITH_MAP, || document(&derived()?, map.as_ref())),
        Side::repeated(IN_MEMORY, || document(&caps, map.as_ref())),
    ];
    work.sides = in_turn(rounds, sides)?;
    if let Some(median) = work.median(IN_MEMORY) {
        work.bars.push(Bar::new(format!("{IN_MEMORY}, ms"), median * 1e3, Limit::AtMost(1.0)));
    }
    Ok(work)
}
