//! Units of iSCSI targets, for disks and for devices of the host.

use std::net::Ipv6Addr;

use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// A unit of a target.
pub(in crate::command) struct Unit<'a> {
    pub(in crate::command) target: &'a str,
    pub(in crate::command) lun: u32,
}

impl<'a> Unit<'a> {
    /// Reads the name of a source: the target, and after a slash the number of the unit.
    pub(in crate::command) fn read(source: View<'a>) -> Result<Unit<'a>, Error> {
        let name = source.require("@name")?;
        let (target, lun) = name.split_once('/').unwrap_or((name, "0"));
        let lun = lun.parse();
        let lun =
            lun.map_err(|_| source.invalid("@name", "the number of the unit is not valid"))?;
        Ok(Unit { target, lun })
    }

    /// Returns the options of its node, for a user with the id of a password.
    pub(in crate::command) fn node(
        &self,
        source: View<'_>,
        portal: &str,
        user: Option<&str>,
        secret: Option<&str>,
    ) -> Props {
        Props::device("iscsi")
            .with("portal", portal)
            .with("target", self.target)
            .with("lun", self.lun)
            .with("transport", "tcp")
            .with_some("user", user)
            .with_some("password-secret", secret)
            .with_some("initiator-name", source.text("initiator/iqn@name"))
    }
}

/// Returns a host as a portal.
pub(in crate::command) fn portal(name: &str, port: u16) -> String {
    match name.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{name}]:{port}"),
        Err(_) => format!("{name}:{port}"),
    }
}
