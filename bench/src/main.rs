//! Benchmarks on this host: XML against the mapped cache, the probe against its limit, guests against
//! QEMU alone.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

mod host;
mod languages;
mod measure;
mod plot;
mod probing;
mod processes;
mod reading;
mod report;
mod sharing;
mod starting;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use capscache::Cache;
use capscache::discovery::find_emulators;
use clap::{Parser, Subcommand};

use crate::host::Host;
use crate::reading::Forms;
use crate::report::{Report, Work};

/// Measures the cost of a cached answer on this host, and of a probe beyond QEMU itself.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Run few rounds, for quick results.
    #[arg(long)]
    quick: bool,

    /// Measure only the work of this name, such as "hit" or "start".
    #[arg(long, value_name = "NAME")]
    only: Option<String>,

    /// Write all results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw a plot of each comparison into this directory.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,

    /// The emulator that is read and probed; by default that of the host's architecture.
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,

    #[command(subcommand)]
    role: Option<Role>,
}

/// The roles of this program's own child processes.
#[derive(Debug, Subcommand)]
enum Role {
    /// A reader whose memory is measured.
    #[command(hide = true)]
    Reader { kind: String, emulator: PathBuf, root: PathBuf, xml: PathBuf },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Reader { kind, emulator, root, xml }) = &arguments.role {
        return sharing::read(kind, emulator, root, xml);
    }
    let emulator = arguments.emulator.clone().unwrap_or_else(|| {
        PathBuf::from(format!("/usr/bin/qemu-system-{}", std::env::consts::ARCH))
    });
    let directory = tempfile::tempdir()?;
    // libvirt runs emulators as another user.
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let forms = Forms::create(&emulator, directory.path())
        .with_context(|| format!("cannot read {}", emulator.display()))?;
    let qemu = Cache::open(&forms.root)?.get(&emulator)?.version().to_string();
    let report = Report {
        host: Host::of_this_run(&qemu),
        quick: arguments.quick,
        works: works(&forms, directory.path(), &arguments)?,
    };
    print!("{}", report.table());
    if let Some(file) = &arguments.json {
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, serde_json::to_vec_pretty(&report)?)?;
        println!("written: {}", file.display());
    }
    if let Some(directory) = &arguments.plot {
        for file in plot::draw(&report, directory)? {
            println!("drawn: {}", file.display());
        }
    }
    Ok(())
}

fn works(forms: &Forms, directory: &Path, arguments: &Arguments) -> Result<Vec<Work>> {
    let rounds = |full: usize| if arguments.quick { full.div_ceil(10).max(3) } else { full };
    let (mut works, mut names) = (Vec::new(), Vec::new());
    let mut add = |name: &'static str, measure: &dyn Fn() -> Result<Vec<Work>>| -> Result<()> {
        names.push(name);
        if arguments.only.as_ref().is_none_or(|only| only == name) {
            works.extend(measure().with_context(|| format!("cannot measure {name}"))?);
            eprintln!("measured: {name}");
        }
        Ok(())
    };
    add("open-and-answer", &|| Ok(reading::answers(forms, rounds(100))?.into()))?;
    add("open-and-touch-everything", &|| Ok(vec![reading::everything(forms, rounds(100))?]))?;
    add("growth", &|| Ok(vec![reading::growth(forms, directory, rounds(500))?]))?;
    add("hit", &|| Ok(vec![reading::hits(forms, rounds(100))?]))?;
    add("languages", &|| Ok(languages::calls(forms, directory, rounds(100))?.into()))?;
    add("many-gets", &|| Ok(vec![reading::many_gets(forms)?]))?;
    add("process", &|| Ok(vec![processes::queries(forms, directory, rounds(100))?]))?;
    add("domcapabilities", &|| {
        Ok(processes::domain_capabilities(forms, directory, rounds(100))?.into())
    })?;
    add("sharing", &|| Ok(vec![sharing::readers(forms)?]))?;
    add("start", &|| Ok(vec![starting::guest(&forms.emulator, directory, rounds(30))?]))?;
    add("cold-one", &|| Ok(vec![probing::one(&forms.emulator, directory, rounds(21))?]))?;
    add("cold-all", &|| Ok(vec![probing::all(&find_emulators(&[]), directory, rounds(7))?]))?;
    let only = arguments.only.as_deref().unwrap_or_default();
    ensure!(
        !works.is_empty(),
        "{only:?} is not the name of a work; names are {}",
        names.join(", ")
    );
    Ok(works)
}
