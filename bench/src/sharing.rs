//! Memory of many readers of one entry: mapped pages are shared, a parsed tree is not.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use capscache::HostFacts;

use crate::measure::Samples;
use crate::reading::{Forms, LIBXML2, MAPPED};
use crate::report::{Bar, Limit, Unit, Work};

/// The form that a reader keeps in memory.
const KINDS: [(&str, &str); 2] = [("mapped", MAPPED), ("tree", LIBXML2)];

/// Measures the memory that one reader adds, with 1, 8 and 64 concurrent readers.
pub(crate) fn readers(forms: &Forms) -> Result<Work> {
    let what = "memory (PSS) that the entry adds to each of so many readers that touched all of it";
    let mut work = Work::new("sharing", what, Unit::Bytes);
    if cfg!(not(feature = "libxml2")) {
        work.skipped.push("libxml2: built without --features libxml2".to_owned());
    }
    for count in [1, 8, 64] {
        for (kind, name) in KINDS {
            if kind == "tree" && cfg!(not(feature = "libxml2")) {
                continue;
            }
            let added = added_by(forms, kind, count)?;
            let name = format!("{name}, {count} readers");
            work.sides.push(Samples { name, median: added, low: added, high: added, rounds: 1 });
        }
    }
    let of = |name: &str| work.median(&format!("{name}, 64 readers"));
    if let (Some(mapped), Some(tree)) = (of(MAPPED), of(LIBXML2)) {
        let what = "64 readers: mapped / libxml2's tree, PSS added per reader";
        work.bars.push(Bar::new(what, mapped / tree, Limit::AtMost(0.05)));
    }
    Ok(work)
}

/// Returns the bytes that loading adds to the proportional set size of one of `count` readers.
fn added_by(forms: &Forms, kind: &str, count: usize) -> Result<f64> {
    let mut readers = (0..count).map(|_| Reader::start(forms, kind)).collect::<Result<Vec<_>>>()?;
    let before = total(&readers)?;
    for reader in &mut readers {
        reader.proceed()?;
    }
    for reader in &mut readers {
        reader.wait_for("loaded")?;
    }
    let after = total(&readers)?;
    for mut reader in readers {
        reader.proceed()?;
        ensure!(reader.child.wait()?.success(), "a reader failed");
    }
    #[expect(clippy::cast_precision_loss, reason = "some kilobytes")]
    Ok((after as f64 - before as f64) / count as f64)
}

fn total(readers: &[Reader]) -> Result<u64> {
    readers.iter().map(|reader| pss(reader.child.id())).sum()
}

/// The proportional set size of a process, in bytes.
fn pss(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("the kernel did not report the PSS")?
        .parse()?;
    Ok(kilobytes * 1024)
}

/// A reader in a separate process, which waits at each step.
struct Reader {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Reader {
    fn start(forms: &Forms, kind: &str) -> Result<Reader> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("reader")
            .arg(kind)
            .args([&forms.emulator, &forms.root, &forms.xml])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut reader = Reader { child, output };
        reader.wait_for("ready")?;
        Ok(reader)
    }

    fn wait_for(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.trim() == word, "a reader printed {line:?}, not {word}");
        Ok(())
    }

    fn proceed(&mut self) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("a pipe")?;
        Ok(stdin.write_all(b"\n")?)
    }
}

/// Runs the reader process: `kind`, and the paths of the forms.
pub(crate) fn read(kind: &str, emulator: &Path, root: &Path, xml: &Path) -> Result<()> {
    let forms = Forms::at(emulator, root, xml, HostFacts::of_this_host());
    let report = |word: &str| {
        println!("{word}");
        std::io::stdin().read_line(&mut String::new()).map(drop)
    };
    match kind {
        "mapped" => {
            report("ready")?;
            let caps = forms.open()?;
            std::hint::black_box(caps.bytes().iter().fold(0_u64, |sum, b| sum + u64::from(*b)));
            report("loaded")?;
            drop(caps);
        }
        #[cfg(feature = "libxml2")]
        "tree" => {
            report("ready")?;
            let tree = crate::reading::parse_tree(xml)?;
            report("loaded")?;
            drop(tree);
        }
        other => bail!("{other:?} is not a kind of reader"),
    }
    Ok(())
}
