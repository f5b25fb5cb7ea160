//! CPU models of x86.

/// Models that are compared with the host's CPU as libvirt did before it compared them with the emulator's answers.
const COMPARED: &[&str] = &[
    "486",
    "Broadwell-IBRS",
    "Broadwell-noTSX-IBRS",
    "Broadwell-noTSX",
    "Broadwell",
    "Cascadelake-Server-noTSX",
    "Cascadelake-Server",
    "Conroe",
    "Cooperlake",
    "Dhyana",
    "EPYC-Genoa",
    "EPYC-IBPB",
    "EPYC-Milan",
    "EPYC-Rome",
    "EPYC",
    "GraniteRapids",
    "Haswell-IBRS",
    "Haswell-noTSX-IBRS",
    "Haswell-noTSX",
    "Haswell",
    "Icelake-Client-noTSX",
    "Icelake-Client",
    "Icelake-Server-noTSX",
    "Icelake-Server",
    "IvyBridge-IBRS",
    "IvyBridge",
    "Nehalem-IBRS",
    "Nehalem",
    "Opteron_G1",
    "Opteron_G2",
    "Opteron_G3",
    "Opteron_G4",
    "Opteron_G5",
    "Penryn",
    "SandyBridge-IBRS",
    "SandyBridge",
    "SapphireRapids",
    "SierraForest",
    "Skylake-Client-IBRS",
    "Skylake-Client-noTSX-IBRS",
    "Skylake-Client",
    "Skylake-Server-IBRS",
    "Skylake-Server-noTSX-IBRS",
    "Skylake-Server",
    "Snowridge",
    "Westmere-IBRS",
    "Westmere",
    "athlon",
    "core2duo",
    "coreduo",
    "cpu64-rhel5",
    "cpu64-rhel6",
    "kvm32",
    "kvm64",
    "n270",
    "pentium",
    "pentium2",
    "pentium3",
    "pentiumpro",
    "phenom",
    "qemu32",
    "qemu64",
];

/// Other models: all versions up to a number.
const VERSIONED: &[(&str, u8)] = &[
    ("486", 1),
    ("Broadwell", 4),
    ("Cascadelake-Server", 5),
    ("Conroe", 1),
    ("Cooperlake", 2),
    ("Denverton", 3),
    ("Dhyana", 2),
    ("EPYC", 4),
    ("EPYC-Genoa", 1),
    ("EPYC-Milan", 2),
    ("EPYC-Rome", 4),
    ("GraniteRapids", 2),
    ("Haswell", 4),
    ("Icelake-Server", 7),
    ("IvyBridge", 2),
    ("KnightsMill", 1),
    ("Nehalem", 2),
    ("Opteron_G1", 1),
    ("Opteron_G2", 1),
    ("Opteron_G3", 1),
    ("Opteron_G4", 1),
    ("Opteron_G5", 1),
    ("Penryn", 1),
    ("SandyBridge", 2),
    ("SapphireRapids", 3),
    ("SierraForest", 1),
    ("Skylake-Client", 4),
    ("Skylake-Server", 5),
    ("Snowridge", 4),
    ("Westmere", 2),
    ("athlon", 1),
    ("core2duo", 1),
    ("coreduo", 1),
    ("kvm32", 1),
    ("kvm64", 1),
    ("n270", 1),
    ("pentium", 1),
    ("pentium2", 1),
    ("pentium3", 1),
    ("phenom", 1),
    ("qemu32", 1),
    ("qemu64", 1),
];

/// Features that QEMU never had, or dropped: libvirt leaves them out.
pub(super) const IGNORED: &[&str] = &[
    "cmt",
    "mbm_total",
    "mbm_local",
    "osxsave",
    "ospke",
    "vmx-ept-uc",
    "vmx-ept-wb",
    "vmx-invvpid-single-context",
];

/// Returns whether libvirt has a model of this name.
pub(super) fn is_model(name: &str) -> bool {
    is_compared(name) || is_versioned(name) || matches!(name, "Denverton" | "KnightsMill")
}

fn is_versioned(name: &str) -> bool {
    let Some((model, version)) = name.rsplit_once("-v") else { return false };
    let last = VERSIONED.iter().find(|(known, _)| *known == model).map_or(0, |(_, last)| *last);
    (1..=last).any(|number| number.to_string() == version)
}

/// Returns whether a model is compared with the host's CPU.
fn is_compared(name: &str) -> bool {
    COMPARED.contains(&name)
}

/// Returns the features that QEMU removed from a model: they are off if a guest does not name them.
pub(super) fn removed(name: &str) -> &'static [&'static str] {
    match name {
        "Icelake-Client" | "Icelake-Client-noTSX" => &["intel-pt"],
        "Icelake-Server" | "Icelake-Server-noTSX" => &["intel-pt", "mpx"],
        "Cascadelake-Server"
        | "Cascadelake-Server-noTSX"
        | "Skylake-Client"
        | "Skylake-Client-IBRS"
        | "Skylake-Client-noTSX-IBRS"
        | "Skylake-Server"
        | "Skylake-Server-IBRS"
        | "Skylake-Server-noTSX-IBRS" => &["mpx"],
        "Dhyana" | "EPYC" | "EPYC-IBPB" | "Opteron_G3" => &["monitor"],
        _ => &[],
    }
}
