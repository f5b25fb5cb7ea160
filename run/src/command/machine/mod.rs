//! The machine: accelerator, CPU, firmware, clock, boot order.

pub(super) mod accel;
pub(super) mod boot;
mod calendar;
pub(super) mod clock;
pub(super) mod coreinfo;
pub(super) mod cpu;
mod features;
pub(super) mod firmware;
pub(super) mod genid;
mod gic;
mod keywrap;
mod options;
pub(super) mod passthrough;
pub(super) mod power;
pub(super) mod security;
pub(super) mod smbios;
mod smm;
pub(super) mod teardown;
mod timers;
pub(super) mod tseg;

pub(super) use options::add as add_machine;
