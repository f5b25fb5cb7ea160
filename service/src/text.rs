//! Errors and outside text in one line, as the log, replies and the command have them.

use std::error::Error;
use std::path::Path;

use capscache::Escaped;

/// Returns an error and its causes in one line, without the numbers of the system's errors.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let messages = causes
        .filter(|cause| !is_named_by_cause(*cause))
        .map(|cause| without_number(&cause.to_string()).to_owned());
    let line = messages.reduce(|line, cause| {
        // What follows a question answers it.
        if line.ends_with('?') { format!("{line} ({cause})") } else { format!("{line}: {cause}") }
    });
    printable(&line.unwrap_or_default())
}

/// Escapes outside text: the result has one line, and nothing that acts on a terminal or is invisible.
pub fn printable(text: &str) -> String {
    Escaped::new(text).to_string()
}

/// Cuts the number of an operating system's error off the end of a text.
pub fn without_number(text: &str) -> &str {
    text.rsplit_once(" (os error ").map_or(text, |(text, _)| text)
}

/// Returns the file of an entry that cannot be used, and why it cannot.
pub fn unusable(error: &capscache::Error) -> (&Path, String) {
    match error {
        capscache::Error::Format { path, source } => (path, chain(source)),
        capscache::Error::OtherEmulator { path, emulator } => {
            (path, format!("it is the entry of {}", Escaped::new(emulator)))
        }
        capscache::Error::Entry { path, source, .. } => (path, chain(source)),
        capscache::Error::Unsafe { path, why } => (path, why.clone()),
        error => ("".as_ref(), chain(error)),
    }
}

/// Returns whether an error only names an emulator that its cause names as well.
fn is_named_by_cause(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(capscache::Error::Probe { path, source, .. }) => {
            source.to_string().contains(&Escaped::new(path).to_string())
        }
        _ => false,
    }
}
