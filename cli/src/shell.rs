//! `completions` and `man`: scripts for shells, and manual pages.

use std::process::ExitCode;

use anyhow::{Context, Result};
use capscache::Escaped;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::args::{Arguments, Completions, Man};
use crate::output;

pub(crate) fn completions(args: &Completions) -> Result<ExitCode> {
    let script = match args.shell {
        Shell::Bash => include_str!("complete/capscache.bash").to_owned(),
        Shell::Fish => include_str!("complete/capscache.fish").to_owned(),
        Shell::Zsh => include_str!("complete/capscache.zsh").to_owned(),
        // Commands and options only.
        shell => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "capscache", &mut script);
            String::from_utf8(script)?
        }
    };
    output::print_document(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Includes the options that the short help leaves out.
fn with_all_options(command: Command) -> Command {
    command.mut_args(|option| option.hide_short_help(false)).mut_subcommands(with_all_options)
}

pub(crate) fn man(args: &Man) -> Result<ExitCode> {
    let command = with_all_options(Arguments::command());
    match &args.dir {
        Some(directory) => clap_mangen::generate_to(command, directory)
            .with_context(|| format!("cannot write manual pages to {}", Escaped::new(directory)))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            output::print_document(&String::from_utf8(page)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
