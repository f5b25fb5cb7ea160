//! Writing of libvirt's XML, byte for byte.

use std::borrow::Cow;
use std::iter;

use crate::caps::{
    AcceleratorCaps, CpuData, CpuValue, EnlightenmentValues, HostCpu, Machine, QemuCaps, Sgx,
};

impl QemuCaps {
    /// The `<qemuCaps>` document as libvirt writes it.
    ///
    /// Where libvirt writes text without escaping it, characters that would end it (`&`, `<`, a quote
    /// in an attribute) are escaped: libvirt could not read its own file back.
    pub fn to_xml(&self) -> String {
        let mut xml = Xml::default();
        xml.open("qemuCaps", &[]);
        xml.text("emulator", &escaped(&self.emulator));
        xml.text("qemuctime", &self.qemu_ctime.to_string());
        if self.module_directory_mtime > 0 {
            xml.text("qemumoddirmtime", &self.module_directory_mtime.to_string());
        }
        xml.text("selfctime", &self.self_ctime.to_string());
        xml.text("selfvers", &self.self_version.to_string());
        for name in self.flags.names() {
            xml.empty("flag", &[("name", name.into())]);
        }
        xml.text("version", &self.version.to_string());
        if self.release.facts().has_kvm_version {
            xml.text("kvmVersion", "0");
        }
        xml.text("microcodeVersion", &self.microcode_version.to_string());
        if let Some(signature) = &self.host_cpu_signature {
            xml.text("hostCPUSignature", &escaped(signature));
        }
        xml.text("package", &sanitized(&self.package));
        if let Some(kernel) = &self.kernel_version {
            xml.text("kernelVersion", &sanitized(kernel));
        }
        if let Some(data) = &self.cpu_data {
            xml.cpu_data(data);
        }
        xml.text("arch", &self.arch);
        for (kind, flag, caps) in
            [("kvm", "kvm", &self.kvm), ("hvf", "hvf", &self.hvf), ("tcg", "", &self.tcg)]
        {
            if flag.is_empty() || self.flags.has(flag) {
                xml.accelerator(kind, caps);
            }
        }
        self.write_host(&mut xml);
        xml.close("qemuCaps");
        xml.into_text()
    }

    fn write_host(&self, xml: &mut Xml) {
        for gic in &self.gic {
            let attributes = [
                ("version", gic.version.to_string().into()),
                ("kernel", yes_no(gic.kernel).into()),
                ("emulated", yes_no(gic.emulated).into()),
            ];
            xml.empty("gic", &attributes);
        }
        if let Some(sev) = &self.sev {
            xml.open("sev", &[]);
            xml.text("cbitpos", &sev.cbitpos.to_string());
            xml.text("reducedPhysBits", &sev.reduced_phys_bits.to_string());
            xml.text("pdh", &escaped(&sev.pdh));
            xml.text("certChain", &escaped(&sev.cert_chain));
            if let Some(id) = &sev.cpu0_id {
                xml.text("cpu0Id", &escaped(id));
            }
            xml.close("sev");
        }
        if let Some(sgx) = &self.sgx {
            xml.sgx(sgx);
        }
        if !self.hyperv.is_empty() {
            xml.open("hypervCapabilities", &[("supported", yes_no(true).into())]);
            for name in &self.hyperv {
                xml.empty("cap", &[("name", name.into())]);
            }
            xml.enlightenment_values(&self.hyperv_values);
            xml.close("hypervCapabilities");
        }
        if self.flags.has("kvm") {
            for (name, has) in [
                ("kvmSupportsNesting", self.kvm_supports_nesting),
                ("kvmSupportsSecureGuest", self.kvm_supports_secure_guest),
            ] {
                if has {
                    xml.empty(name, &[]);
                }
            }
        }
    }
}

/// A document that is written element by element, indented by two blanks a level.
#[derive(Default)]
pub(crate) struct Xml {
    text: String,
    depth: usize,
}

/// Names and escaped values.
pub(crate) type Attributes<'a> = [(&'a str, Cow<'a, str>)];

impl Xml {
    fn indent(&mut self) {
        self.text.extend(iter::repeat_n("  ", self.depth));
    }

    fn push(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.text.push_str(part));
    }

    fn begin(&mut self, name: &str, attributes: &Attributes<'_>) {
        self.indent();
        self.push(&["<", name]);
        for (key, value) in attributes {
            self.push(&[" ", key, "='", value, "'"]);
        }
    }

    pub(crate) fn open(&mut self, name: &str, attributes: &Attributes<'_>) {
        self.begin(name, attributes);
        self.text.push_str(">\n");
        self.depth += 1;
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.indent();
        self.push(&["</", name, ">\n"]);
    }

    pub(crate) fn empty(&mut self, name: &str, attributes: &Attributes<'_>) {
        self.begin(name, attributes);
        self.text.push_str("/>\n");
    }

    pub(crate) fn text(&mut self, name: &str, content: &str) {
        self.text_with(name, &[], content);
    }

    pub(crate) fn text_with(&mut self, name: &str, attributes: &Attributes<'_>, content: &str) {
        self.begin(name, attributes);
        self.push(&[">", content, "</", name, ">\n"]);
    }

    /// Writes a comment, which has no two hyphens in a row.
    pub(crate) fn comment(&mut self, text: &str) {
        self.indent();
        self.push(&["<!-- ", text, " -->\n"]);
    }

    /// Returns the document.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Writes Intel's enclaves.
    pub(crate) fn sgx(&mut self, sgx: &Sgx) {
        self.open("sgx", &[("supported", yes_no(true).into())]);
        for (name, has) in [("flc", sgx.flc), ("sgx1", sgx.sgx1), ("sgx2", sgx.sgx2)] {
            self.text(name, yes_no(has));
        }
        self.text_with("section_size", &[("unit", "KiB".into())], &sgx.section_size.to_string());
        if !sgx.sections.is_empty() {
            self.open("sections", &[]);
            for section in &sgx.sections {
                let attributes = [
                    ("node", section.node.to_string().into()),
                    ("size", section.size.to_string().into()),
                    ("unit", "KiB".into()),
                ];
                self.empty("section", &attributes);
            }
            self.close("sections");
        }
        self.close("sgx");
    }

    fn cpu_data(&mut self, data: &CpuData) {
        self.open("cpudata", &[("arch", "x86".into())]);
        let hex = |value: u32| Cow::from(format!("{value:#010x}"));
        for leaf in &data.cpuid {
            let attributes = [
                ("eax_in", hex(leaf.eax_in)),
                ("ecx_in", hex(leaf.ecx_in)),
                ("eax", hex(leaf.eax)),
                ("ebx", hex(leaf.ebx)),
                ("ecx", hex(leaf.ecx)),
                ("edx", hex(leaf.edx)),
            ];
            self.empty("cpuid", &attributes);
        }
        for msr in &data.msrs {
            let attributes = [
                ("index", format!("{:#x}", msr.index).into()),
                ("eax", hex(msr.eax)),
                ("edx", hex(msr.edx)),
            ];
            self.empty("msr", &attributes);
        }
        self.close("cpudata");
    }

    fn accelerator(&mut self, kind: &str, caps: &AcceleratorCaps) {
        if let Some(host_cpu) = &caps.host_cpu {
            self.host_cpu(kind, host_cpu);
        }
        for cpu in &caps.cpus {
            let mut attributes = vec![("type", kind.into()), ("name", escaped(&cpu.name))];
            attributes.extend(cpu.typename.iter().map(|name| ("typename", escaped(name))));
            attributes.extend(cpu.usable.map(|usable| ("usable", yes_no(usable).into())));
            attributes.extend(cpu.deprecated.then(|| ("deprecated", yes_no(true).into())));
            if cpu.blockers.is_empty() {
                self.empty("cpu", &attributes);
                continue;
            }
            self.open("cpu", &attributes);
            for blocker in &cpu.blockers {
                self.empty("blocker", &[("name", sanitized_attribute(blocker))]);
            }
            self.close("cpu");
        }
        for machine in &caps.machines {
            self.machine(kind, machine);
        }
    }

    fn host_cpu(&mut self, kind: &str, cpu: &HostCpu) {
        let attributes = [
            ("type", kind.into()),
            ("model", sanitized_attribute(&cpu.model)),
            ("migratability", yes_no(cpu.migratability).into()),
        ];
        self.open("hostCPU", &attributes);
        for property in &cpu.properties {
            let (kind, value) = match &property.value {
                CpuValue::Boolean(on) => ("boolean", on.to_string().into()),
                CpuValue::String(text) => ("string", escaped(text)),
                CpuValue::Number(number) => ("number", number.to_string().into()),
            };
            let mut attributes = vec![
                ("name", sanitized_attribute(&property.name)),
                ("type", kind.into()),
                ("value", value),
            ];
            attributes.extend(property.migratable.map(|can| ("migratable", yes_no(can).into())));
            self.empty("property", &attributes);
        }
        for (element, names) in [
            ("deprecatedFeatures", &cpu.deprecated),
            ("hostDeprecatedFeatures", &cpu.host_deprecated),
        ] {
            if names.is_empty() {
                continue;
            }
            self.open(element, &[]);
            for name in names {
                self.empty("property", &[("name", sanitized_attribute(name))]);
            }
            self.close(element);
        }
        self.close("hostCPU");
    }

    fn enlightenment_values(&mut self, values: &EnlightenmentValues) {
        if values.spinlocks != 0 {
            self.text("spinlocks", &values.spinlocks.to_string());
        }
        for (name, value) in [
            ("stimer_direct", values.stimer_direct),
            ("tlbflush_direct", values.tlbflush_direct),
            ("tlbflush_extended", values.tlbflush_extended),
        ] {
            if let Some(on) = value {
                self.text(name, if on { "on" } else { "off" });
            }
        }
        if let Some(vendor) = &values.vendor_id {
            self.text("vendor_id", &escaped(vendor));
        }
    }

    fn machine(&mut self, kind: &str, machine: &Machine) {
        let mut attributes = vec![("type", kind.into()), ("name", escaped(&machine.name))];
        let yes = |name, value: bool| value.then(|| (name, yes_no(true).into()));
        let text = |name, value| (name, escaped(value));
        attributes.extend(machine.alias.iter().map(|alias| text("alias", alias)));
        attributes.extend(yes("hotplugCpus", machine.hotplug_cpus));
        attributes.push(("maxCpus", machine.max_cpus.to_string().into()));
        attributes.extend(yes("default", machine.is_default));
        attributes.extend(machine.default_cpu.iter().map(|cpu| text("defaultCPU", cpu)));
        attributes.extend(yes("numaMemSupported", machine.numa_mem_supported));
        attributes.extend(machine.default_ram_id.iter().map(|id| text("defaultRAMid", id)));
        attributes.extend(yes("deprecated", machine.deprecated));
        attributes.extend(machine.acpi.map(|acpi| ("acpi", yes_no(acpi).into())));
        self.empty("machine", &attributes);
    }
}

pub(crate) fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Escapes text as libvirt does: five characters; most control characters are dropped.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, |character| match character {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '"' => Some("&quot;"),
        '\'' => Some("&apos;"),
        '\t' | '\n' | '\r' => None,
        '\u{1}'..='\u{19}' => Some(""),
        _ => None,
    })
}

/// Text that libvirt does not escape: characters that make it unreadable are escaped, and those that
/// XML does not allow are dropped.
pub(crate) fn sanitized(text: &str) -> Cow<'_, str> {
    let text = replaced(text, |character| match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '\t' | '\n' | '\r' => None,
        '\0'..='\u{1f}' => Some(""),
        _ => None,
    });
    match text.contains("]]>") {
        true => text.replace("]]>", "]]&gt;").into(),
        false => text,
    }
}

/// The same as [`sanitized`], in an attribute.
pub(crate) fn sanitized_attribute(text: &str) -> Cow<'_, str> {
    let text = sanitized(text);
    match text.contains('\'') {
        true => text.replace('\'', "&apos;").into(),
        false => text,
    }
}

/// Replaces those characters for which `replacement` has a text. Most texts have none: they are not copied.
fn replaced(text: &str, replacement: impl Fn(char) -> Option<&'static str>) -> Cow<'_, str> {
    let is_kept = |character| replacement(character).is_none();
    let Some(first) = text.find(|character| !is_kept(character)) else { return text.into() };
    let (kept, rest) = text.split_at(first);
    let mut all = kept.to_owned();
    for character in rest.chars() {
        match replacement(character) {
            Some(replacement) => all.push_str(replacement),
            None => all.push(character),
        }
    }
    all.into()
}
