//! Buses: controllers, hubs, IOMMU.

mod controller;
mod models;
mod pci;
mod scsi;
mod usb;

pub(super) mod controllers;
pub(super) mod hubs;
pub(super) mod iommu;
