//! Errors that keep the service from starting.

use std::io;
use std::path::PathBuf;

use capscache::Escaped;

/// The reason why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A descriptor in `LISTEN_FDS` is not a Unix stream socket.
    #[error("cannot listen on a descriptor in LISTEN_FDS: it is not a Unix stream socket")]
    Passed {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file that is not a socket is at the path of the socket.
    #[error("cannot listen on {}: it is not a socket; give another path", Escaped::new(path))]
    NotASocket {
        /// The path of the socket.
        path: PathBuf,
    },
    /// Another service listens on the socket.
    #[error("cannot listen on {}: another service answers there already", Escaped::new(path))]
    InUse {
        /// The path of the socket.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}", Escaped::new(path))]
    Listen {
        /// The path of the socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The event loop or a signal handler cannot be set up.
    #[error("cannot start the service")]
    Start {
        /// The cause.
        #[source]
        source: io::Error,
    },
}
