//! `completions` and `man`: the command told to shells and to `man`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use capscache::Escaped;
use clap::{Command, CommandFactory};

use crate::args::{Arguments, Completions, Man};
use crate::output;

pub(crate) fn completions(args: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "capscache", &mut script);
    output::print_document(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// With all options: those that few need are left out of the short help alone.
fn complete(command: Command) -> Command {
    command.mut_args(|option| option.hide_short_help(false)).mut_subcommands(complete)
}

pub(crate) fn man(args: &Man) -> Result<ExitCode> {
    let command = complete(Arguments::command());
    match &args.dir {
        Some(directory) => clap_mangen::generate_to(command, directory)
            .with_context(|| format!("cannot write into {}", Escaped::new(directory)))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            output::print_document(&String::from_utf8(page)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
