//! The same on the driver's own runtime: two emulators are probed at once, no thread is blocked.
//!
//! `cargo run -p capscache --example driver_async -- /usr/bin/qemu-system-x86_64 /usr/bin/qemu-system-aarch64`

use capscache::{Cache, Capabilities};

async fn describe(cache: &Cache, emulator: &str) -> Result<Capabilities, capscache::Error> {
    let caps = cache.get_async(emulator).await?;
    println!("{emulator}: QEMU {} for {}", caps.version(), caps.arch());
    for accelerator in caps.accelerators() {
        let answers = caps.accelerator(accelerator);
        let models = answers.map_or(0, |answers| answers.cpu_models().count());
        println!("{emulator}: {models} CPU models under {accelerator}");
    }
    Ok(caps)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulators: Vec<String> = std::env::args().skip(1).collect();
    let [first, second] = emulators.as_slice() else {
        return Err("give the paths of two emulators".into());
    };
    let cache = Cache::open(std::env::temp_dir().join("capscache-driver"))?;
    // Giving up on one of them, as a timeout would, leaves its probe to finish for others.
    let (first, second) = tokio::join!(describe(&cache, first), describe(&cache, second));
    let (first, second) = (first?, second?);
    for command in first.commands() {
        if second.has_command(command).is_no() {
            println!("only the first has {command}");
        }
    }
    Ok(())
}
