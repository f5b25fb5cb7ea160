//! `record`: the conversation of a probe, written down. The cache is neither read nor written.

use std::process::ExitCode;

use anyhow::{Context, Result};
use capscache::{Groups, ProbeOptions, probe};

use crate::args;
use crate::output;
use crate::session::{Session, exists, locate};

pub(crate) fn run(session: &Session, args: &args::Record) -> Result<ExitCode> {
    let emulator = locate(&args.emulator);
    exists(&emulator)?;
    let emulator = std::path::absolute(emulator)?;
    let options = ProbeOptions {
        groups: if args.full { Groups::ALL } else { Groups::CORE },
        kvm: !args.no_kvm,
        record: true,
        ..ProbeOptions::default()
    };
    let transcript = probe(&emulator, &options)?.transcript.unwrap_or_default();
    match &args.output {
        None => output::print(&transcript)?,
        Some(file) => {
            std::fs::write(file, &transcript)
                .with_context(|| format!("cannot write the transcript {}", file.display()))?;
            let bytes = transcript.len();
            session.tell(format_args!("wrote {bytes} bytes to {}", file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
