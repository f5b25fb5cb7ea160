//! Machine types: their buses, and what is part of them.

use crate::facts::{Facts, Part};

/// The largest target index of a host bridge of pseries: QEMU has 31 of them.
pub(crate) const MAX_TARGET_INDEX: u32 = 30;

/// The family of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `i686` and `x86_64`.
    X86,
    /// 32-bit and 64-bit Arm.
    Arm,
    /// 32-bit PowerPC.
    Ppc,
    /// `ppc64` and `ppc64le`.
    Ppc64,
    /// `riscv32` and `riscv64`.
    Riscv,
    /// `loongarch64`.
    Loongarch,
    /// `s390` and `s390x`.
    S390,
    /// Another one.
    Other,
}

/// A board: a machine type without its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// `isapc`.
    Isapc,
    /// `pc`.
    I440fx,
    /// `q35`.
    Q35,
    /// `microvm`.
    Microvm,
    /// `virt` of Arm, RISC-V and LoongArch.
    Virt,
    /// Arm's boards with a conventional PCI bus: `versatilepb` and `realview-eb`.
    ArmPci,
    /// Arm's `vexpress` boards, with virtio-mmio.
    Vexpress,
    /// `pseries`.
    Pseries,
    /// `s390-ccw-virtio`.
    Ccw,
    /// Another one.
    Other,
}

/// The root of the PCI hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `pci-root`.
    Pci,
    /// `pcie-root`.
    Pcie,
}

/// A machine type of an architecture.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The family of the architecture.
    pub family: Family,
    /// The board.
    pub board: Board,
    /// The architecture, in libvirt's words.
    pub arch: String,
    /// The name, with its version.
    pub name: String,
    /// The root of PCI that the machine always has.
    pub root: Option<Root>,
    /// True if PCI devices have identifiers of s390.
    pub has_zpci: bool,
}

impl Machine {
    /// Returns a machine by its name. The facts say which buses the emulator has.
    pub fn new(arch: &str, name: &str, facts: &Facts) -> Machine {
        let family = family(arch);
        let board = board(family, name);
        let root = match (family, board) {
            (_, Board::Q35) => Some(Root::Pcie),
            (_, Board::Virt) if facts.has(Part::Gpex) => Some(Root::Pcie),
            (Family::S390, _) => facts.has(Part::Zpci).then_some(Root::Pci),
            (_, Board::I440fx | Board::ArmPci) | (Family::Ppc | Family::Ppc64, _) => {
                Some(Root::Pci)
            }
            (Family::Other, _) => has_pci(arch, name).then_some(Root::Pci),
            _ => None,
        };
        let has_zpci = family == Family::S390 && facts.has(Part::Zpci);
        Machine { family, board, arch: arch.to_owned(), name: name.to_owned(), root, has_zpci }
    }

    /// Returns whether the machine is a `q35`.
    pub fn is_q35(&self) -> bool {
        self.board == Board::Q35
    }

    /// Returns whether QEMU numbers the machine's PCI buses: the only bus of others is `pci`.
    pub fn has_numbered_pci(&self) -> bool {
        matches!(self.family, Family::X86 | Family::Ppc | Family::Ppc64 | Family::S390)
            || self.board == Board::Virt
    }

    /// Returns whether a device of type virtio is an express device if it can choose.
    pub fn has_pcie(&self) -> bool {
        self.root == Some(Root::Pcie)
    }

    /// Returns whether several PCI roots can exist side by side.
    pub fn has_many_roots(&self) -> bool {
        self.board == Board::Pseries
    }

    /// Returns whether a bus can belong to a NUMA node: that of an expander, or of another PCI root.
    pub fn has_node_buses(&self) -> bool {
        matches!(self.board, Board::I440fx | Board::Q35 | Board::Pseries)
            || (self.family, self.board) == (Family::Arm, Board::Virt)
    }

    /// Returns whether the board has virtio transports in memory. libvirt has no rules for `microvm`, which has no other
    /// place for virtio devices.
    pub fn has_mmio(&self) -> bool {
        matches!(
            (self.family, self.board),
            (Family::Arm, Board::Vexpress)
                | (Family::Arm | Family::Riscv, Board::Virt)
                | (Family::X86, Board::Microvm)
        )
    }

    /// Returns whether the board has a SCSI controller of its own.
    pub fn has_builtin_scsi(&self) -> bool {
        // Sun's boards, and two of MIPS.
        let sparc = ["LX", "SPARCClassic", "SPARCbook", "Voyager"].contains(&self.name.as_str())
            || self.name.starts_with("SS-");
        let mips = ["magnum", "pica61"].contains(&self.name.as_str());
        (self.arch == "sparc" && sparc) || (self.arch.starts_with("mips") && mips)
    }

    /// Returns whether the board has an IDE controller.
    pub fn has_ide(&self) -> bool {
        self.board == Board::I440fx
            || (self.arch.starts_with("mips") && self.name == "malta")
            || (self.arch == "sparc64" && self.name == "sun4u")
            || (self.arch.starts_with("ppc") && self.name == "g3beige")
    }

    /// Returns whether a device that needs PCI is refused where there is none; other boards may have it unknown.
    pub fn lacks_pci(&self) -> bool {
        self.root.is_none() && !matches!(self.family, Family::Arm | Family::Riscv)
    }

    /// Returns whether the board has a PS/2 keyboard and mouse.
    pub fn has_ps2(&self) -> bool {
        matches!(self.board, Board::Isapc | Board::I440fx | Board::Q35)
            || (self.family == Family::X86 && self.board == Board::Other)
    }
}

fn family(arch: &str) -> Family {
    match arch {
        "i686" | "x86_64" => Family::X86,
        "armv6l" | "armv7l" | "armv7b" | "aarch64" => Family::Arm,
        "ppc" | "ppcemb" | "ppcle" => Family::Ppc,
        "ppc64" | "ppc64le" => Family::Ppc64,
        "riscv32" | "riscv64" => Family::Riscv,
        "loongarch64" => Family::Loongarch,
        "s390" | "s390x" => Family::S390,
        _ => Family::Other,
    }
}

fn board(family: Family, name: &str) -> Board {
    let is =
        |board: &str| name == board || name.strip_prefix(board).is_some_and(|r| r.starts_with('-'));
    let starts = |prefix: &str| name.starts_with(prefix);
    match family {
        Family::X86 if is("q35") || starts("pc-q35-") => Board::Q35,
        Family::X86 if name == "isapc" => Board::Isapc,
        Family::X86 if name == "microvm" => Board::Microvm,
        Family::X86
            if name == "pc"
                || starts("pc-0.")
                || starts("pc-1.")
                || starts("pc-i440")
                || starts("rhel") =>
        {
            Board::I440fx
        }
        Family::Arm | Family::Riscv | Family::Loongarch if is("virt") => Board::Virt,
        Family::Arm if name == "versatilepb" || starts("realview-eb") => Board::ArmPci,
        Family::Arm if starts("vexpress-") => Board::Vexpress,
        Family::Ppc64 if is("pseries") => Board::Pseries,
        Family::S390 if starts("s390-ccw") => Board::Ccw,
        _ => Board::Other,
    }
}

/// Returns whether a board of a rarer architecture has a PCI bus, as libvirt assumes.
fn has_pci(arch: &str, name: &str) -> bool {
    match arch {
        "alpha" | "sh4" | "sh4eb" | "sparc64" => true,
        "mips" | "mipsel" | "mips64" | "mips64el" => name == "malta",
        _ => false,
    }
}
