//! Facts from the answers of an emulator.

use capscache_format::{Entry, Tri};

use super::{Facts, Part, Source, bit, built_in};

impl Facts {
    /// Takes the facts from the entry of an emulator (`query-version`, `query-target`, `query-machines` and
    /// `qom-list-types`). Where the emulator gave no answer, the built-in table does: see
    /// [`Facts::unanswered`].
    pub fn from_entry<B: AsRef<[u8]>>(entry: &Entry<B>) -> Facts {
        let arch = match entry.arch() {
            "i386" => "i686",
            "arm" => "armv7l",
            other => other,
        };
        let mut facts = Facts {
            source: Source::Emulator,
            arch: arch.to_owned(),
            version: Some(entry.version()),
            default_machine: built_in::default_machine(arch).map(str::to_owned),
            parts: 0,
            unknown: 0,
        };
        for part in Part::ALL {
            let has = match Tri::from(&entry.qom_type(part.name())) {
                Tri::Yes => true,
                Tri::No => false,
                Tri::Unknown => {
                    facts.unknown |= bit(*part);
                    built_in::has(arch, *part)
                }
            };
            if has {
                facts.parts |= bit(*part);
            }
        }
        facts
    }
}
