//! Reading as libvirt reads its cache: libxml2 parses the file into a tree, XPath finds the parts, and
//! each is copied into owned types.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow};
use capscache_libvirt::{
    AcceleratorCaps, Cpu, CpuData, CpuProperty, CpuValue, Cpuid, HostCpu, Machine, QemuCaps,
};
use libxml::parser::Parser;
use libxml::tree::{Document, Node};
use libxml::xpath::Context;

/// Parses a file into a tree.
pub(crate) fn parse(file: &Path) -> Result<Document> {
    let path = file.to_str().context("the path is text")?;
    Parser::default().parse_file(path).map_err(|error| anyhow!("{error:?}"))
}

/// Parses a file and loads all that libvirt loads.
pub(super) fn load(file: &Path) -> Result<QemuCaps> {
    let document = parse(file)?;
    let context = Context::new(&document).map_err(|()| anyhow!("no XPath context"))?;
    let nodes = |path: &str| -> Result<Vec<Node>> {
        let found = context.evaluate(path).map_err(|()| anyhow!("{path} is not an XPath"))?;
        Ok(found.get_nodes_as_vec())
    };
    let text =
        |path: &str| -> Result<Option<String>> { Ok(nodes(path)?.first().map(Node::get_content)) };
    let mut caps = QemuCaps {
        release: super::LIBVIRT,
        emulator: text("/qemuCaps/emulator")?.context("no emulator")?,
        qemu_ctime: number(text("/qemuCaps/qemuctime")?)?,
        self_ctime: number(text("/qemuCaps/selfctime")?)?,
        self_version: number(text("/qemuCaps/selfvers")?)?,
        version: number(text("/qemuCaps/version")?)?,
        microcode_version: number(text("/qemuCaps/microcodeVersion")?)?,
        package: text("/qemuCaps/package")?.unwrap_or_default(),
        kernel_version: text("/qemuCaps/kernelVersion")?,
        arch: text("/qemuCaps/arch")?.context("no arch")?,
        ..QemuCaps::default()
    };
    for flag in nodes("/qemuCaps/flag")? {
        let name = attribute(&flag, "name")?;
        anyhow::ensure!(caps.flags.insert(&name), "unknown flag {name}");
    }
    for (kind, part) in [("kvm", &mut caps.kvm), ("hvf", &mut caps.hvf), ("tcg", &mut caps.tcg)] {
        load_accelerator(&nodes, kind, part)?;
    }
    let leaves = nodes("/qemuCaps/cpudata/cpuid")?;
    if !leaves.is_empty() {
        let cpuid = leaves.iter().map(leaf).collect::<Result<_>>()?;
        caps.cpu_data = Some(CpuData { cpuid, ..CpuData::default() });
    }
    for cap in nodes("/qemuCaps/hypervCapabilities/cap")? {
        caps.hyperv.push(attribute(&cap, "name")?);
    }
    Ok(caps)
}

fn load_accelerator(
    nodes: &dyn Fn(&str) -> Result<Vec<Node>>,
    kind: &str,
    caps: &mut AcceleratorCaps,
) -> Result<()> {
    for host_cpu in nodes(&format!("/qemuCaps/hostCPU[@type='{kind}']"))? {
        let mut cpu = HostCpu {
            model: attribute(&host_cpu, "model")?,
            migratability: attribute(&host_cpu, "migratability")? == "yes",
            ..HostCpu::default()
        };
        for child in host_cpu.get_child_elements() {
            match child.get_name().as_str() {
                "property" => cpu.properties.push(property(&child)?),
                "deprecatedFeatures" => {
                    for feature in child.get_child_elements() {
                        cpu.deprecated.push(attribute(&feature, "name")?);
                    }
                }
                _ => {}
            }
        }
        caps.host_cpu = Some(cpu);
    }
    for node in nodes(&format!("/qemuCaps/cpu[@type='{kind}']"))? {
        caps.cpus.push(Cpu {
            name: attribute(&node, "name")?,
            typename: node.get_attribute("typename"),
            usable: yes_no(&node, "usable"),
            deprecated: yes_no(&node, "deprecated").unwrap_or(false),
            blockers: node
                .get_child_elements()
                .iter()
                .map(|blocker| attribute(blocker, "name"))
                .collect::<Result<_>>()?,
        });
    }
    for node in nodes(&format!("/qemuCaps/machine[@type='{kind}']"))? {
        let is_yes = |name| yes_no(&node, name).unwrap_or(false);
        caps.machines.push(Machine {
            name: attribute(&node, "name")?,
            alias: node.get_attribute("alias"),
            hotplug_cpus: is_yes("hotplugCpus"),
            max_cpus: number(node.get_attribute("maxCpus"))?,
            is_default: is_yes("default"),
            default_cpu: node.get_attribute("defaultCPU"),
            numa_mem_supported: is_yes("numaMemSupported"),
            default_ram_id: node.get_attribute("defaultRAMid"),
            deprecated: is_yes("deprecated"),
            acpi: yes_no(&node, "acpi"),
        });
    }
    Ok(())
}

fn leaf(node: &Node) -> Result<Cpuid> {
    let of = |name| -> Result<u32> {
        let value = attribute(node, name)?;
        Ok(u32::from_str_radix(value.trim_start_matches("0x"), 16)?)
    };
    Ok(Cpuid {
        eax_in: of("eax_in")?,
        ecx_in: of("ecx_in")?,
        eax: of("eax")?,
        ebx: of("ebx")?,
        ecx: of("ecx")?,
        edx: of("edx")?,
    })
}

fn property(node: &Node) -> Result<CpuProperty> {
    let value = attribute(node, "value")?;
    Ok(CpuProperty {
        name: attribute(node, "name")?,
        value: match attribute(node, "type")?.as_str() {
            "boolean" => CpuValue::Boolean(value == "true"),
            "number" => CpuValue::Number(value.parse()?),
            _ => CpuValue::String(value),
        },
        migratable: yes_no(node, "migratable"),
    })
}

fn attribute(node: &Node, name: &str) -> Result<String> {
    node.get_attribute(name).with_context(|| format!("no {name}"))
}

fn yes_no(node: &Node, name: &str) -> Option<bool> {
    node.get_attribute(name).map(|value| value == "yes")
}

fn number<N: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: Option<String>,
) -> Result<N> {
    Ok(text.context("a number is missing")?.parse()?)
}
