//! The XML that libvirt writes, read as libvirt reads it: elements in any order, unknown ones ignored,
//! strict where libvirt is strict.

use std::str::FromStr;

use capscache_format::Escaped;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::arch;
use crate::caps::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, Gic, HYPERV, HostCpu, Machine,
    Msr, QemuCaps, Sev, Sgx, SgxSection,
};

/// More than any file that libvirt writes: the largest known has 400 KB.
pub const MAX_XML_BYTES: usize = 64 << 20;

/// Elements that stand in one another; libvirt's file has four levels.
const MAX_DEPTH: usize = 32;

/// Why a text is no `<qemuCaps>` document.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// It is too long.
    #[error("{bytes} bytes are more than a cache file of libvirt's can have ({MAX_XML_BYTES})")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It is not well formed.
    #[error("not XML at byte {at}: {}", Escaped::new(what))]
    Syntax {
        /// Where.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// It has a document type, which no cache file has: entities could grow without bound.
    #[error("a document type at byte {at}: no cache file of libvirt's has one")]
    DocumentType {
        /// Where.
        at: u64,
    },
    /// Its root is another element.
    #[error("the root is <{}>, not <qemuCaps>", Escaped::new(found))]
    Root {
        /// The root's name.
        found: String,
    },
    /// Something is missing without which libvirt does not believe the file.
    #[error("there is no {what}")]
    Missing {
        /// An element, or an attribute of one.
        what: &'static str,
    },
    /// Something has a value that it cannot have.
    #[error("{what} cannot be {found:?}")]
    Value {
        /// An element, or an attribute of one.
        what: &'static str,
        /// What it is.
        found: String,
    },
}

impl QemuCaps {
    /// What a `<qemuCaps>` document says.
    ///
    /// # Errors
    /// [`XmlError`]. A flag that libvirt retired is none.
    pub fn from_xml(text: &str) -> Result<QemuCaps, XmlError> {
        if text.len() > MAX_XML_BYTES {
            return Err(XmlError::TooLong { bytes: text.len() });
        }
        let mut file = File { reader: Reader::from_str(text), depth: 0 };
        file.reader.config_mut().enable_all_checks(true);
        let caps = file.document()?;
        // Without these libvirt asks the emulator again.
        let has = |name: &str| caps.flags.get(name) == Some(true);
        if has("sev-guest") && caps.sev.is_none() {
            return Err(XmlError::Missing { what: "<sev> beside the flag sev-guest" });
        }
        if has("sgx-epc") && caps.sgx.is_none() {
            return Err(XmlError::Missing { what: "<sgx> beside the flag sgx-epc" });
        }
        Ok(caps)
    }
}

struct File<'t> {
    reader: Reader<&'t [u8]>,
    depth: usize,
}

/// An element that began, and whether it ended at once.
struct Element<'t> {
    tag: BytesStart<'t>,
    is_empty: bool,
    /// Where its tag ends in the file.
    at: u64,
}

/// The mandatory elements, as far as they were seen.
#[derive(Default)]
struct Seen {
    emulator: bool,
    qemu_ctime: bool,
    self_ctime: bool,
    self_version: bool,
    version: bool,
    microcode_version: bool,
    arch: bool,
}

impl<'t> File<'t> {
    fn document(&mut self) -> Result<QemuCaps, XmlError> {
        let root = self.child()?.ok_or(XmlError::Missing { what: "<qemuCaps>" })?;
        if root.name() != "qemuCaps" {
            return Err(XmlError::Root { found: root.name().to_owned() });
        }
        let mut caps = QemuCaps::default();
        let mut seen = Seen::default();
        if !root.is_empty {
            while let Some(element) = self.child()? {
                self.top_level(element, &mut caps, &mut seen)?;
            }
        }
        if self.child()?.is_some() {
            return Err(self.syntax("a second root"));
        }
        for (is_there, what) in [
            (seen.emulator, "<emulator>"),
            (seen.qemu_ctime, "<qemuctime>"),
            (seen.self_ctime, "<selfctime>"),
            (seen.self_version, "<selfvers>"),
            (seen.version, "<version>"),
            (seen.microcode_version, "<microcodeVersion>"),
            (seen.arch, "<arch>"),
        ] {
            if !is_there {
                return Err(XmlError::Missing { what });
            }
        }
        Ok(caps)
    }

    fn top_level(
        &mut self,
        element: Element<'t>,
        caps: &mut QemuCaps,
        seen: &mut Seen,
    ) -> Result<(), XmlError> {
        match element.name() {
            "emulator" => {
                caps.emulator = self.text(&element)?;
                seen.emulator = true;
            }
            "qemuctime" => {
                caps.qemu_ctime = self.number(&element, "<qemuctime>")?;
                seen.qemu_ctime = true;
            }
            "qemumoddirmtime" => {
                caps.module_directory_mtime = self.number(&element, "<qemumoddirmtime>")?;
            }
            "selfctime" => {
                caps.self_ctime = self.number(&element, "<selfctime>")?;
                seen.self_ctime = true;
            }
            "selfvers" => {
                caps.self_version = self.number(&element, "<selfvers>")?;
                seen.self_version = true;
            }
            "flag" => {
                let name = element.required("name", "flag@name")?;
                if !caps.flags.insert(&name) {
                    return Err(XmlError::Value { what: "flag@name", found: name });
                }
                self.skip(&element)?;
            }
            "version" => {
                caps.version = self.number(&element, "<version>")?;
                seen.version = true;
            }
            "microcodeVersion" => {
                caps.microcode_version = self.number(&element, "<microcodeVersion>")?;
                seen.microcode_version = true;
            }
            "hostCPUSignature" => caps.host_cpu_signature = Some(self.text(&element)?),
            "package" => caps.package = self.text(&element)?,
            "kernelVersion" => caps.kernel_version = Some(self.text(&element)?),
            "cpudata" => caps.cpu_data = Some(self.cpu_data(&element)?),
            "arch" => {
                caps.arch = self.text(&element)?;
                if arch::name(&caps.arch) != Some(&caps.arch) {
                    let found = std::mem::take(&mut caps.arch);
                    return Err(XmlError::Value { what: "<arch>", found });
                }
                seen.arch = true;
            }
            "hostCPU" | "cpu" | "machine" => self.of_accelerator(&element, caps)?,
            "gic" => {
                caps.gic.push(Gic {
                    version: element.parsed("version", "gic@version")?,
                    kernel: element.yes_no("kernel", "gic@kernel")?,
                    emulated: element.yes_no("emulated", "gic@emulated")?,
                });
                self.skip(&element)?;
            }
            "sev" => caps.sev = Some(self.sev(&element)?),
            "sgx" => caps.sgx = Some(self.sgx(&element)?),
            "hypervCapabilities" => caps.hyperv = self.hyperv(&element)?,
            "kvmSupportsNesting" => {
                caps.kvm_supports_nesting = true;
                self.skip(&element)?;
            }
            "kvmSupportsSecureGuest" => {
                caps.kvm_supports_secure_guest = true;
                self.skip(&element)?;
            }
            _ => self.skip(&element)?,
        }
        Ok(())
    }

    fn of_accelerator(
        &mut self,
        element: &Element<'t>,
        caps: &mut QemuCaps,
    ) -> Result<(), XmlError> {
        let kind = element.required("type", "@type of an accelerator")?;
        let AcceleratorCaps { host_cpu, cpus, machines } = match kind.as_str() {
            "kvm" => &mut caps.kvm,
            "hvf" => &mut caps.hvf,
            "tcg" => &mut caps.tcg,
            _ => return self.skip(element),
        };
        match element.name() {
            "hostCPU" => *host_cpu = Some(self.host_cpu(element)?),
            "cpu" => cpus.push(self.cpu(element)?),
            _ => {
                machines.push(machine(element)?);
                self.skip(element)?;
            }
        }
        Ok(())
    }

    fn host_cpu(&mut self, element: &Element<'t>) -> Result<HostCpu, XmlError> {
        let mut cpu = HostCpu {
            model: element.required("model", "hostCPU@model")?,
            migratability: element.yes_no("migratability", "hostCPU@migratability")?,
            ..HostCpu::default()
        };
        self.children(element, |file, child| match child.name() {
            "property" => {
                cpu.properties.push(property(&child)?);
                file.skip(&child)
            }
            "deprecatedFeatures" => file.children(&child, |file, feature| {
                if feature.name() == "property" {
                    cpu.deprecated.push(feature.required("name", "property@name")?);
                }
                file.skip(&feature)
            }),
            _ => file.skip(&child),
        })?;
        Ok(cpu)
    }

    fn cpu(&mut self, element: &Element<'t>) -> Result<Cpu, XmlError> {
        let mut cpu = Cpu {
            name: element.required("name", "cpu@name")?,
            typename: element.attribute("typename")?,
            usable: element.optional_yes_no("usable", "cpu@usable")?,
            deprecated: element.optional_yes_no("deprecated", "cpu@deprecated")?.unwrap_or(false),
            blockers: Vec::new(),
        };
        self.children(element, |file, child| {
            if child.name() == "blocker" {
                cpu.blockers.push(child.required("name", "blocker@name")?);
            }
            file.skip(&child)
        })?;
        Ok(cpu)
    }

    fn cpu_data(&mut self, element: &Element<'t>) -> Result<CpuData, XmlError> {
        let mut data = CpuData::default();
        self.children(element, |file, child| {
            let number = |name, what| child.hexadecimal(name, what);
            match child.name() {
                "cpuid" => data.cpuid.push(Cpuid {
                    eax_in: number("eax_in", "cpuid@eax_in")?,
                    ecx_in: number("ecx_in", "cpuid@ecx_in")?,
                    eax: number("eax", "cpuid@eax")?,
                    ebx: number("ebx", "cpuid@ebx")?,
                    ecx: number("ecx", "cpuid@ecx")?,
                    edx: number("edx", "cpuid@edx")?,
                }),
                "msr" => data.msrs.push(Msr {
                    index: number("index", "msr@index")?,
                    eax: number("eax", "msr@eax")?,
                    edx: number("edx", "msr@edx")?,
                }),
                _ => {}
            }
            file.skip(&child)
        })?;
        Ok(data)
    }

    fn sev(&mut self, element: &Element<'t>) -> Result<Sev, XmlError> {
        let (mut cbitpos, mut reduced, mut pdh, mut chain, mut id) = (None, None, None, None, None);
        self.children(element, |file, child| {
            match child.name() {
                "cbitpos" => cbitpos = Some(file.number(&child, "<cbitpos>")?),
                "reducedPhysBits" => reduced = Some(file.number(&child, "<reducedPhysBits>")?),
                "pdh" => pdh = Some(file.text(&child)?),
                "certChain" => chain = Some(file.text(&child)?),
                "cpu0Id" => id = Some(file.text(&child)?),
                _ => file.skip(&child)?,
            }
            Ok(())
        })?;
        Ok(Sev {
            cbitpos: cbitpos.ok_or(XmlError::Missing { what: "<cbitpos> in <sev>" })?,
            reduced_phys_bits: reduced
                .ok_or(XmlError::Missing { what: "<reducedPhysBits> in <sev>" })?,
            pdh: pdh.ok_or(XmlError::Missing { what: "<pdh> in <sev>" })?,
            cert_chain: chain.ok_or(XmlError::Missing { what: "<certChain> in <sev>" })?,
            cpu0_id: id,
        })
    }

    fn sgx(&mut self, element: &Element<'t>) -> Result<Sgx, XmlError> {
        let mut sgx = Sgx::default();
        let mut has_size = false;
        self.children(element, |file, child| {
            match child.name() {
                "flc" => sgx.flc = file.yes_no_text(&child, "<flc>")?,
                "sgx1" => sgx.sgx1 = file.yes_no_text(&child, "<sgx1>")?,
                "sgx2" => sgx.sgx2 = file.yes_no_text(&child, "<sgx2>")?,
                "section_size" => {
                    sgx.section_size = file.number(&child, "<section_size>")?;
                    has_size = true;
                }
                "sections" => file.children(&child, |file, section| {
                    if section.name() == "section" {
                        sgx.sections.push(SgxSection {
                            node: section.parsed("node", "section@node")?,
                            size: section.parsed("size", "section@size")?,
                        });
                    }
                    file.skip(&section)
                })?,
                _ => file.skip(&child)?,
            }
            Ok(())
        })?;
        if has_size { Ok(sgx) } else { Err(XmlError::Missing { what: "<section_size> in <sgx>" }) }
    }

    /// In libvirt's order, whatever the file's is.
    fn hyperv(&mut self, element: &Element<'t>) -> Result<Vec<String>, XmlError> {
        let mut names: Vec<String> = Vec::new();
        self.children(element, |file, child| {
            if child.name() == "cap" {
                let name = child.required("name", "cap@name")?;
                if !HYPERV.contains(&name.as_str()) {
                    return Err(XmlError::Value { what: "cap@name", found: name });
                }
                names.push(name);
            }
            file.skip(&child)
        })?;
        let known = HYPERV.iter().filter(|known| names.iter().any(|name| name == *known));
        Ok(known.map(|known| (*known).to_owned()).collect())
    }

    /// Hands out the elements in an element, each of which has to be read to its end.
    fn children(
        &mut self,
        parent: &Element<'t>,
        mut read: impl FnMut(&mut Self, Element<'t>) -> Result<(), XmlError>,
    ) -> Result<(), XmlError> {
        if parent.is_empty {
            return Ok(());
        }
        while let Some(child) = self.child()? {
            read(self, child)?;
        }
        Ok(())
    }

    /// The next element at this level; `None` at the end of the one around it.
    fn child(&mut self) -> Result<Option<Element<'t>>, XmlError> {
        loop {
            match self.event()? {
                Event::Start(tag) => {
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(self.syntax("elements are nested too deeply"));
                    }
                    let at = self.reader.buffer_position();
                    return Ok(Some(Element { tag, is_empty: false, at }));
                }
                Event::Empty(tag) => {
                    let at = self.reader.buffer_position();
                    return Ok(Some(Element { tag, is_empty: true, at }));
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Eof if self.depth > 0 => return Err(self.syntax("the text ends too early")),
                Event::Eof => return Ok(None),
                // Text between elements says nothing.
                _ => {}
            }
        }
    }

    /// Passes over the rest of an element.
    fn skip(&mut self, element: &Element<'t>) -> Result<(), XmlError> {
        let level = self.depth;
        if !element.is_empty {
            loop {
                if self.child()?.is_none() && self.depth < level {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The text in an element.
    fn text(&mut self, element: &Element<'t>) -> Result<String, XmlError> {
        let mut text = String::new();
        if element.is_empty {
            return Ok(text);
        }
        loop {
            match self.event()? {
                Event::Text(part) => text.push_str(&part.xml10_content()),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(reference) => {
                    let name: &str = &reference;
                    let resolved = quick_xml::escape::resolve_xml_entity(name).map(str::to_owned);
                    let character =
                        || Some(reference.resolve_char_ref().ok().flatten()?.to_string());
                    let resolved = resolved.or_else(character);
                    text.push_str(&resolved.ok_or_else(|| self.syntax("an unknown entity"))?);
                }
                Event::Start(tag) => {
                    self.depth += 1;
                    self.skip(&Element {
                        tag,
                        is_empty: false,
                        at: self.reader.buffer_position(),
                    })?;
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(text);
                }
                Event::Eof => return Err(self.syntax("the text ends too early")),
                _ => {}
            }
        }
    }

    fn number<N: FromStr>(
        &mut self,
        element: &Element<'t>,
        what: &'static str,
    ) -> Result<N, XmlError> {
        let text = self.text(element)?;
        text.trim().parse().map_err(|_| XmlError::Value { what, found: text })
    }

    fn yes_no_text(&mut self, element: &Element<'t>, what: &'static str) -> Result<bool, XmlError> {
        parse_yes_no(self.text(element)?, what)
    }

    fn event(&mut self) -> Result<Event<'t>, XmlError> {
        let at = self.reader.buffer_position();
        match self.reader.read_event() {
            Ok(Event::DocType(_)) => Err(XmlError::DocumentType { at }),
            Ok(event) => Ok(event),
            Err(error) => Err(self.syntax(&error.to_string())),
        }
    }

    fn syntax(&self, what: &str) -> XmlError {
        XmlError::Syntax { at: self.reader.buffer_position(), what: what.to_owned() }
    }
}

fn parse_yes_no(text: String, what: &'static str) -> Result<bool, XmlError> {
    match text.as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(XmlError::Value { what, found: text }),
    }
}

fn machine(element: &Element<'_>) -> Result<Machine, XmlError> {
    let is_yes =
        |name, what| element.optional_yes_no(name, what).map(|value| value.unwrap_or(false));
    Ok(Machine {
        name: element.required("name", "machine@name")?,
        alias: element.attribute("alias")?,
        hotplug_cpus: is_yes("hotplugCpus", "machine@hotplugCpus")?,
        max_cpus: match element.attribute("maxCpus")? {
            Some(_) => element.parsed("maxCpus", "machine@maxCpus")?,
            None => 0,
        },
        is_default: is_yes("default", "machine@default")?,
        default_cpu: element.attribute("defaultCPU")?,
        numa_mem_supported: is_yes("numaMemSupported", "machine@numaMemSupported")?,
        default_ram_id: element.attribute("defaultRAMid")?,
        deprecated: is_yes("deprecated", "machine@deprecated")?,
        acpi: element.optional_yes_no("acpi", "machine@acpi")?,
    })
}

fn property(element: &Element<'_>) -> Result<CpuProperty, XmlError> {
    let what = "property@value";
    let value = element.required("value", what)?;
    let value = match element.required("type", "property@type")?.as_str() {
        "boolean" => match value.as_str() {
            "true" => CpuValue::Boolean(true),
            "false" => CpuValue::Boolean(false),
            _ => return Err(XmlError::Value { what, found: value }),
        },
        "string" => CpuValue::String(value),
        "number" => CpuValue::Number(
            value.parse().map_err(|_| XmlError::Value { what, found: value.clone() })?,
        ),
        other => {
            return Err(XmlError::Value { what: "property@type", found: other.to_owned() });
        }
    };
    Ok(CpuProperty {
        name: element.required("name", "property@name")?,
        value,
        migratable: element.optional_yes_no("migratable", "property@migratable")?,
    })
}

impl Element<'_> {
    fn name(&self) -> &str {
        self.tag.name().into_inner()
    }

    fn attribute(&self, name: &str) -> Result<Option<String>, XmlError> {
        let wrong = |what: String| XmlError::Syntax { at: self.at, what };
        let mut found = None;
        // All of them are looked at: one that stands there twice makes no XML.
        for attribute in self.tag.attributes() {
            let attribute = attribute.map_err(|error| wrong(error.to_string()))?;
            if attribute.key.into_inner() == name {
                let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
                found = Some(value.map_err(|error| wrong(error.to_string()))?.into_owned());
            }
        }
        Ok(found)
    }

    fn required(&self, name: &str, what: &'static str) -> Result<String, XmlError> {
        self.attribute(name)?.ok_or(XmlError::Missing { what })
    }

    fn parsed<N: FromStr>(&self, name: &str, what: &'static str) -> Result<N, XmlError> {
        let text = self.required(name, what)?;
        text.parse().map_err(|_| XmlError::Value { what, found: text })
    }

    fn hexadecimal(&self, name: &str, what: &'static str) -> Result<u32, XmlError> {
        let text = self.required(name, what)?;
        let number =
            text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.ok_or(XmlError::Value { what, found: text })
    }

    fn yes_no(&self, name: &str, what: &'static str) -> Result<bool, XmlError> {
        parse_yes_no(self.required(name, what)?, what)
    }

    fn optional_yes_no(&self, name: &str, what: &'static str) -> Result<Option<bool>, XmlError> {
        self.attribute(name)?.map(|text| parse_yes_no(text, what)).transpose()
    }
}
