//! Settings of the port of a switch, which the command line does not show.

use crate::error::Error;
use crate::host::Port;
use crate::view::View;

/// The parameters of a port.
const PARAMETERS: &[&str] =
    &["managerid", "typeid", "typeidversion", "instanceid", "interfaceid", "profileid"];

/// Returns the settings of the port that an interface is connected to.
pub(in crate::command::host) fn port(view: View<'_>) -> Result<Port, Error> {
    let types = ["openvswitch", "midonet", "802.1Qbg", "802.1Qbh"];
    let r#type = view.one_of("virtualport@type", &types)?.map(str::to_owned);
    let mut parameters = Vec::new();
    for name in PARAMETERS {
        if let Some(value) = view.text(&format!("virtualport/parameters@{name}")) {
            parameters.push(((*name).to_owned(), value.to_owned()));
        }
    }
    let mut vlans = Vec::new();
    for tag in view.child("vlan").into_iter().flat_map(|vlan| vlan.children("tag")) {
        tag.require("@id")?;
        vlans.extend(tag.number::<u16>("@id")?);
    }
    let is_isolated = view.yes_no("port@isolated")? == Some(true);
    if is_isolated && r#type.is_some() {
        return Err(view.invalid("port@isolated", "a port of this type cannot be isolated"));
    }
    Ok(Port {
        r#type,
        parameters,
        vlans,
        is_trunk: view.yes_no("vlan@trunk")? == Some(true),
        is_isolated,
        group: view.text("source@portgroup").map(str::to_owned),
        trusts_guest: view.yes_no("@trustGuestRxFilters")? == Some(true),
    })
}
