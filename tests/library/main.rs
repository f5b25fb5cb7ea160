//! Tests of the library on real emulators and recorded conversations.

mod accidents;
mod cache;
mod documents;
mod inputs;
mod qmp;
mod replay;
mod truth;

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
