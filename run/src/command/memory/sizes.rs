//! Sizes of memory, rounded as QEMU needs them.

use capscache_devaddr::Family;
use capscache_domain::{Kind, MemoryModel};

use crate::context::{Context, DeviceView};
use crate::error::Error;

/// The step of sizes on `ppc64`.
const PPC64_KIB: u64 = 256 * 1024;
/// The step of the sizes of memory that a guest starts with.
const INITIAL_KIB: u64 = 1024;
/// The step of the sizes of memory devices.
const MODULE_KIB: u64 = 2048;

/// The sizes of a guest's memory, in KiB.
pub(super) struct Sizes {
    /// The memory without memory devices.
    pub(super) initial: u64,
    /// The memory of each NUMA cell.
    pub(super) cells: Vec<u64>,
    /// The memory with memory devices.
    pub(super) total: u64,
}

impl Sizes {
    /// Returns the sizes of a guest.
    pub(super) fn of(cx: &Context<'_>) -> Result<Sizes, Error> {
        let step = initial_step(cx);
        let cells = cx.guest.numa.iter().map(|cell| round_up(cell.memory_kib.unwrap_or(0), step));
        let cells: Vec<u64> = cells.collect();
        let named = cx.domain.kib("memory")?.unwrap_or(0);
        let (mut devices, mut rounded) = (0, 0);
        for device in cx.of(Kind::Memory) {
            devices = sum(cx, [devices, named_size(device)?])?;
            rounded = sum(cx, [rounded, module(cx, device)?])?;
        }
        let in_cells = sum(cx, cells.iter().copied())?;
        let initial = match in_cells {
            0 => {
                let initial = named.checked_sub(devices).ok_or_else(|| {
                    let what = "memory devices are greater than the memory; raise it";
                    cx.domain.invalid("memory", what)
                })?;
                round_up(initial, step)
            }
            in_cells => in_cells,
        };
        if initial == 0 {
            return Err(cx.domain.invalid("memory", "the guest has no memory; set its size"));
        }
        Ok(Sizes { initial, cells, total: sum(cx, [initial, rounded])? })
    }
}

/// Returns the step of the sizes of memory that a guest starts with.
pub(super) fn initial_step(cx: &Context<'_>) -> u64 {
    if cx.machine.family == Family::Ppc64 { PPC64_KIB } else { INITIAL_KIB }
}

/// Returns the size of a memory device.
pub(super) fn module(cx: &Context<'_>, device: DeviceView<'_>) -> Result<u64, Error> {
    let size = named_size(device)?;
    let view = device.view;
    let is_ppc64 = cx.machine.family == Family::Ppc64;
    let model = view.word::<MemoryModel>("@model")?;
    if is_ppc64 && model == Some(MemoryModel::Nvdimm) {
        // The part that is visible in the guest is rounded down.
        let label = view.kib("target/label/size")?.unwrap_or(0);
        let area = size.saturating_sub(label) / PPC64_KIB * PPC64_KIB;
        if area == 0 {
            let what = "an NVDIMM has at least 256 MiB besides its label; raise its size";
            return Err(view.invalid("target/size", what));
        }
        return Ok(area + label);
    }
    Ok(round_up(size, if is_ppc64 { PPC64_KIB } else { MODULE_KIB }))
}

fn named_size(device: DeviceView<'_>) -> Result<u64, Error> {
    let size = device.view.kib("target/size")?;
    size.ok_or_else(|| device.view.invalid("target", "size is missing; add it"))
}

/// The greatest size that is summed: far below what overflows.
const MAX_KIB: u64 = 1 << 53;

/// Rounds a size up.
pub(super) fn round_up(size: u64, step: u64) -> u64 {
    size.min(MAX_KIB).next_multiple_of(step)
}

fn sum(cx: &Context<'_>, sizes: impl IntoIterator<Item = u64>) -> Result<u64, Error> {
    let sum = sizes.into_iter().try_fold(0_u64, u64::checked_add);
    sum.filter(|sum| *sum <= MAX_KIB)
        .ok_or_else(|| cx.domain.invalid("memory", "the size is too great; use a smaller one"))
}
