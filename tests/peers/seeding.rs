//! libvirt on a cache that `capscache libvirt seed` filled: it starts no emulator, and replaces no file.

use std::fs;
use std::time::Instant;

use crate::Scene;

impl Scene {
    /// Runs `libvirt seed` for libvirt with a root; returns its output.
    fn seed(&self, root: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let root = self.path(root).display().to_string();
        let run = self.capscache(&[&["libvirt", "seed", "--embed", &root], arguments].concat());
        println!("{}", String::from_utf8_lossy(&run.stderr));
        (run.status.code(), String::from_utf8(run.stdout).unwrap())
    }

    /// Starts libvirt for a query; prints the time to the answer and the number of emulators that it started, and
    /// returns the number.
    fn timed(&self, name: &str, root: &str, query: &str) -> usize {
        let began = Instant::now();
        let run = self.libvirt(root, &[query]);
        let ms = began.elapsed().as_millis();
        assert!(run.output.status.success(), "{:?}", run.output);
        println!("{name:6} {query:15} {ms:6} ms, {} emulators started", run.started.len());
        run.started.len()
    }
}

#[test]
fn a_seeded_libvirt_starts_no_emulator_and_keeps_every_file() {
    let scene = Scene::new();
    for query in ["domcapabilities", "capabilities"] {
        let (theirs, ours) = (format!("theirs-{query}"), format!("ours-{query}"));
        let cold = scene.timed("cold", &theirs, query);
        assert!(cold > 0, "libvirt writes its files");
        let (code, _) = scene.seed(&ours, &[]);
        assert_eq!(code, Some(0));
        let seeds = scene.cached(&ours);
        assert_eq!(scene.timed("seeded", &ours, query), 0);
        assert_eq!(scene.timed("warm", &theirs, query), 0);
        assert!(scene.cached(&ours) == seeds, "libvirt replaced a file that it did not accept");
        // What libvirt wrote is what was seeded, and it is accepted.
        for (emulator, xml) in scene.cached(&theirs) {
            assert!(seeds.get(&emulator) == Some(&xml), "{emulator}");
            let (code, line) = scene.seed(&theirs, &["--check", &emulator]);
            assert_eq!((code, line), (Some(0), format!("{emulator}: accepted\n")));
        }
    }
}

#[test]
fn what_the_check_calls_not_accepted_is_what_libvirt_probes_again() {
    let scene = Scene::new();
    assert_eq!(scene.seed("seeded", &[]).0, Some(0));
    let native = format!("/usr/bin/qemu-system-{}", std::env::consts::ARCH);
    let file = scene.file("seeded", &native);
    let xml = fs::read_to_string(&file).unwrap();
    let replaced = |from: &str, to: &str| {
        let changed = xml.replacen(from, to, 1);
        assert!(changed != xml, "{from}");
        changed
    };
    let mut changes = vec![
        (replaced("<selfctime>", "<selfctime>1"), "libvirt's own files changed"),
        (replaced("<selfvers>", "<selfvers>1"), "libvirt's release changed"),
        (replaced("<qemuctime>", "<qemuctime>1"), "the emulator changed"),
    ];
    if xml.contains("<flag name='kvm'/>") {
        changes.extend([
            (replaced("  <flag name='kvm'/>\n", ""), "it has nothing about KVM"),
            (replaced("<microcodeVersion>", "<microcodeVersion>1"), "the microcode changed"),
            (replaced("<kernelVersion>", "<kernelVersion>0"), "the kernel changed"),
            (replaced("<hostCPUSignature>", "<hostCPUSignature>0"), "the host's CPU changed"),
        ]);
    }
    if xml.contains("<cpuid eax_in='0x00000007'") {
        let other = replaced("<cpuid eax_in='0x00000007'", "<cpuid eax_in='0x00000006'");
        changes.push((other, "the CPU features that KVM supports changed"));
    }
    if xml.contains("<qemumoddirmtime>") {
        let other = replaced("<qemumoddirmtime>", "<qemumoddirmtime>1");
        changes.push((other, "QEMU's module directory changed"));
    }
    for (changed, reason) in changes {
        fs::write(&file, changed).unwrap();
        let (code, line) = scene.seed("seeded", &["--check", &native]);
        assert_eq!(code, Some(1));
        assert!(line.starts_with(&format!("{native}: not accepted: {reason}")), "{line}");
        assert!(scene.timed("stale", "seeded", "domcapabilities") > 0, "{reason}");
        assert!(fs::read_to_string(&file).unwrap() == xml, "libvirt wrote the same again");
    }
}
