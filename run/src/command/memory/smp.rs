//! Virtual CPUs and their topology.

use std::collections::BTreeSet;

use capscache_devaddr::{Board, Family};
use capscache_domain::Kind;
use capscache_format::{Machine, Tri};

use super::{bitmap, tuning};
use crate::command::Setup;
use crate::command::args::Args;
use crate::context::{Context, MAX_CPUS_WITHOUT_EIM};
use crate::error::Error;
use crate::props::List;
use crate::view::View;

/// Adds virtual CPUs.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let (present, max) = count(cx, args)?;
    let mut list = List::new(&present.to_string());
    if present != max {
        list.set("maxcpus", max);
    }
    match cx.domain.child("cpu").and_then(|cpu| cpu.child("topology")) {
        Some(topology) => add_topology(cx, topology, max, &mut list)?,
        None => {
            list.set("sockets", max);
            list.set("cores", 1);
            list.set("threads", 1);
        }
    }
    args.option("-smp", list);
    Ok(())
}

/// Returns the number of CPUs that are there at first, and their greatest number.
fn count(cx: &Context<'_>, args: &mut Args) -> Result<(u32, u32), Error> {
    let Some(vcpu) = cx.domain.child("vcpu") else { return Ok((1, 1)) };
    match host_cpus(cx)? {
        Some(HostCpus::List(cpus)) => args.setup(Setup::Cpus(cpus)),
        Some(HostCpus::OfNodes(nodes)) => args.setup(Setup::CpusOfNodes(nodes)),
        None => {}
    }
    let max = vcpu
        .number("")?
        .filter(|max| *max > 0)
        .ok_or_else(|| vcpu.invalid("", "a guest has at least one CPU; raise the number"))?;
    let current = vcpu.number("@current")?.unwrap_or(max);
    if current > max || current == 0 {
        let what = format!("it is not between 1 and {max}; change it");
        return Err(vcpu.invalid("@current", what));
    }
    let (present, enabled) = match cx.domain.child("vcpus") {
        Some(vcpus) => individual(cx, vcpus, max, args)?,
        None => (current, current),
    };
    check_count(cx, enabled, max)?;
    Ok((present, max))
}

/// The CPUs of the host on which the guest runs.
pub(super) enum HostCpus {
    List(Vec<u32>),
    /// All CPUs of some NUMA nodes.
    OfNodes(Vec<u32>),
}

/// Returns the CPUs of the host on which the guest runs.
pub(super) fn host_cpus(cx: &Context<'_>) -> Result<Option<HostCpus>, Error> {
    if tuning::has_automatic_cpus(cx)? {
        cx.domain.ignore(&["vcpu@cpuset"]);
        return tuning::advised(cx).map(HostCpus::OfNodes).map(Some);
    }
    let Some(list) = cx.domain.text("vcpu@cpuset") else { return Ok(None) };
    let wrong = || cx.domain.invalid("vcpu@cpuset", format!("{list:?} is not a list of CPUs"));
    bitmap::parse(list).map(HostCpus::List).map(Some).ok_or_else(wrong)
}

/// Returns the number of CPUs that are there at first, and of all that are enabled, of CPUs that are named one by one:
/// some are plugged in when the process runs.
fn individual(
    cx: &Context<'_>,
    vcpus: View<'_>,
    max: u32,
    args: &mut Args,
) -> Result<(u32, u32), Error> {
    // On pseries, the threads of a core share an order.
    let is_shared = cx.machine.board == Board::Pseries;
    let (mut present, mut plugged) = (BTreeSet::new(), Vec::new());
    let mut orders = BTreeSet::new();
    for vcpu in vcpus.children("vcpu") {
        let number = vcpu.number("@id")?.filter(|id| *id < max);
        let id = number.ok_or_else(|| {
            vcpu.invalid("@id", format!("it is not a number below {max}; change it"))
        })?;
        let is_enabled = vcpu.yes_no("@enabled")? == Some(true);
        let order: u32 = vcpu.number("@order")?.unwrap_or(0);
        let is_new = order == 0 || orders.insert(order) || is_shared;
        if order > max || !is_new {
            let what = format!("orders are from 1 to {max}, each once; change it");
            return Err(vcpu.unsupported("@order", what));
        }
        match (is_enabled, vcpu.yes_no("@hotpluggable")?) {
            (true, Some(true)) if id == 0 => {
                return Err(vcpu.invalid("@hotpluggable", "CPU 0 is always there; set it to no"));
            }
            (true, Some(true)) => plugged.push((order, id)),
            (true, _) => {
                present.insert(id);
            }
            (false, Some(false)) => {
                let what = "a CPU that is not enabled must be hotpluggable; set it to yes";
                return Err(vcpu.invalid("@hotpluggable", what));
            }
            (false, _) => {}
        }
    }
    // QEMU creates the CPUs with the lowest numbers.
    let are_lowest = present.iter().zip(0..).all(|(id, index)| *id == index);
    if present.is_empty() || !are_lowest {
        let what = "the CPUs that are enabled and not hotpluggable must be the first";
        return Err(vcpus.unsupported("", what));
    }
    let has_orders = |with: bool| plugged.iter().any(|(order, _)| (*order > 0) == with);
    if has_orders(true) && has_orders(false) {
        return Err(vcpus.invalid("", "all CPUs that are plugged in have an order, or none"));
    }
    plugged.sort_unstable();
    let count = |count: usize| u32::try_from(count).unwrap_or(max);
    let counts = (count(present.len()), count(present.len() + plugged.len()));
    if !plugged.is_empty() {
        args.setup(Setup::PlugCpus(plugged.into_iter().map(|(_, id)| id).collect()));
    }
    Ok(counts)
}

/// Checks that the machine can have so many CPUs.
fn check_count(cx: &Context<'_>, current: u32, max: u32) -> Result<(), Error> {
    let limit = cx.machine_type().and_then(Machine::max_cpus).filter(|max| *max > 0);
    if let Some(limit) = limit.filter(|limit| u64::from(max) > *limit) {
        let what = format!("the machine has at most {limit} CPUs; use fewer");
        return Err(cx.domain.invalid("vcpu", what));
    }
    let threads = cx.domain.number("cpu/topology@threads")?.filter(|threads| *threads > 0);
    let threads: u32 = threads.unwrap_or(1);
    if cx.machine.board == Board::Pseries && !current.is_multiple_of(threads) {
        let what = format!("it is not a multiple of the {threads} threads of a core; change it");
        return Err(cx.domain.invalid("vcpu@current", what));
    }
    if cx.machine.family == Family::X86 && max > MAX_CPUS_WITHOUT_EIM {
        let mut iommus = cx.of(Kind::Iommu);
        let has_eim = iommus.any(|iommu| iommu.view.peek("driver@eim") == Some("on"));
        if !cx.machine.is_q35() || !has_eim {
            let what =
                format!("more than {MAX_CPUS_WITHOUT_EIM} CPUs need q35 with an IOMMU with eim");
            return Err(cx.domain.invalid("vcpu", what));
        }
    }
    Ok(())
}

fn add_topology(
    cx: &Context<'_>,
    topology: View<'_>,
    max: u32,
    list: &mut List,
) -> Result<(), Error> {
    let schema = cx.entry.schema();
    let has = |path| schema.has(path) == Tri::Yes;
    let has_dies = has("query-hotpluggable-cpus/ret-type/props/die-id");
    let has_clusters = has("query-hotpluggable-cpus/ret-type/props/cluster-id");
    let parts = [
        ("sockets", true, true),
        ("dies", false, has_dies),
        ("clusters", false, has_clusters),
        ("cores", true, true),
        ("threads", true, true),
    ];
    let mut product: u32 = 1;
    for (name, is_required, is_known) in parts {
        let place = format!("@{name}");
        let number: Option<u32> = topology.number(&place)?;
        if is_required && number.is_none() {
            return Err(topology.invalid("", format!("{name} is missing; add it")));
        }
        let number = number.unwrap_or(1);
        if number == 0 {
            return Err(topology.invalid(&place, "it is 0; raise it"));
        }
        if !is_known && number != 1 {
            return Err(topology.lacks(&place, format!("CPUs with several {name}; use 1")));
        }
        product = product.saturating_mul(number);
        if is_known {
            list.set(name, number);
        }
    }
    if product != max {
        let what = format!("it has {product} CPUs, the guest has {max}; make them equal");
        return Err(topology.invalid("", what));
    }
    Ok(())
}
