//! Errors of a guest that is not started.

use capscache_format::Escaped;

use crate::secret::SecretError;

/// Error of a guest for which there is no command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An element, an attribute, or its value is not supported: the command line would differ from libvirt's.
    #[error("cannot run the guest: {place}: {what}")]
    Unsupported {
        /// The place in the guest.
        place: Place,
        /// The cause and the remedy.
        what: String,
    },
    /// A value is not valid.
    #[error("cannot run the guest: {place}: {what}")]
    Invalid {
        /// The place in the guest.
        place: Place,
        /// The cause and the remedy.
        what: String,
    },
    /// The emulator lacks what the guest needs.
    #[error("cannot run the guest: {place}: this QEMU does not have {what}")]
    Lacks {
        /// The place in the guest.
        place: Place,
        /// The device, machine or property, and what the emulator has instead.
        what: String,
    },
    /// A secret cannot be obtained.
    #[error("cannot run the guest: {place}: the secret cannot be obtained")]
    Secret {
        /// The place in the guest.
        place: Place,
        /// The cause.
        source: SecretError,
    },
    /// A device has no valid address.
    #[error(transparent)]
    Address(#[from] capscache_devaddr::Error),
}

/// A place in a guest's XML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path of the element from the root, as in `/domain/devices/disk[2]`, with `@name` for an attribute.
    pub path: String,
    /// The line in the text that was read, from 1; `None` for a device that was added.
    pub line: Option<u32>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}", Escaped::new(&self.path))
    }
}
