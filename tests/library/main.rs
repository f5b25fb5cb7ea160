//! Tests of the library on real emulators and recorded conversations.

mod accidents;
mod cache;
mod documents;
mod failures;
mod fuzzing;
mod guards;
mod inputs;
mod qmp;
mod replaced;
mod replay;
mod roots;
mod truth;
mod upkeep;
mod writers;

/// The emulator of this host's own architecture.
fn native() -> String {
    format!("/usr/bin/qemu-system-{}", std::env::consts::ARCH)
}

/// Whether KVM can be used; says so where it cannot.
fn kvm_works() -> bool {
    let works = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !works {
        println!("SKIPPED: /dev/kvm cannot be opened here, so nothing was asked under KVM");
    }
    works
}

/// A process that runs one of these tests, an ignored one, with further variables.
fn child(test: &str, variables: &[(&str, &std::path::Path)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--include-ignored", "--quiet"]).envs(variables.iter().copied());
    command.stdout(std::process::Stdio::null());
    command
}
