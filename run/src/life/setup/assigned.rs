//! PCI devices of the host that a guest uses itself.

use std::fs;
use std::path::Path;

use crate::host::Assigned;
use crate::resources::ResourceError;

/// The driver of devices that guests use.
const DRIVER: &str = "vfio-pci";

/// Checks that a device is bound to the driver for guests. It is not bound here: when this process is killed, nothing
/// would give it back to the host.
pub(super) fn check(assigned: &Assigned) -> Result<(), ResourceError> {
    let address = &assigned.address;
    if assigned.network.is_some() {
        return Err(ResourceError::host(
            format!(
                "the settings of the network device {address} of an interface of type hostdev are not supported"
            ),
            "set its MAC address with ip link, and use <hostdev>",
        ));
    }
    let device = Path::new("/sys/bus/pci/devices").join(address);
    if !device.exists() {
        return Err(ResourceError::host(
            format!("the host has no PCI device {address}"),
            "change its address, or remove it from the guest",
        ));
    }
    let driver = fs::read_link(device.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let wanted = assigned.driver.as_deref().unwrap_or(DRIVER);
    let is_bound = driver.is_some_and(|driver| match &assigned.driver {
        Some(wanted) => driver == wanted,
        // There are others for some devices, as in `mlx5_vfio_pci`.
        None => driver.replace('_', "-").ends_with(DRIVER),
    });
    match is_bound {
        true => Ok(()),
        false => Err(ResourceError::host(
            format!(
                "the PCI device {address} of the host is bound to {}, not to {wanted}",
                driver.map_or_else(
                    || "no driver".to_owned(),
                    |driver| format!("the driver {driver}")
                )
            ),
            format!("bind it, as with driverctl --nosave set-override {address} {wanted}"),
        )),
    }
}
