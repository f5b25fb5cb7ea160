//! Registers on pseries' virtual I/O bus.

use std::collections::HashMap;

use capscache_domain::{
    Address, ConsoleType, ControllerModel, ControllerType, DeviceKind, Kind, SerialType,
    SpaprVioAddress, TpmModel,
};

use crate::devices::Id;
use crate::error::Error;
use crate::explain::Why;
use crate::machine::Board;
use crate::plan::Plan;

/// The distance between registers.
const STEP: u64 = 0x1000;

/// Gives devices on the virtual I/O bus their registers, and consoles those of their serial ports.
pub(crate) fn assign(plan: &mut Plan<'_>) -> Result<(), Error> {
    let mut used: HashMap<u64, Id> = HashMap::new();
    let on_bus = [Kind::Interface, Kind::Controller, Kind::Serial, Kind::Nvram, Kind::Tpm];
    for kind in on_bus {
        for id in plan.devices.ids(kind) {
            let Some(Address::SpaprVio(SpaprVioAddress { reg: Some(reg) })) = plan.address(id)
            else {
                continue;
            };
            let reg = *reg;
            if let Some(other) = used.insert(reg, id) {
                let free = (1..).map(|n| reg.saturating_add(n * STEP));
                let free = free.take(64).find(|reg| !used.contains_key(reg));
                return Err(Error::AddressInUse {
                    device: plan.describe(id),
                    address: format!("spapr-vio reg 0x{reg:x}"),
                    occupant: plan.describe(other),
                    free: free.map(|reg| format!("reg 0x{reg:x}").into()),
                });
            }
        }
    }
    for kind in on_bus {
        // Registers below are taken, and stay so.
        let mut next = None;
        for id in plan.devices.ids(kind) {
            place(plan, &mut used, &mut next, id);
        }
    }
    place_console(plan);
    Ok(())
}

fn place(plan: &mut Plan<'_>, used: &mut HashMap<u64, Id>, next: &mut Option<u64>, id: Id) {
    let is_pseries = plan.machine.board == Board::Pseries;
    let (first, always) = match plan.kind(id) {
        DeviceKind::Interface(i) => (0x1000, i.model.as_deref() == Some("spapr-vlan")),
        DeviceKind::Controller(c) => {
            (0x2000, c.r#type == ControllerType::Scsi && c.model == Some(ControllerModel::Ibmvscsi))
        }
        DeviceKind::Serial(s) => (0x3000_0000, s.target_type == Some(SerialType::SpaprVioSerial)),
        DeviceKind::Nvram(_) => (0x3000, is_pseries),
        DeviceKind::Tpm(tpm) => (0x4000, is_pseries && tpm.model != Some(TpmModel::SpaprProxy)),
        _ => return,
    };
    match plan.address(id) {
        Some(Address::SpaprVio(SpaprVioAddress { reg: Some(_) })) => return,
        Some(Address::SpaprVio(_)) => {}
        _ if always => {}
        _ => return,
    }
    let mut reg = next.unwrap_or(first);
    while used.contains_key(&reg) {
        reg += STEP;
    }
    used.insert(reg, id);
    *next = Some(reg + STEP);
    plan.place(id, Address::SpaprVio(SpaprVioAddress { reg: Some(reg) }), Why::LowestNumber);
}

/// Gives the first console the address of the serial port that it stands for.
fn place_console(plan: &mut Plan<'_>) {
    let serial = plan.devices.of(Kind::Serial).first().copied();
    let console = plan.devices.of(Kind::Console).first().copied();
    let (Some(serial), Some(console)) = (serial, console) else { return };
    let is_serial = matches!(
        plan.kind(console),
        DeviceKind::Console(c) if matches!(c.target_type, None | Some(ConsoleType::Serial))
    );
    if is_serial {
        match plan.address(serial).cloned() {
            Some(address) => plan.place(console, address, Why::SameAsSerial),
            None => plan.devices.get_mut(console).address = None,
        }
    }
}
