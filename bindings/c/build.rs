//! Gives the shared library the name and the symbol version by which the dynamic linker finds it.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // rustc passes a version script without a name, beside which no linker accepts a named one. GNU ld can derive
    // the version of every symbol from the name of the library instead; LLVM's cannot (docs/adr/0008).
    for argument in ["-fuse-ld=bfd", "-Wl,-soname,libcapscache.so.0", "-Wl,--default-symver"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
