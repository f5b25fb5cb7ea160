//! The capabilities of one emulator.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use capscache::format::{Accelerated, NameList, Unanswered};
use capscache::{Accelerator, Capabilities};

use crate::boundary::{call, free, read};
use crate::cpu_model::CpuModel;
use crate::error::Error;
use crate::kept::Kept;
use crate::machine::Machine;
use crate::names::Names;
use crate::numbers::{Tri, accelerator as number_of, bits};
use crate::property::Property;
use crate::string::{address, owned, owned_path};

/// The capabilities of one emulator, on its mapped entry. Owned by the caller, who frees it with capscache_entry_free();
/// that of capscache_list_entry() by its list.
///
/// Its answers do not change, also after the entry was replaced or removed; only `firmware:` queries are about the present.
/// Threads may use it at the same time. Strings, names, machines, CPU models and properties that it returns are owned by it
/// and valid until it is freed.
#[derive(Debug)]
pub struct Entry {
    pub(crate) caps: Capabilities,
    emulator: OnceLock<CString>,
    executable: OnceLock<CString>,
    version: OnceLock<CString>,
    package: OnceLock<CString>,
    arch: OnceLock<CString>,
    persist_error: OnceLock<Option<CString>>,
    reasons: Kept<String, CString>,
    pub(crate) names: Kept<NameList, Names>,
    pub(crate) machines: Kept<(Accelerator, String), Machine>,
    pub(crate) cpu_models: Kept<(Accelerator, String), CpuModel>,
    pub(crate) properties: Kept<(String, String), Property>,
}

impl Entry {
    pub(crate) fn new(caps: Capabilities) -> Entry {
        Entry {
            caps,
            emulator: OnceLock::new(),
            executable: OnceLock::new(),
            version: OnceLock::new(),
            package: OnceLock::new(),
            arch: OnceLock::new(),
            persist_error: OnceLock::new(),
            reasons: Kept::default(),
            names: Kept::default(),
            machines: Kept::default(),
            cpu_models: Kept::default(),
            properties: Kept::default(),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the pointer of a handle")]
    pub(crate) fn boxed(caps: Capabilities) -> Option<Box<Entry>> {
        Some(Box::new(Entry::new(caps)))
    }

    /// Returns the answers under the accelerator of a number.
    pub(crate) fn under(&self, number: u32) -> Result<Accelerated<'_>, Error> {
        Ok(match number_of(number)? {
            Some(accelerator) => self.caps.accelerator(accelerator)?,
            None => self.caps.best()?,
        })
    }

    /// Returns the reason of an answer without characters that a terminal acts on. Each line is kept once: that of a firmware
    /// query is another one when the descriptors of the host have changed.
    pub(crate) fn reason(&self, line: &str) -> *const c_char {
        let line = capscache::Escaped::new(line).to_string();
        let text = owned(&line);
        address(self.reasons.get(line, || Ok::<_, Error>(text)).ok())
    }
}

/// Frees an entry and all that it returned; does nothing for NULL. Not for an entry of a list.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_free(entry: Option<Box<Entry>>) {
    free(entry);
}

/// The path of the emulator, as it was given and made absolute.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_emulator(entry: Option<&Entry>) -> *const c_char {
    read(entry, |entry| entry.emulator.get_or_init(|| owned_path(&entry.caps.emulator())).as_ptr())
}

/// The path of the file that runs: another one behind a link or a wrapper script.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_executable(entry: Option<&Entry>) -> *const c_char {
    read(entry, |entry| {
        entry.executable.get_or_init(|| owned_path(&entry.caps.executable())).as_ptr()
    })
}

/// The version of QEMU, such as `7.2.22` (`query-version`).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_version(entry: Option<&Entry>) -> *const c_char {
    read(entry, |entry| {
        entry.version.get_or_init(|| owned(&entry.caps.version().to_string())).as_ptr()
    })
}

/// The version of QEMU as one number to compare, as libvirt has it: 7002022 for 7.2.22. 0 in a damaged entry.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_version_number(entry: Option<&Entry>) -> u64 {
    read(entry, |entry| {
        let version = entry.caps.version();
        let millions = version.major.saturating_mul(1_000_000);
        millions.saturating_add(version.minor.saturating_mul(1000)).saturating_add(version.micro)
    })
}

/// The distributor's name for this build, often empty (`query-version`).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_package(entry: Option<&Entry>) -> *const c_char {
    read(entry, |entry| entry.package.get_or_init(|| owned(entry.caps.package())).as_ptr())
}

/// QEMU's name of the guest's architecture, such as `x86_64` (`query-target`).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_arch(entry: Option<&Entry>) -> *const c_char {
    read(entry, |entry| entry.arch.get_or_init(|| owned(entry.caps.arch())).as_ptr())
}

/// The set of groups that were probed: bits of enum capscache_group.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_groups(entry: Option<&Entry>) -> u32 {
    read(entry, |entry| bits(entry.caps.groups()))
}

/// The reason why the answers could not be written to disk: they are correct, but the next process has to probe again.
/// NULL if they were written.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_persist_error(entry: Option<&Entry>) -> *const c_char {
    read(entry, |entry| {
        let line = || entry.caps.persist_error().map(|error| owned(&capscache::chain(error)));
        address(entry.persist_error.get_or_init(line).as_ref())
    })
}

/// Returns whether the emulator ran under an accelerator, one of enum capscache_accelerator: it works on this host. *No* if
/// the emulator or the host does not have it, *unknown* if it should have run and failed.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_has_accelerator(
    entry: Option<&Entry>,
    accelerator: u32,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Tri {
    call(error, || {
        let entry = entry.ok_or_else(|| Error::null("entry"))?;
        let found: Result<Accelerated<'_>, Unanswered> = match number_of(accelerator)? {
            Some(accelerator) => entry.caps.accelerator(accelerator),
            None => entry.caps.best(),
        };
        Ok(capscache::Tri::from(&found).into())
    })
}

/// The best accelerator that the emulator ran under, one of enum capscache_accelerator; 0 in a damaged entry.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_best_accelerator(entry: Option<&Entry>) -> u32 {
    read(entry, |entry| entry.caps.best().map_or(0, |best| u32::from(best.accelerator().number())))
}

/// The reason why the emulator did not run under an accelerator, in one line; NULL if it did, and for
/// CAPSCACHE_ACCELERATOR_BEST.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_entry_accelerator_reason(
    entry: Option<&Entry>,
    accelerator: u32,
) -> *const c_char {
    read(entry, |entry| {
        let Ok(Some(accelerator)) = number_of(accelerator) else { return std::ptr::null() };
        let reason = entry.caps.explain_accelerator(accelerator);
        reason.map_or_else(std::ptr::null, |reason| entry.reason(&reason))
    })
}
