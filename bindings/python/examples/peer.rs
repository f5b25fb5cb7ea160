//! The Rust side of `bench/hit.py`, which compares Python with it: reads lines `hit NUMBER` and `open NUMBER`, and prints the
//! nanoseconds that so many hits, or so many times to open a cache and answer twenty questions, took.

use std::hint::black_box;
use std::io::{BufRead, stdin};
use std::time::Instant;

use capscache::{Accelerator, Cache, Capabilities};

/// Answers the twenty questions of `bench/hit.py`, which gives the queries.
fn questions(entry: &Capabilities, queries: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    black_box((entry.version(), entry.arch()));
    let best = entry.best()?;
    for name in ["q35", "pc"] {
        let machine = best.machine(name)?;
        black_box((machine.max_cpus(), machine.hotpluggable_cpus()));
    }
    black_box(best.cpu_model("max")?.usable());
    black_box(entry.accelerator(Accelerator::Tcg).is_ok());
    for text in queries {
        black_box(entry.answer(&text.parse()?));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, emulator, queries @ ..] = &*arguments else {
        return Err("usage: peer ROOT EMULATOR QUERY…".into());
    };
    let cache = Cache::open(root)?;
    for line in stdin().lock().lines() {
        let line = line?;
        let (kind, number) = line.split_once(' ').ok_or("not a line of KIND NUMBER")?;
        let number: u32 = number.parse()?;
        let start = Instant::now();
        for _ in 0..number {
            match kind {
                "hit" => drop(black_box(cache.get(emulator)?)),
                _ => questions(&Cache::open(root)?.get(emulator)?, queries)?,
            }
        }
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}
