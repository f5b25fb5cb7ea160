//! Files that commands read, `-` for standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use capscache::probe::{MAX_TRANSCRIPT_BYTES, replay_under};
use capscache::{Accelerator, Entry, Escaped};
use flate2::read::MultiGzDecoder;

/// Reads a text of at most so many bytes.
pub(crate) fn read(file: &Path, max_bytes: u64) -> Result<String> {
    let text = open(file).and_then(|input| read_text(input, max_bytes));
    text.with_context(|| cannot_read(file))
}

/// Reads a transcript, decompressed if it begins with the magic number of gzip.
pub(crate) fn transcript(file: &Path) -> Result<String> {
    read_transcript(file).with_context(|| cannot_read(file))
}

/// Reads a transcript and replays it.
pub(crate) fn replay(file: &Path, first: Option<Accelerator>) -> Result<Entry<Vec<u8>>> {
    let text = transcript(file)?;
    let model = replay_under(&text, first)
        .with_context(|| format!("cannot replay {}", Escaped::new(file)))?;
    Ok(Entry::open(model.encode()?)?)
}

fn cannot_read(file: &Path) -> String {
    format!("cannot read {}", Escaped::new(file))
}

fn read_transcript(file: &Path) -> Result<String> {
    let mut input = open(file)?;
    let mut start = Vec::new();
    input.by_ref().take(2).read_to_end(&mut start)?;
    let is_gzip = start == [0x1f, 0x8b];
    let whole = io::Cursor::new(start).chain(input);
    match is_gzip {
        true => read_text(MultiGzDecoder::new(whole), MAX_TRANSCRIPT_BYTES),
        false => read_text(whole, MAX_TRANSCRIPT_BYTES),
    }
}

fn open(file: &Path) -> Result<Box<dyn Read>> {
    Ok(match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file)?),
    })
}

fn read_text(input: impl Read, max_bytes: u64) -> Result<String> {
    let mut bytes = Vec::new();
    input.take(max_bytes + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= max_bytes, "it is longer than the limit of {max_bytes} bytes");
    String::from_utf8(bytes).context("it is not UTF-8")
}
