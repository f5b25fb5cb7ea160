//! Lines of a stream of bytes, such as a monitor's.

use std::io::BufRead;
use std::ops::Range;

/// A line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The limit in bytes.
    pub limit_bytes: usize,
}

/// Splits a stream of bytes into lines. Every byte is searched once.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// The beginning of the next line.
    start: usize,
    /// The end of the searched part: there is no line feed between `start` and it.
    searched: usize,
    limit_bytes: usize,
}

impl Lines {
    /// Creates a buffer for lines of at most so many bytes.
    pub fn new(limit_bytes: usize) -> Lines {
        Lines { buffer: Vec::new(), start: 0, searched: 0, limit_bytes }
    }

    /// Returns the range of the next whole line, without its line feed. Valid until [`Lines::space`] is called.
    ///
    /// # Errors
    /// [`LineTooLong`], also before the line is whole.
    pub fn next_line(&mut self) -> Result<Option<Range<usize>>, LineTooLong> {
        let mut rest = self.buffer.get(self.searched..).unwrap_or_default();
        let all = rest;
        // The one search in std that compares many bytes at a time. Reading from a slice cannot fail.
        let passed = rest.skip_until(b'\n').unwrap_or(0);
        let whole = all.get(..passed).is_some_and(|passed| passed.ends_with(b"\n"));
        self.searched += passed;
        let line = self.start..self.searched - usize::from(whole);
        if line.len() > self.limit_bytes {
            return Err(LineTooLong { limit_bytes: self.limit_bytes });
        }
        if whole {
            self.start = self.searched;
        }
        Ok(whole.then_some(line))
    }

    /// Returns the bytes of a line.
    pub fn bytes(&self, line: Range<usize>) -> &[u8] {
        self.buffer.get(line).unwrap_or_default()
    }

    /// Makes room for so many more bytes, which go to the end. Lines that were returned are dropped; only the beginning of an
    /// incomplete line moves.
    pub fn space(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.reserve(bytes);
        &mut self.buffer
    }
}
