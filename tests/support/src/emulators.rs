use std::path::Path;

/// Returns the path of an emulator, which must be installed.
pub fn emulator(target: &str) -> String {
    let path = format!("/usr/bin/qemu-system-{target}");
    assert!(Path::new(&path).exists(), "{path} is missing: `make test` installs it");
    path
}

/// Returns the path of a small emulator, with which tests are quick.
pub fn avr() -> String {
    emulator("avr")
}

/// Returns the path of the emulator of x86_64.
pub fn x86_64() -> String {
    emulator("x86_64")
}

/// Returns the path of the emulator of this host's architecture.
pub fn native() -> String {
    emulator(std::env::consts::ARCH)
}

/// Returns true if KVM can be opened; reports a skip if not.
pub fn kvm_opens() -> bool {
    let opens = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !opens {
        println!("SKIPPED: /dev/kvm cannot be opened here, so nothing was probed under KVM");
    }
    opens
}

/// Returns true if an emulator of this architecture runs under KVM here; reports a skip if not.
pub fn kvm_works(arch: &str) -> bool {
    let is_native = arch == std::env::consts::ARCH;
    if !is_native {
        println!("SKIPPED: KVM does not run {arch} here, so nothing was probed under it");
    }
    is_native && kvm_opens()
}

/// Returns true if a program is on PATH; reports a skip if not.
pub fn has(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).is_file());
    if !found {
        println!("SKIPPED: {program} is not installed here");
    }
    found
}
