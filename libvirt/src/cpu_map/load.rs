//! Reading of the map.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use capscache_format::Escaped;

use super::bits::Place;
use super::tags::{Malformed, Tag, Tags, number};
use super::{Bits, CpuMap, Feature, FeatureBits, Model, Signature};
use crate::arch;
use crate::installed::Installed;
use crate::release::Release;

/// The largest file of the map in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The number of steppings, which have four bits.
const STEPPINGS: u32 = 16;

/// Error of a CPU map that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuMapError {
    /// A file cannot be read.
    #[error("cannot read {}, a file of libvirt's CPU map", Escaped::new(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file has an unexpected content.
    #[error("cannot read {}: it is not a file of libvirt's CPU map", Escaped::new(path))]
    Content {
        /// The file.
        path: PathBuf,
    },
}

impl CpuMap {
    /// The folder of the map that an installed libvirt has.
    pub const FOLDER: &str = "/usr/share/libvirt/cpu_map";

    /// Reads the map in a folder: [`CpuMap::FOLDER`].
    ///
    /// # Errors
    /// [`CpuMapError`].
    pub fn read(folder: &Path) -> Result<CpuMap, CpuMapError> {
        CpuMap::read_until(folder, "x86", |_| false)
    }

    /// Reads the part of the map that an architecture of libvirt's has; empty if it has none.
    ///
    /// # Errors
    /// [`CpuMapError`].
    pub fn read_for(folder: &Path, arch: &str) -> Result<CpuMap, CpuMapError> {
        match arch {
            _ if arch::is_x86(arch) => CpuMap::read(folder),
            _ if arch::is_ppc64(arch) => CpuMap::read_until(folder, "ppc64", |_| false),
            _ => Ok(CpuMap::default()),
        }
    }

    /// Reads the part of the installed map that an architecture of libvirt's has; `None` if no map is installed.
    ///
    /// # Errors
    /// [`CpuMapError`].
    pub fn installed_for(arch: &str) -> Result<Option<CpuMap>, CpuMapError> {
        let is_missing = |error: &CpuMapError| matches!(error, CpuMapError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound);
        match CpuMap::read_for(Path::new(CpuMap::FOLDER), arch) {
            Err(error) if is_missing(&error) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Reads the part of a release's map that an architecture of libvirt's has: of that in `folder`, else of the installed
    /// one, if that release is installed. `None` if there is none.
    ///
    /// # Errors
    /// [`CpuMapError`].
    pub fn of_release(
        release: Release,
        arch: &str,
        folder: Option<&Path>,
    ) -> Result<Option<CpuMap>, CpuMapError> {
        if let Some(folder) = folder {
            return CpuMap::read_for(folder, arch).map(Some);
        }
        let is_it = |libvirt: Installed| libvirt.release().ok() == Some(release);
        match Installed::on_this_host().is_some_and(is_it) {
            true => CpuMap::installed_for(arch),
            // A map does not name its release.
            false => Ok(None),
        }
    }

    /// Reads the part of the map that has features of these names; all of it if one is not there.
    ///
    /// # Errors
    /// [`CpuMapError`].
    pub fn read_features(folder: &Path, names: &[&str]) -> Result<CpuMap, CpuMapError> {
        CpuMap::read_until(folder, "x86", |map| names.iter().all(|name| map.has_feature(name)))
    }

    fn read_until(
        folder: &Path,
        arch: &str,
        is_enough: impl Fn(&CpuMap) -> bool,
    ) -> Result<CpuMap, CpuMapError> {
        let mut map = CpuMap::default();
        let mut text = String::new();
        let mut includes = Vec::new();
        read_file(&folder.join("index.xml"), &mut text, |tags| {
            read_index(tags, arch, &mut includes)
        })?;
        for include in includes {
            if is_enough(&map) {
                break;
            }
            // A name leads to no other folder.
            let name = Path::new(&include).file_name().unwrap_or_default();
            read_file(&folder.join(name), &mut text, |tags| map.add(tags))?;
        }
        Ok(map)
    }

    /// Adds what a file has.
    pub(super) fn add(&mut self, tags: &mut Tags<'_>) -> Result<(), Malformed> {
        let Some(root) = tags.child()? else { return Ok(()) };
        while let Some(tag) = tags.child_of(&root)? {
            match tag.name {
                "vendor" => {
                    // Only CPUs of x86 have a string.
                    let string = tag.attribute("string")?.unwrap_or_default();
                    self.vendors.push((string.to_owned(), tag.required("name")?.to_owned()));
                    tags.skip(&tag)?;
                }
                "feature" => self.add_feature(tags, &tag)?,
                "model" => self.add_model(tags, &tag)?,
                _ => tags.skip(&tag)?,
            }
        }
        Ok(())
    }

    fn add_feature(&mut self, tags: &mut Tags<'_>, tag: &Tag<'_>) -> Result<(), Malformed> {
        let name = tag.required("name")?;
        let mut bits = FeatureBits::new();
        while let Some(child) = tags.child_of(tag)? {
            let (mut registers, mut leaf) = ([0; 4], [0; 2]);
            child.read(|name, value| {
                let place = match name {
                    "eax" => &mut registers[0],
                    "ebx" => &mut registers[1],
                    "ecx" => &mut registers[2],
                    "edx" => &mut registers[3],
                    "eax_in" | "index" => &mut leaf[0],
                    "ecx_in" => &mut leaf[1],
                    _ => return Ok(()),
                };
                *place = number(value)?;
                Ok(())
            })?;
            let [function, index] = leaf;
            for (value, register) in registers.into_iter().zip(0..).filter(|(value, _)| *value != 0)
            {
                let place = match child.name {
                    "msr" => Place::Msr { index: function, register },
                    "cpuid" => Place::Cpuid { function, index, register },
                    _ => continue,
                };
                bits.push((self.position(place), value));
            }
            tags.skip(&child)?;
        }
        let can_migrate = !tag.is("migratable", "no")?;
        self.positions.insert(name.to_owned(), self.features.len());
        self.features.push(Feature { name: name.to_owned(), bits, can_migrate });
        Ok(())
    }

    /// Returns the position of a register in sets of bits.
    fn position(&mut self, place: Place) -> usize {
        // The last one is the most frequent.
        self.places.iter().rposition(|other| *other == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }

    fn add_model(&mut self, tags: &mut Tags<'_>, tag: &Tag<'_>) -> Result<(), Malformed> {
        let mut model = Model { name: tag.required("name")?.to_owned(), ..Model::default() };
        let (mut ancestor, mut own, mut is_alias) = (None, Bits::default(), true);
        while let Some(child) = tags.child_of(tag)? {
            is_alias &= !["signature", "vendor", "feature"].contains(&child.name);
            match child.name {
                "check" => model.is_compared = child.is("partial", "compat")?,
                "decode" => model.is_for_guests = child.is("guest", "on")?,
                "model" => ancestor = Some(child.required("name")?),
                "signature" => model.signatures.push(signature(&child)?),
                "vendor" => model.vendor = Some(self.vendor(child.required("name")?)?),
                "feature" => self.add_to(&mut model, &mut own, &child)?,
                _ => {}
            }
            tags.skip(&child)?;
        }
        if let Some(ancestor) = ancestor {
            self.inherit(&mut model, self.model(ancestor).ok_or(Malformed)?);
            let named = self.models.iter_mut().find(|model| model.name == ancestor);
            if let Some(ancestor) = named.filter(|_| is_alias) {
                ancestor.canonical = Some(model.name.clone());
            }
        }
        model.bits.add_all(&own);
        self.models.push(model);
        Ok(())
    }

    fn add_to(&self, model: &mut Model, own: &mut Bits, tag: &Tag<'_>) -> Result<(), Malformed> {
        let (mut feature, mut is_removed, mut is_added) = ("", false, false);
        tag.read(|name, value| {
            match name {
                "name" => feature = value,
                "removed" => is_removed = value == "yes",
                "added" => is_added = value == "yes",
                _ => {}
            }
            Ok(())
        })?;
        if is_removed {
            model.removed.push(feature.to_owned());
        } else if !is_added {
            own.add(&self.feature(feature).ok_or(Malformed)?.bits);
        }
        Ok(())
    }

    fn vendor(&self, name: &str) -> Result<usize, Malformed> {
        self.vendors.iter().position(|(_, vendor)| vendor == name).ok_or(Malformed)
    }

    /// Gives a model what another one has, without features that QEMU removed.
    fn inherit(&self, model: &mut Model, ancestor: &Model) {
        model.vendor = model.vendor.or(ancestor.vendor);
        if model.signatures.is_empty() {
            model.signatures.clone_from(&ancestor.signatures);
        }
        model.bits = ancestor.bits.clone();
        for feature in ancestor.removed.iter().filter_map(|name| self.feature(name)) {
            model.bits.subtract(&feature.bits);
        }
    }
}

/// Reads the tags of a file.
fn read_file(
    path: &Path,
    text: &mut String,
    read: impl FnOnce(&mut Tags<'_>) -> Result<(), Malformed>,
) -> Result<(), CpuMapError> {
    text.clear();
    let bytes = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(text));
    let path = || path.to_owned();
    bytes.map_err(|source| CpuMapError::Read { path: path(), source })?;
    read(&mut Tags::new(text)).map_err(|Malformed| CpuMapError::Content { path: path() })
}

/// Reads the names of files, some of which are in groups.
fn read_index(
    tags: &mut Tags<'_>,
    arch: &str,
    includes: &mut Vec<String>,
) -> Result<(), Malformed> {
    let Some(root) = tags.child()? else { return Err(Malformed) };
    while let Some(part) = tags.child_of(&root)? {
        if !part.is("name", arch)? {
            tags.skip(&part)?;
            continue;
        }
        while let Some(child) = tags.child_of(&part)? {
            if child.name == "group" {
                while let Some(include) = tags.child_of(&child)? {
                    add_include(tags, &include, includes)?;
                }
            } else {
                add_include(tags, &child, includes)?;
            }
        }
    }
    Ok(())
}

fn add_include(
    tags: &mut Tags<'_>,
    tag: &Tag<'_>,
    includes: &mut Vec<String>,
) -> Result<(), Malformed> {
    if tag.name == "include" {
        includes.push(tag.required("filename")?.to_owned());
    }
    tags.skip(tag)
}

fn signature(tag: &Tag<'_>) -> Result<Signature, Malformed> {
    let mut steppings = 0;
    for part in tag.attribute("stepping")?.into_iter().flat_map(|text| text.split(',')) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        (first..=last.min(STEPPINGS - 1)).for_each(|stepping| steppings |= 1 << stepping);
    }
    let (family, model) = (number(tag.required("family")?)?, number(tag.required("model")?)?);
    Ok(Signature { family, model, steppings })
}
