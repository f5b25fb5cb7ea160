//! Finds the directories in which an emulator's libraries were searched for, beyond those in the loader's
//! cache.
//!
//! The time stamps of `/etc/ld.so.cache` cover the directories of ldconfig: no library is installed there
//! without it. Every other directory that the loader searches (ld.so(8): DT_RPATH, `LD_LIBRARY_PATH`,
//! DT_RUNPATH) needs its own check, present or not: a library that appears in an earlier directory takes the
//! place of the one that was used.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use capscache_probe::RanExecutable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef, elf};

use crate::inputs::LOADER_CACHE;

/// The list of libraries that every program of the system is loaded with, one a word (ld.so(8)).
pub(super) const PRELOAD: &str = "etc/ld.so.preload";

/// The directory, within each searched one, of variants of libraries for some processors.
const VARIANTS: &str = "glibc-hwcaps";

/// Bound on the loader's cache, and on the dynamic section of a program, in bytes.
const MAX_CACHE_BYTES: u64 = 16 << 20;
const MAX_DYNAMIC_BYTES: u64 = 1 << 20;

/// Bound on the directories of one emulator: Nix has some fifty.
const MAX_DIRECTORIES: usize = 200;

/// The directories beyond the loader's cache, present or not, as paths of this process.
pub(super) fn searched_directories(ran: &RanExecutable) -> BTreeSet<PathBuf> {
    let executable = &ran.executable;
    let in_root = |path: &Path| executable.root.join(path.strip_prefix("/").unwrap_or(path));
    let given = |name: &str| {
        let variable = executable.environment.iter().find(|(given, _)| given == name);
        variable.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut searched: BTreeSet<PathBuf> = BTreeSet::new();
    let between = |byte: &u8| b":; \t\n".contains(byte);
    let absolute = |list: OsString| -> Vec<PathBuf> {
        let list = list.into_vec();
        let paths = list.split(between).filter(|path| path.starts_with(b"/"));
        paths.map(|path| in_root(Path::new(OsStr::from_bytes(path)))).collect()
    };
    searched.extend(absolute(given("LD_LIBRARY_PATH")));
    searched.extend(run_path(&executable.file, &executable.path).iter().map(|path| in_root(path)));
    let preloaded = fs::read(in_root(Path::new(PRELOAD))).unwrap_or_default();
    let preloaded =
        [given("LD_PRELOAD"), OsString::from_vec(preloaded)].into_iter().flat_map(absolute);
    let cached = cached_directories(&in_root(Path::new(LOADER_CACHE)), in_root);
    let is_cached = |directory: &Path| cached.iter().any(|cached| directory.starts_with(cached));
    let is_of_modules = |directory: &Path| ran.module_directories.iter().any(|d| d == directory);
    let loaded = ran.objects.iter().cloned().chain(preloaded);
    let parents = loaded.filter_map(|file| Some(file.parent()?.to_owned()));
    searched.extend(parents.filter(|directory| !is_cached(directory) && !is_of_modules(directory)));
    let variants: Vec<PathBuf> =
        searched.iter().flat_map(|directory| variants_in(directory)).collect();
    searched.into_iter().chain(variants).take(MAX_DIRECTORIES).collect()
}

/// The directories of the libraries in the loader's cache, with links resolved.
fn cached_directories(cache: &Path, in_root: impl Fn(&Path) -> PathBuf) -> BTreeSet<PathBuf> {
    let mut text = Vec::new();
    let _ = File::open(cache).and_then(|file| file.take(MAX_CACHE_BYTES).read_to_end(&mut text));
    let paths = text.split(|byte| *byte == 0).filter_map(|text| {
        let start = text.iter().position(|byte| *byte == b'/')?;
        Path::new(OsStr::from_bytes(&text[start..])).parent()
    });
    let named: BTreeSet<&Path> = paths.filter(|path| *path != Path::new("/")).collect();
    named.into_iter().filter_map(|path| fs::canonicalize(in_root(path)).ok()).collect()
}

fn variants_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join(VARIANTS)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The directories of DT_RPATH and DT_RUNPATH of a program; those that depend on the processor are left
/// out. Empty for a file that is not an ELF object.
fn run_path(program: &File, path: &Path) -> Vec<PathBuf> {
    fn of<Elf: FileHeader<Endian = Endianness>>(cache: &ReadCache<&File>) -> Option<Vec<u8>> {
        let header = Elf::parse(cache).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, cache).ok()?;
        let is_dynamic = |segment: &&Elf::ProgramHeader| segment.p_type(endian) == elf::PT_DYNAMIC;
        let segment = segments.iter().find(is_dynamic)?;
        if segment.p_filesz(endian).into() > MAX_DYNAMIC_BYTES {
            return None;
        }
        let dynamic = segment.dynamic(endian, cache).ok()??;
        let value = |tag| {
            let entries = dynamic.iter().filter(move |entry| entry.d_tag(endian) == tag);
            entries.map(|entry| -> u64 { entry.d_val(endian).into() })
        };
        let strings = value(elf::DT_STRTAB).next()?;
        let in_file = |address: u64| {
            segments.iter().find_map(|segment| {
                let (offset, size) = segment.file_range(endian);
                let inside = address.checked_sub(segment.p_vaddr(endian).into())?;
                let is_loaded = segment.p_type(endian) == elf::PT_LOAD && inside < size;
                is_loaded.then(|| offset.checked_add(inside)).flatten()
            })
        };
        let lists = value(elf::DT_RPATH).chain(value(elf::DT_RUNPATH)).filter_map(|at| {
            let start = in_file(strings.checked_add(at)?)?;
            let end = start.checked_add(MAX_DYNAMIC_BYTES)?.min(cache.len().ok()?);
            cache.read_bytes_at_until(start..end, 0).ok()
        });
        Some(lists.collect::<Vec<_>>().join(&b':'))
    }
    let cache = &ReadCache::new(program);
    let lists = match FileKind::parse(cache) {
        Ok(FileKind::Elf64) => of::<elf::FileHeader64<Endianness>>(cache),
        Ok(FileKind::Elf32) => of::<elf::FileHeader32<Endianness>>(cache),
        _ => None,
    };
    let origin = path.parent().unwrap_or(path);
    let directories = lists.unwrap_or_default();
    let directories = directories.split(|byte| *byte == b':').filter_map(|directory| {
        let rest = [&b"$ORIGIN"[..], b"${ORIGIN}"].iter().find_map(|o| directory.strip_prefix(*o));
        let directory = match rest {
            Some(rest) => origin.join(OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest))),
            None => PathBuf::from(OsStr::from_bytes(directory)),
        };
        let is_fixed = !directory.as_os_str().as_bytes().contains(&b'$');
        (directory.is_absolute() && is_fixed).then_some(directory)
    });
    directories.collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_directories_that_a_program_was_linked_to_search_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("bin/program");
        fs::create_dir(directory.path().join("bin")).unwrap();
        let source = directory.path().join("main.c");
        fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        for tags in ["--enable-new-dtags", "--disable-new-dtags"] {
            let linked = Command::new("cc")
                .args([&source, Path::new("-o"), &program])
                .arg(format!("-Wl,{tags},-rpath,/opt/q/lib:$ORIGIN/../lib:/opt/$LIB:relative"))
                .status();
            if !linked.is_ok_and(|status| status.success()) {
                println!("SKIPPED: there is no C compiler");
                return;
            }
            let found = run_path(&File::open(&program).unwrap(), &program);
            let beside = directory.path().join("bin/../lib");
            assert_eq!(found, [PathBuf::from("/opt/q/lib"), beside], "{tags}");
        }
    }

    #[test]
    fn a_file_that_is_truncated_or_not_a_program_has_no_directories() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let program = fs::read("/bin/cat").unwrap();
        for length in (0..2048).chain([program.len() / 2, program.len()]) {
            fs::write(&path, &program[..length]).unwrap();
            assert!(run_path(&File::open(&path).unwrap(), &path).is_empty());
        }
    }

    #[test]
    fn the_directories_of_ldconfig_are_in_the_loaders_cache() {
        let cached = cached_directories(Path::new("/etc/ld.so.cache"), Path::to_owned);
        let own = fs::canonicalize("/proc/self/exe").unwrap();
        assert!(!cached.contains(own.parent().unwrap()));
        let libraries = ["/usr/lib", "/lib"].map(Path::new);
        assert!(
            cached.iter().any(|path| libraries.iter().any(|library| path.starts_with(library))),
            "{cached:?}"
        );
    }
}
