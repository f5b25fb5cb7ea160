//! The non-volatile memory of pseries.

use capscache_devaddr::Board;
use capscache_domain::{Address, Kind};

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;

/// Adds the non-volatile memory of pseries.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if let Some(device) = cx.only(Kind::Nvram)? {
        let _ = device.alias();
        let reg = match device.address() {
            Some(Address::SpaprVio(address)) => address.reg,
            _ => None,
        };
        match reg {
            Some(reg) if cx.machine.board == Board::Pseries => {
                args.option("-global", format_args!("spapr-nvram.reg=0x{reg:x}"));
            }
            _ => return Err(device.view.invalid("", "only pseries has it; remove it")),
        }
    }
    Ok(())
}
