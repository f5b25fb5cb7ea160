//! Firmware of the host that libvirt's tests pretend: that of Fedora.

use capscache_run::Firmware;

/// The features of firmware of a PC, with and without secure boot, and with keys.
const PLAIN: &str = r#""acpi-s3", "amd-sev", "amd-sev-es", "verbose-dynamic""#;
const SECURE: &str = r#""acpi-s3", "requires-smm", "secure-boot", "verbose-dynamic""#;
const ENROLLED: &str =
    r#""acpi-s3", "enrolled-keys", "requires-smm", "secure-boot", "verbose-dynamic""#;
const NO_FEATURES: &str = r#""verbose-static""#;

const Q35: &str = r#"{"architecture": "x86_64", "machines": ["pc-q35-*"]}"#;
const PC: &str = r#"{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}"#;
const ARM: &str = r#"{"architecture": "aarch64", "machines": ["virt-*"]}"#;
const RISCV: &str = r#"{"architecture": "riscv64", "machines": ["virt", "virt-*"]}"#;
const LOONGARCH: &str = r#"{"architecture": "loongarch64", "machines": ["virt", "virt-*"]}"#;

/// Code, variables, their format, targets and features, by priority.
const FLASH: &[(&str, &str, &str, &str, &str)] = &[
    ("ovmf/OVMF_CODE_4M.secboot.qcow2", "ovmf/OVMF_VARS_4M.secboot.qcow2", "qcow2", Q35, ENROLLED),
    ("ovmf/OVMF_CODE.secboot.fd", "ovmf/OVMF_VARS.secboot.fd", "raw", Q35, ENROLLED),
    ("ovmf/OVMF_CODE_4M.secboot.qcow2", "ovmf/OVMF_VARS_4M.qcow2", "qcow2", Q35, SECURE),
    ("ovmf/OVMF_CODE.secboot.fd", "ovmf/OVMF_VARS.fd", "raw", Q35, SECURE),
    (
        "aarch64/QEMU_EFI-silent-pflash.qcow2",
        "aarch64/vars-template-pflash.qcow2",
        "qcow2",
        ARM,
        NO_FEATURES,
    ),
    ("loongarch64/QEMU_EFI.fd", "loongarch64/QEMU_VARS.fd", "raw", LOONGARCH, NO_FEATURES),
    ("ovmf/OVMF_CODE_4M.qcow2", "ovmf/OVMF_VARS_4M.qcow2", "qcow2", PC, PLAIN),
    ("riscv/RISCV_VIRT_CODE.qcow2", "riscv/RISCV_VIRT_VARS.qcow2", "qcow2", RISCV, NO_FEATURES),
    (
        "aarch64/QEMU_EFI-silent-pflash.raw",
        "aarch64/vars-template-pflash.raw",
        "raw",
        ARM,
        NO_FEATURES,
    ),
    ("ovmf/OVMF_CODE.fd", "ovmf/OVMF_VARS.fd", "raw", PC, PLAIN),
];

/// Returns the firmware by priority.
pub(crate) fn all() -> Vec<Firmware> {
    let flash = FLASH.iter().map(|(code, variables, format, target, features)| {
        let image =
            |path| format!(r#"{{"filename": "/usr/share/edk2/{path}", "format": "{format}"}}"#);
        let (code, variables) = (image(code), image(variables));
        let mapping = format!(
            r#"{{"device": "flash", "executable": {code}, "nvram-template": {variables}}}"#
        );
        describe("uefi", &mapping, target, features)
    });
    let stateless = r#"{"device": "flash", "mode": "stateless",
        "executable": {"filename": "/usr/share/edk2/ovmf/OVMF.amdsev.fd", "format": "raw"}}"#;
    let features = r#""amd-sev", "amd-sev-es", "amd-sev-snp", "verbose-dynamic""#;
    let bios = r#"{"device": "memory", "filename": "/usr/share/seabios/bios-256k.bin"}"#;
    let targets =
        format!(r#"{PC}, {{"architecture": "i386", "machines": ["pc-i440fx-*", "pc-q35-*"]}}"#);
    flash
        .chain([
            describe("uefi", stateless, Q35, features),
            describe("bios", bios, &targets, r#""acpi-s3", "acpi-s4""#),
        ])
        .collect()
}

fn describe(interface: &str, mapping: &str, targets: &str, features: &str) -> Firmware {
    let text = format!(
        r#"{{"interface-types": ["{interface}"], "mapping": {mapping}, "targets": [{targets}],
            "features": [{features}]}}"#
    );
    Firmware::from_json(&text).unwrap()
}

/// Returns the files of libvirt's default `nvram` in `qemu.conf`.
pub(crate) fn pairs() -> Vec<(String, String)> {
    [
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/AAVMF/AAVMF32_CODE.fd", "/usr/share/AAVMF/AAVMF32_VARS.fd"),
    ]
    .map(|(code, variables)| (code.to_owned(), variables.to_owned()))
    .to_vec()
}
