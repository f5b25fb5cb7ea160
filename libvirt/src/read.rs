//! Reading of `<qemuCaps>` documents as libvirt reads them: elements in any order, unknown ones ignored,
//! strict where libvirt is strict.

use std::collections::HashSet;

use crate::arch;
use crate::caps::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, EnlightenmentValues, Gic, HYPERV,
    HostCpu, Machine, Msr, QemuCaps, Sev, Sgx, SgxSection,
};
use crate::flags::find;
use crate::release::{Deprecated, Release};
use crate::xml::{Element, MAX_XML_BYTES, XmlError, XmlReader, is_xml, parse_number};

impl QemuCaps {
    /// Reads a `<qemuCaps>` document as a release of libvirt does: elements and attributes that it does not
    /// know are ignored. Which release wrote it is in `self_version`, which is not checked.
    ///
    /// # Errors
    /// [`XmlError`]. A flag of a later release is one, a flag that libvirt retired is not.
    pub fn from_xml(text: &str, release: Release) -> Result<QemuCaps, XmlError> {
        if text.len() > MAX_XML_BYTES {
            return Err(XmlError::TooLong);
        }
        if let Some((at, character)) = text.char_indices().find(|(_, one)| !is_xml(*one)) {
            let what = format!("U+{:04X} is not a character of XML", u32::from(character));
            return Err(XmlError::Syntax { at: at as u64, what });
        }
        let caps = XmlReader::new(text).document(release)?;
        // Without these libvirt probes the emulator again.
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

/// The elements that libvirt requires.
const REQUIRED: [(&str, &str); 7] = [
    ("emulator", "<emulator>"),
    ("qemuctime", "<qemuctime>"),
    ("selfctime", "<selfctime>"),
    ("selfvers", "<selfvers>"),
    ("version", "<version>"),
    ("microcodeVersion", "<microcodeVersion>"),
    ("arch", "<arch>"),
];

/// The elements that a document has several of in one place; of all others libvirt reads the first.
const REPEATED: [&str; 13] = [
    "flag",
    "hostCPU",
    "cpu",
    "machine",
    "gic",
    "property",
    "deprecatedFeatures",
    "hostDeprecatedFeatures",
    "blocker",
    "cpuid",
    "msr",
    "cap",
    "section",
];

impl<'t> XmlReader<'t> {
    fn document(&mut self, release: Release) -> Result<QemuCaps, XmlError> {
        let root = self.child()?.ok_or(XmlError::Missing { what: "<qemuCaps>" })?;
        if root.name() != "qemuCaps" {
            return Err(XmlError::Root { found: root.name().to_owned() });
        }
        if root.has_namespace()? {
            return Err(XmlError::Missing { what: "<qemuCaps> without a namespace" });
        }
        let mut caps = QemuCaps { release, ..QemuCaps::default() };
        let mut missing = REQUIRED.to_vec();
        self.children(&root, |xml, element| {
            missing.retain(|(name, _)| *name != element.name());
            xml.top_level(element, &mut caps)
        })?;
        if self.child()?.is_some() {
            return Err(self.syntax("a second root"));
        }
        match missing.first() {
            Some((_, what)) => Err(XmlError::Missing { what }),
            None => Ok(caps),
        }
    }

    /// Calls `read` for each child element that libvirt reads, which it must read to the end.
    fn children(
        &mut self,
        parent: &Element<'t>,
        mut read: impl FnMut(&mut Self, Element<'t>) -> Result<(), XmlError>,
    ) -> Result<(), XmlError> {
        if parent.is_empty {
            return Ok(());
        }
        let mut seen = HashSet::new();
        while let Some(child) = self.child()? {
            let name = child.name();
            let is_first = REPEATED.contains(&name) || seen.insert(name.to_owned());
            match is_first && !child.has_namespace()? {
                true => read(self, child)?,
                false => self.skip(&child)?,
            }
        }
        Ok(())
    }

    fn top_level(&mut self, element: Element<'t>, caps: &mut QemuCaps) -> Result<(), XmlError> {
        match element.name() {
            "emulator" => caps.emulator = self.text(&element)?,
            "qemuctime" => caps.qemu_ctime = self.number(&element, "<qemuctime>")?,
            // What is not a number counts as none.
            "qemumoddirmtime" => {
                caps.module_directory_mtime =
                    parse_number(self.text(&element)?, "<qemumoddirmtime>").unwrap_or(0);
            }
            "selfctime" => caps.self_ctime = self.number(&element, "<selfctime>")?,
            "selfvers" => caps.self_version = self.number(&element, "<selfvers>")?,
            "flag" => {
                let name = element.required("name", "flag@name")?;
                let is_known = find(&name).is_some_and(|flag| flag.since <= caps.release);
                if !is_known || !caps.flags.insert(&name) {
                    return Err(XmlError::Value { what: "flag@name", found: name });
                }
                self.skip(&element)?;
            }
            "version" => caps.version = self.number(&element, "<version>")?,
            "microcodeVersion" => {
                caps.microcode_version = self.number(&element, "<microcodeVersion>")?;
            }
            "hostCPUSignature" => caps.host_cpu_signature = Some(self.text(&element)?),
            "package" => caps.package = self.text(&element)?,
            "kernelVersion" => caps.kernel_version = Some(self.text(&element)?),
            "cpudata" => caps.cpu_data = Some(self.cpu_data(&element)?),
            "arch" => {
                caps.arch = self.text(&element)?;
                if arch::name(&caps.arch, caps.release) != Some(&caps.arch) {
                    let found = std::mem::take(&mut caps.arch);
                    return Err(XmlError::Value { what: "<arch>", found });
                }
            }
            "hostCPU" | "cpu" | "machine" => self.per_accelerator(&element, caps)?,
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
            "hypervCapabilities" => {
                (caps.hyperv, caps.hyperv_values) = self.hyperv(&element, caps.release)?;
            }
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

    fn per_accelerator(
        &mut self,
        element: &Element<'t>,
        caps: &mut QemuCaps,
    ) -> Result<(), XmlError> {
        let release = caps.release;
        let kind = element.attribute("type")?;
        let AcceleratorCaps { host_cpu, cpus, machines } = match kind.as_deref() {
            Some("kvm") => &mut caps.kvm,
            Some("hvf") => &mut caps.hvf,
            Some("tcg") => &mut caps.tcg,
            _ => return self.skip(element),
        };
        match element.name() {
            "hostCPU" if host_cpu.is_none() => *host_cpu = Some(self.host_cpu(element, release)?),
            "hostCPU" => self.skip(element)?,
            "cpu" => cpus.push(self.cpu(element)?),
            _ => {
                machines.push(machine(element, release)?);
                self.skip(element)?;
            }
        }
        Ok(())
    }

    fn host_cpu(&mut self, element: &Element<'t>, release: Release) -> Result<HostCpu, XmlError> {
        let lists = release.facts().deprecated;
        let mut cpu = HostCpu {
            model: element.required("model", "hostCPU@model")?,
            migratability: element.yes_no("migratability", "hostCPU@migratability")?,
            ..HostCpu::default()
        };
        self.children(element, |xml, child| match child.name() {
            "property" => {
                cpu.properties.push(property(&child)?);
                xml.skip(&child)
            }
            "deprecatedFeatures" if lists != Deprecated::Absent => {
                xml.names(&child, &mut cpu.deprecated)
            }
            "hostDeprecatedFeatures" if lists == Deprecated::Separate => {
                xml.names(&child, &mut cpu.host_deprecated)
            }
            _ => xml.skip(&child),
        })?;
        Ok(cpu)
    }

    /// Reads the names of properties in an element.
    fn names(&mut self, element: &Element<'t>, names: &mut Vec<String>) -> Result<(), XmlError> {
        self.children(element, |xml, feature| {
            if feature.name() == "property" {
                names.push(feature.required("name", "property@name")?);
            }
            xml.skip(&feature)
        })
    }

    fn cpu(&mut self, element: &Element<'t>) -> Result<Cpu, XmlError> {
        let mut cpu = Cpu {
            name: element.required("name", "cpu@name")?,
            typename: element.attribute("typename")?,
            usable: element.optional_yes_no("usable", "cpu@usable")?,
            deprecated: element.optional_yes_no("deprecated", "cpu@deprecated")?.unwrap_or(false),
            blockers: Vec::new(),
        };
        self.children(element, |xml, child| {
            if child.name() == "blocker" {
                cpu.blockers.push(child.required("name", "blocker@name")?);
            }
            xml.skip(&child)
        })?;
        Ok(cpu)
    }

    fn cpu_data(&mut self, element: &Element<'t>) -> Result<CpuData, XmlError> {
        let mut data = CpuData::default();
        self.children(element, |xml, child| {
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
            xml.skip(&child)
        })?;
        Ok(data)
    }

    fn sev(&mut self, element: &Element<'t>) -> Result<Sev, XmlError> {
        let (mut cbitpos, mut reduced, mut pdh, mut chain, mut id) = (None, None, None, None, None);
        self.children(element, |xml, child| {
            match child.name() {
                "cbitpos" => cbitpos = Some(xml.number(&child, "<cbitpos>")?),
                "reducedPhysBits" => reduced = Some(xml.number(&child, "<reducedPhysBits>")?),
                "pdh" => pdh = Some(xml.text(&child)?),
                "certChain" => chain = Some(xml.text(&child)?),
                "cpu0Id" => id = Some(xml.text(&child)?),
                _ => xml.skip(&child)?,
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
        self.children(element, |xml, child| {
            match child.name() {
                "flc" => sgx.flc = xml.yes_no_text(&child, "<flc>")?,
                "sgx1" => sgx.sgx1 = xml.yes_no_text(&child, "<sgx1>")?,
                "sgx2" => sgx.sgx2 = xml.yes_no_text(&child, "<sgx2>")?,
                "section_size" => {
                    sgx.section_size = xml.number(&child, "<section_size>")?;
                    has_size = true;
                }
                "sections" => xml.children(&child, |xml, section| {
                    if section.name() == "section" {
                        sgx.sections.push(SgxSection {
                            node: section.parsed("node", "section@node")?,
                            size: section.parsed("size", "section@size")?,
                        });
                    }
                    xml.skip(&section)
                })?,
                _ => xml.skip(&child)?,
            }
            Ok(())
        })?;
        if has_size { Ok(sgx) } else { Err(XmlError::Missing { what: "<section_size> in <sgx>" }) }
    }

    /// Returns the enlightenments in libvirt's order, and their values.
    fn hyperv(
        &mut self,
        element: &Element<'t>,
        release: Release,
    ) -> Result<(Vec<String>, EnlightenmentValues), XmlError> {
        let known = &HYPERV[..release.facts().enlightenments];
        let has_values = release.facts().has_enlightenment_values;
        let mut names: Vec<String> = Vec::new();
        let mut values = EnlightenmentValues::default();
        self.children(element, |xml, child| {
            match child.name() {
                "cap" => {
                    let name = child.required("name", "cap@name")?;
                    if !known.contains(&name.as_str()) {
                        return Err(XmlError::Value { what: "cap@name", found: name });
                    }
                    names.push(name);
                    xml.skip(&child)?;
                }
                _ if !has_values => xml.skip(&child)?,
                "spinlocks" => values.spinlocks = xml.number(&child, "<spinlocks>")?,
                "stimer_direct" => values.stimer_direct = xml.on_off(&child, "<stimer_direct>")?,
                "tlbflush_direct" => {
                    values.tlbflush_direct = xml.on_off(&child, "<tlbflush_direct>")?;
                }
                "tlbflush_extended" => {
                    values.tlbflush_extended = xml.on_off(&child, "<tlbflush_extended>")?;
                }
                "vendor_id" => {
                    values.vendor_id = Some(xml.text(&child)?).filter(|text| !text.is_empty());
                }
                _ => xml.skip(&child)?,
            }
            Ok(())
        })?;
        let ordered = known.iter().filter(|one| names.iter().any(|name| name == *one));
        Ok((ordered.map(|one| (*one).to_owned()).collect(), values))
    }

    fn on_off(
        &mut self,
        element: &Element<'t>,
        what: &'static str,
    ) -> Result<Option<bool>, XmlError> {
        match self.text(element)?.as_str() {
            "on" => Ok(Some(true)),
            "off" => Ok(Some(false)),
            other => Err(XmlError::Value { what, found: other.to_owned() }),
        }
    }
}

fn machine(element: &Element<'_>, release: Release) -> Result<Machine, XmlError> {
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
        acpi: if release.facts().has_acpi {
            element.optional_yes_no("acpi", "machine@acpi")?
        } else {
            None
        },
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
        "number" => CpuValue::Number(parse_number(value, what)?),
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
