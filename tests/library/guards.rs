//! The cost of a hit, counted and not timed: system calls and instructions, compared with agreed figures.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small emulator without KVM: its hits make only the checks that every hit makes.
const AVR: &str = "/usr/bin/qemu-system-avr";

/// The number of counted gets; the first one of a process opens the entry and is not counted.
const GETS: u64 = 1000;

/// Instructions of one hit on `AVR` in an unoptimized build, as counted when this was last agreed on,
/// and the accepted excess in per cent: compilers differ.
const INSTRUCTIONS: u64 = 8_100;
const MARGIN_PERCENT: u64 = 30;

#[test]
#[ignore = "runs as a process of its own"]
fn child_that_gets() {
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("a variable"));
    let (root, emulator) = (variable("ROOT"), variable("EMULATOR"));
    let gets: u64 = variable("GETS").to_str().expect("text").parse().expect("a number");
    let cache = crate::open(root).expect("a cache");
    cache.get(&emulator).expect("answers");
    // Two marks that strace shows.
    let mark = || drop(std::fs::metadata("/mark"));
    mark();
    for _ in 0..gets {
        std::hint::black_box(cache.get(&emulator).expect("answers"));
    }
    mark();
}

/// Runs the gets under another program.
fn run(under: &[&str], root: &Path, emulator: &str, gets: u64) -> Option<()> {
    let gets = gets.to_string();
    let variables = [("ROOT", root), ("EMULATOR", Path::new(emulator)), ("GETS", Path::new(&gets))];
    let child = crate::child("guards::child_that_gets", &variables);
    let mut command = Command::new(under[0]);
    command.args(&under[1..]).arg(child.get_program()).args(child.get_args());
    match command.envs(variables).output() {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            let output_text = [output.stdout, output.stderr].concat();
            let output_text = String::from_utf8_lossy(&output_text);
            println!("SKIPPED: {} cannot be used here, {}: {output_text}", under[0], output.status);
            None
        }
        Err(error) => {
            println!("SKIPPED: {} cannot be used here: {error}", under[0]);
            None
        }
    }
}

fn system_calls_of_a_hit(emulator: &str) -> Option<usize> {
    let root = tempfile::tempdir().expect("a root");
    crate::open(root.path().join("cache")).expect("a cache").get(emulator).expect("answers");
    let trace = root.path().join("trace");
    let under = ["strace", "-f", "-qq", "-o", trace.to_str().expect("text")];
    run(&under, &root.path().join("cache"), emulator, 1)?;
    let text = std::fs::read_to_string(trace).expect("a trace");
    // A line begins with the number of its thread; those of the test's other threads do not count, nor the second line of a
    // call that one of them interrupted.
    let of_mark = text.lines().find(|line| line.contains("\"/mark\"")).expect("a mark");
    let thread = of_mark.split_once(' ').expect("a number").0;
    let of_thread = |line: &&str| {
        let call = line.split_once(' ').filter(|(number, _)| *number == thread);
        call.is_some_and(|(_, call)| !call.trim_start().starts_with("<... "))
    };
    let mut parts = text.lines().filter(of_thread).skip_while(|line| !line.contains("\"/mark\""));
    parts.next();
    Some(parts.take_while(|line| !line.contains("\"/mark\"")).count())
}

/// The most system calls of a hit, beside those behind a wrapper: eight, and under KVM one more for each further
/// node that exists, for that of SEV where it may appear, and in a container with its own `/dev/kvm`.
fn most_system_calls(emulator: &str) -> usize {
    if emulator == AVR {
        return 8;
    }
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let offers_sev = matches!(read("/sys/module/kvm_amd/parameters/sev").trim(), "Y" | "1");
    let nodes = ["/dev/sev", "/dev/sgx_vepc", "/dev/sgx/virt_epc"];
    let counts = |node: &&&str| Path::new(**node).exists() || (**node == "/dev/sev" && offers_sev);
    let mounts = read("/proc/self/mountinfo");
    let holds = |line: &&str| line.contains(" /dev ") || line.contains(" /dev/kvm ");
    let is_own = mounts.lines().rfind(holds).is_some_and(|line| !line.contains(" - devtmpfs "));
    let most = 8 + nodes.iter().filter(counts).count() + usize::from(is_own);
    println!("at most {most} system calls for {emulator}");
    most
}

#[test]
fn a_hit_takes_at_most_eight_system_calls() {
    for emulator in [AVR, &test_support::native()] {
        if let Some(calls) = system_calls_of_a_hit(emulator) {
            let most = most_system_calls(emulator);
            assert!((1..=most).contains(&calls), "{emulator}: {calls}, at most {most}");
        }
    }
}

#[test]
fn a_hit_behind_a_wrapper_takes_a_system_call_more_for_each_script_link_and_candidate() {
    let root = tempfile::tempdir().expect("a root");
    let at = |name: &str| root.path().join(name);
    for emulator in [AVR, &test_support::native()] {
        for name in ["simple", "second", "link"] {
            let _ = std::fs::remove_file(at(name));
        }
        // The wrapper and its interpreter.
        crate::cache::program(&at("simple"), &format!("#!/bin/sh\nexec {emulator} \"$@\"\n"));
        // A script and a link more.
        std::os::unix::fs::symlink(emulator, at("link")).expect("a link");
        let (simple, link) = (at("simple"), at("link"));
        let script = format!("#!/bin/sh\n{} \"$@\" || exec {}\n", simple.display(), link.display());
        crate::cache::program(&at("second"), &script);
        for (wrapper, more) in [("simple", 2), ("second", 4)] {
            if let Some(calls) = system_calls_of_a_hit(at(wrapper).to_str().expect("text")) {
                let most = most_system_calls(emulator) + more;
                assert!((1..=most).contains(&calls), "{wrapper} of {emulator}: {calls}");
            }
        }
    }
}

#[test]
fn a_hit_takes_no_more_instructions_than_agreed() {
    let root = tempfile::tempdir().expect("a root");
    let cache = root.path().join("cache");
    crate::open(&cache).expect("a cache").get(AVR).expect("answers");
    let counted = |gets| {
        let file = root.path().join(format!("out-{gets}"));
        let out = format!("--callgrind-out-file={}", file.display());
        run(&["valgrind", "--tool=callgrind", &out], &cache, AVR, gets)?;
        let text = std::fs::read_to_string(file).expect("the counts");
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
        Some(totals.trim().parse::<u64>().expect("a number"))
    };
    let (Some(without), Some(with)) = (counted(0), counted(GETS)) else { return };
    let of_one = (with - without) / GETS;
    let most = INSTRUCTIONS * (100 + MARGIN_PERCENT) / 100;
    println!("{of_one} instructions, {INSTRUCTIONS} agreed on, {most} at most");
    assert!(of_one <= most, "{of_one} instructions, at most {most}");
    assert!(of_one > INSTRUCTIONS / 4, "{of_one}: agree on a new figure");
}
