//! Writing of the XML, byte for byte as libvirt does.

use std::borrow::Cow;

use super::DomainCaps;
use super::cpu::{CpuModes, CustomModel, HostModel, Mode};
use super::features::{Features, Hyperv, SevSupport};
use super::section::{Enumeration, Section};
use crate::write::{Xml, escaped, sanitized, sanitized_attribute, yes_no};

/// The text in place of the modes of CPUs that are unknown.
const UNKNOWN_MODES: &str = "the other modes are unknown: they depend on the CPU map of that release of libvirt, which is not installed";

/// The text in place of the host's model where it is unknown.
const UNKNOWN_HOST_MODEL: &str = "the mode host-model is unknown: it depends on the host's CPU";

impl DomainCaps {
    /// The `<domainCapabilities>` document as libvirt writes it.
    ///
    /// In place of modes of CPUs that are unknown it has a comment.
    pub fn to_xml(&self) -> String {
        let mut xml = Xml::default();
        xml.open("domainCapabilities", &[]);
        xml.text("path", &escaped(&self.path));
        xml.text("domain", self.virt_type.name());
        xml.text("machine", &sanitized(&self.machine));
        xml.text("arch", &self.arch);
        if self.max_vcpus > 0 {
            xml.empty("vcpu", &[("max", self.max_vcpus.to_string().into())]);
        }
        // Every QEMU that libvirt runs has threads for disks.
        xml.empty("iothreads", &supported(true));
        self.os(&mut xml);
        cpu(&mut xml, &self.cpu);
        section(&mut xml, &self.memory_backing);
        xml.open("devices", &[]);
        self.devices.iter().for_each(|device| section(&mut xml, device));
        xml.close("devices");
        features(&mut xml, &self.features);
        xml.close("domainCapabilities");
        xml.into_text()
    }

    fn os(&self, xml: &mut Xml) {
        xml.open("os", &supported(true));
        enumeration(xml, &self.firmware);
        self.firmware_features.iter().for_each(|features| section(xml, features));
        xml.open("loader", &supported(true));
        self.loaders.iter().for_each(|path| xml.text("value", &escaped(path)));
        self.loader.iter().for_each(|list| enumeration(xml, list));
        xml.close("loader");
        if let Some(is_supported) = self.varstore {
            xml.empty("varstore", &supported(is_supported));
        }
        xml.close("os");
    }
}

fn supported(is_supported: bool) -> [(&'static str, Cow<'static, str>); 1] {
    [("supported", yes_no(is_supported).into())]
}

fn section(xml: &mut Xml, Section { name, enums }: &Section) {
    let Some(enums) = enums else { return xml.empty(name, &supported(false)) };
    xml.open(name, &supported(true));
    enums.iter().for_each(|list| enumeration(xml, list));
    xml.close(name);
}

fn enumeration(xml: &mut Xml, Enumeration { name, values }: &Enumeration) {
    let attributes = [("name", (*name).into())];
    if values.is_empty() {
        return xml.empty("enum", &attributes);
    }
    xml.open("enum", &attributes);
    values.iter().for_each(|value| xml.text("value", value));
    xml.close("enum");
}

fn cpu(xml: &mut Xml, modes: &CpuModes) {
    xml.open("cpu", &[]);
    mode_of_host(xml, "host-passthrough", "hostPassthroughMigratable", &modes.host_passthrough);
    mode_of_host(xml, "maximum", "maximumMigratable", &modes.maximum);
    match (&modes.host_model, &modes.custom) {
        (_, Mode::Unknown) => xml.comment(UNKNOWN_MODES),
        (Mode::Unknown, custom) => {
            xml.comment(UNKNOWN_HOST_MODEL);
            mode(xml, "custom", custom, custom_models);
        }
        (host_model, custom) => {
            mode(xml, "host-model", host_model, host_model_of);
            mode(xml, "custom", custom, custom_models);
        }
    }
    xml.close("cpu");
}

fn mode_attributes(name: &str, is_supported: bool) -> [(&'static str, Cow<'_, str>); 2] {
    [("name", name.into()), ("supported", yes_no(is_supported).into())]
}

fn mode_of_host(
    xml: &mut Xml,
    name: &str,
    migratable: &'static str,
    values: &Option<Vec<&'static str>>,
) {
    let Some(values) = values else { return xml.empty("mode", &mode_attributes(name, false)) };
    xml.open("mode", &mode_attributes(name, true));
    enumeration(xml, &Enumeration { name: migratable, values: values.clone() });
    xml.close("mode");
}

fn mode<T>(xml: &mut Xml, name: &str, mode: &Mode<T>, write: impl Fn(&mut Xml, &T)) {
    let Mode::Supported(content) = mode else {
        return xml.empty("mode", &mode_attributes(name, false));
    };
    xml.open("mode", &mode_attributes(name, true));
    write(xml, content);
    xml.close("mode");
}

fn host_model_of(xml: &mut Xml, HostModel { cpu, has_fallback, phys_addr_bits }: &HostModel) {
    let fallback = if *has_fallback { "allow" } else { "forbid" };
    xml.text_with("model", &[("fallback", fallback.into())], &escaped(&cpu.model));
    if let Some(vendor) = &cpu.vendor {
        xml.text("vendor", &escaped(vendor));
    }
    if let Some(bits) = phys_addr_bits {
        let attributes = [("mode", "passthrough".into()), ("limit", bits.to_string().into())];
        xml.empty("maxphysaddr", &attributes);
    }
    for (name, is_on) in &cpu.features {
        let policy = if *is_on { "require" } else { "disable" };
        let name = sanitized_attribute(name);
        xml.empty("feature", &[("policy", policy.into()), ("name", name)]);
    }
}

fn custom_models(xml: &mut Xml, models: &Vec<CustomModel>) {
    for model in models {
        let usable = model.usable.map_or("unknown", yes_no);
        let mut attributes = vec![("usable", Cow::from(usable))];
        attributes.extend(model.deprecated.then(|| ("deprecated", yes_no(true).into())));
        attributes.push(("vendor", model.vendor.as_deref().unwrap_or("unknown").into()));
        let canonical = model.canonical.as_deref();
        attributes.extend(canonical.map(|canonical| ("canonical", canonical.into())));
        xml.text_with("model", &attributes, &sanitized(&model.name));
        if !model.blockers.is_empty() {
            xml.open("blockers", &[("model", sanitized_attribute(&model.name))]);
            for blocker in &model.blockers {
                xml.empty("feature", &[("name", sanitized_attribute(blocker))]);
            }
            xml.close("blockers");
        }
    }
}

fn features(xml: &mut Xml, features: &Features) {
    xml.open("features", &[]);
    section(xml, &features.gic);
    for (name, is_supported) in &features.plain {
        xml.empty(name, &supported(*is_supported));
    }
    match &features.sev {
        Some(support) => sev(xml, support),
        None => xml.empty("sev", &supported(false)),
    }
    match &features.sgx {
        Some(sgx) => xml.sgx(sgx),
        None => xml.empty("sgx", &supported(false)),
    }
    features.hyperv.iter().for_each(|found| hyperv(xml, found));
    features.launch_security.iter().for_each(|kinds| section(xml, kinds));
    xml.close("features");
}

fn hyperv(xml: &mut Xml, Hyperv { features, defaults }: &Hyperv) {
    xml.open("hyperv", &supported(true));
    enumeration(xml, features);
    if !defaults.is_empty() {
        xml.open("defaults", &[]);
        defaults.iter().for_each(|(name, value)| xml.text(name, &escaped(value)));
        xml.close("defaults");
    }
    xml.close("hyperv");
}

fn sev(xml: &mut Xml, sev: &SevSupport) {
    xml.open("sev", &supported(true));
    xml.text("cbitpos", &sev.cbitpos.to_string());
    xml.text("reducedPhysBits", &sev.reduced_phys_bits.to_string());
    xml.text("maxGuests", &sev.guests.max.to_string());
    xml.text("maxESGuests", &sev.guests.max_es.to_string());
    if let Some(id) = &sev.cpu0_id {
        xml.text("cpu0Id", &sanitized(id));
    }
    xml.close("sev");
}
