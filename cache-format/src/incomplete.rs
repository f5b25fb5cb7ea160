//! Answers that a prober could not get because it was short of something.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::entry::Entry;
use crate::kind::InputKind;

/// What is missing from an entry's answers, and under which conditions it was asked: the value of an input
/// of the kind [`InputKind::Incomplete`].
///
/// Such answers are true as far as they go. They serve whoever has the prober's rights and limits, for a
/// short time; everybody else asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The second since boot at which the answers were given.
    pub at: i64,
    /// A digest of the prober's rights and limits.
    pub context: String,
    /// Why answers are missing, in one line.
    pub reason: String,
    /// Modules and their directories that are there and could not be opened. An answer that depends on
    /// them is unknown, and not *no*.
    pub unopened: Vec<PathBuf>,
}

impl Incomplete {
    /// Encodes it: three lines for second, context and reason, then a path a line. A path with a line feed
    /// is left out.
    pub fn to_value(&self) -> Vec<u8> {
        let reason = self.reason.replace('\n', " ");
        let mut value = format!("{}\n{}\n{reason}", self.at, self.context).into_bytes();
        for path in &self.unopened {
            let path = path.as_os_str().as_bytes();
            if !path.contains(&b'\n') {
                value.push(b'\n');
                value.extend_from_slice(path);
            }
        }
        value
    }

    /// Decodes it; `None` for anything else.
    pub fn from_value(value: &[u8]) -> Option<Incomplete> {
        let mut lines = value.split(|byte| *byte == b'\n');
        let mut text = || Some(String::from_utf8_lossy(lines.next()?).into_owned());
        let (at, context, reason) = (text()?.parse().ok()?, text()?, text()?);
        let unopened = lines.map(|path| OsStr::from_bytes(path).into()).collect();
        Some(Incomplete { at, context, reason, unopened })
    }
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// What is missing from the answers because the prober was short of it; `None` for a complete entry,
    /// as nearly all are.
    pub fn incomplete(&self) -> Option<Incomplete> {
        Incomplete::from_value(self.input(InputKind::Incomplete)?.value)
    }

    /// Whether there are modules that could not be opened, so that what is not among the answers may exist
    /// all the same.
    pub fn lacks_modules(&self) -> bool {
        self.incomplete().is_some_and(|incomplete| !incomplete.unopened.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn it_is_decoded_as_it_was_encoded_and_nothing_else_is_one() {
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
        let whole = Incomplete {
            at: 42,
            context: "ab12".into(),
            reason: "no memory".into(),
            unopened: vec![path(b"/lib/a.so"), path(b"/lib/\xff")],
        };
        assert_eq!(Incomplete::from_value(&whole.to_value()), Some(whole.clone()));
        let none = Incomplete { unopened: Vec::new(), ..whole };
        assert_eq!(Incomplete::from_value(&none.to_value()), Some(none));
        for other in ["", "x\ny\nz", "1\ncontext"] {
            assert_eq!(Incomplete::from_value(other.as_bytes()), None, "{other}");
        }
    }
}
