//! The machine and the build that the figures are measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine, and the versions of the programs measured on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// True if the CPU has instructions for SHA-256.
    pub(crate) sha: bool,
    pub(crate) kernel: String,
    pub(crate) kvm: bool,
    pub(crate) qemu: String,
    /// libvirt's version, if installed.
    pub(crate) libvirt: Option<String>,
    /// The commit of the build, with a `+` if files differ from it.
    pub(crate) commit: String,
}

impl Host {
    pub(crate) fn of_this_run(qemu: &str) -> Host {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = |key: &str| {
            let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
        };
        let uname = rustix::system::uname();
        Host {
            cpu: line("model name").unwrap_or_else(|| "unknown CPU".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            sha: line("flags").or_else(|| line("Features")).is_some_and(|flags| {
                flags.split(' ').any(|flag| flag == "sha_ni" || flag == "sha2")
            }),
            kernel: uname.release().to_string_lossy().into_owned(),
            kvm: fs::File::options().read(true).write(true).open("/dev/kvm").is_ok(),
            qemu: qemu.to_owned(),
            libvirt: output("virsh", &["--version"]),
            commit: commit().unwrap_or_else(|| "unknown commit".to_owned()),
        }
    }

    /// Formats it in one line, for tables and plots.
    pub(crate) fn line(&self) -> String {
        let Host { cpu, cores, kernel, qemu, commit, .. } = self;
        let kvm = if self.kvm { "KVM" } else { "no KVM" };
        let libvirt =
            self.libvirt.as_ref().map_or(String::new(), |version| format!(", libvirt {version}"));
        format!(
            "{cpu}, {cores} cores, Linux {kernel}, {kvm}, QEMU {qemu}{libvirt}, capscache {commit}"
        )
    }
}

fn commit() -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).to_str()?;
    let hash = output("git", &["-C", here, "rev-parse", "--short", "HEAD"])?;
    let changed = output("git", &["-C", here, "status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { hash } else { hash + "+" })
}

/// The output of a program, without the final newline; `None` if it is not installed or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
