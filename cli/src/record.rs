//! `record`: a transcript of a probe. The cache is neither read nor written.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use capscache::probe::{Options, probe};
use capscache::{Escaped, Groups};

use crate::output;
use crate::session::{Session, check_exists, locate};
use crate::{args, document};

pub(crate) fn run(session: &Session, args: &args::Record) -> Result<ExitCode> {
    let emulator = locate(&args.emulator);
    check_exists(&emulator)?;
    let emulator = std::path::absolute(emulator)?;
    let options = Options::new()
        .groups(if args.full { Groups::ALL } else { Groups::CORE })
        .kvm(!args.no_kvm)
        .record(true)
        .limits(session.options().limits())
        .environment(session.options().env.clone())
        .writable(session.options().writable.clone());
    let probed = probe(&emulator, &options).map_err(|error| {
        let advice = session.advice(error.timed_out());
        anyhow!("{}{advice}", output::chain(&error))
    })?;
    let transcript = document::escape_json(&probed.transcript.unwrap_or_default());
    match &args.output {
        None => output::print_document(&transcript)?,
        Some(file) => {
            std::fs::write(file, &transcript)
                .with_context(|| format!("cannot write the transcript {}", Escaped::new(file)))?;
            let bytes = transcript.len();
            session.log(format_args!("wrote {bytes} bytes to {}", Escaped::new(file)));
        }
    }
    Ok(ExitCode::SUCCESS)
}
