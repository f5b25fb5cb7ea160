//! The end of a guest.

use std::fmt;

use capscache_format::Escaped;

use crate::process::Exit;

/// The end of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The guest shut down, by itself or on request.
    ShutDown,
    /// The guest reset its machine, and its `<on_reboot>` is `destroy`.
    Reset,
    /// The guest panicked, and its `<on_crash>` is `destroy`.
    Panicked,
    /// The emulator was ended by its runner on request, without the guest's doing.
    Quit,
    /// The emulator was ended by its runner, since the guest did not shut down in time.
    TimedOut,
    /// The emulator refused a command by which its runner restarts or ends the guest, and was ended.
    Refused {
        /// The command.
        command: &'static str,
        /// The description of the error.
        desc: String,
    },
    /// The emulator ended unexpectedly.
    Exited {
        /// The end of the process.
        exit: Exit,
        /// The last lines of its output.
        output: String,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::ShutDown => f.write_str("the guest shut down"),
            End::Reset => f.write_str("the guest reset its machine"),
            End::Panicked => f.write_str("the guest panicked"),
            End::Quit => f.write_str("the emulator was ended on request"),
            End::TimedOut => {
                f.write_str("the guest did not shut down in time, and its emulator was ended")
            }
            End::Refused { command, desc } => {
                write!(f, "the emulator refused the command {command}, and was ended: ")?;
                write!(f, "{}", Escaped::new(desc))
            }
            End::Exited { exit, output } => {
                write!(f, "the emulator {exit}")?;
                write_output(f, output)
            }
        }
    }
}

/// Appends the output of an emulator to a message, if there is any.
pub(super) fn write_output(f: &mut fmt::Formatter<'_>, output: &str) -> fmt::Result {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    for (position, line) in lines.enumerate() {
        let before = if position == 0 { ": " } else { "; " };
        write!(f, "{before}{}", Escaped::new(line))?;
    }
    Ok(())
}
