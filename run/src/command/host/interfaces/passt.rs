//! The network that the process passt implements.

use capscache_domain::InterfaceType;

use serde_json::json;

use super::{Net, user};
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::host::Helper;
use crate::props::Props;
use crate::view::View;

/// The time after which QEMU connects again.
pub(super) const RECONNECT_SECONDS: u32 = 5;

/// Returns whether the backend is passt: a QEMU without a network of its own has it for all.
pub(super) fn is_backend(cx: &Context<'_>, net: &Net<'_>) -> Result<bool, Error> {
    let schema = cx.entry.schema();
    let has = |backend: &str| schema.has(&format!("netdev_add/arg-type/+{backend}")).is_yes();
    let named = net.view.one_of("backend@type", &["default", "passt"])?;
    let is_user = match net.r#type {
        InterfaceType::User => true,
        InterfaceType::Vhostuser => false,
        _ if named == Some("passt") => {
            return Err(net.view.invalid("backend@type", "an interface of this type has no passt"));
        }
        _ => return Ok(false),
    };
    let is_passt = named == Some("passt") || (is_user && !has("user") && has("stream"));
    let needed = if is_passt { "stream" } else { "user" };
    if (is_user || is_passt) && !has(needed) {
        return Err(net.view.lacks("backend", format!("the backend {needed}; use another one")));
    }
    Ok(is_passt)
}

/// Returns the path of the socket.
pub(super) fn socket(cx: &Context<'_>, net: &Net<'_>) -> String {
    format!("{}-{}.socket", cx.host.passt_prefix.display(), net.device.alias())
}

/// Adds the process, and returns the backend.
pub(super) fn props(cx: &Context<'_>, net: &Net<'_>, args: &mut Args) -> Result<Props, Error> {
    start(cx, net, args)?;
    let mut props = Props::default()
        .with("type", "stream")
        .with("addr", json!({"type": "unix", "path": socket(cx, net)}))
        .with("server", false);
    let has = |key| {
        let path = format!("netdev_add/arg-type/+stream/{key}");
        cx.entry.schema().has(&path).is_yes()
    };
    match (has("reconnect"), has("reconnect-ms")) {
        (true, true) => props.set("reconnect-ms", RECONNECT_SECONDS * 1000),
        (true, false) => props.set("reconnect", RECONNECT_SECONDS),
        (false, _) => {}
    }
    Ok(props)
}

/// Adds the process.
pub(super) fn start(cx: &Context<'_>, net: &Net<'_>, args: &mut Args) -> Result<(), Error> {
    let view = net.view;
    let path = socket(cx, net);
    let mut words: Vec<String> = Vec::new();
    if net.r#type == InterfaceType::Vhostuser {
        words.push("--vhost-user".to_owned());
    }
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    add("--socket", path.clone());
    if let Some(mtu) = view.number::<u32>("mtu@size")?.filter(|mtu| *mtu > 0) {
        add("--mtu", mtu.to_string());
    }
    if let Some(device) = view.text("source@dev") {
        add("--interface", device.to_owned());
    }
    if let Some(file) = view.text("backend@logFile") {
        add("--log-file", file.to_owned());
    }
    for ip in user::addresses(net)? {
        add("--address", ip.address.to_string());
        if let Some(prefix) = ip.prefix.filter(|_| ip.address.is_ipv4()) {
            add("--netmask", prefix.to_string());
        }
    }
    for forward in view.children("portForward") {
        forward.require("@proto")?;
        let is_udp = forward.one_of("@proto", &["tcp", "udp"])? == Some("udp");
        add(if is_udp { "--udp-ports" } else { "--tcp-ports" }, ports(forward)?);
    }
    args.helper(Helper { program: "passt".into(), args: words, socket: path.into() });
    Ok(())
}

/// Returns the ports of the host that are forwarded to the guest.
fn ports(forward: View<'_>) -> Result<String, Error> {
    let mut text = String::new();
    let address = forward.text("@address");
    let device = forward.text("@dev");
    if let Some(address) = address {
        let Ok(address) = address.parse::<std::net::IpAddr>() else {
            return Err(forward.invalid("@address", "it is not an address"));
        };
        text.push_str(&address.to_string());
    }
    if let Some(device) = device {
        text.push_str(&format!("%{device}"));
    }
    if address.or(device).is_some() {
        text.push('/');
    }
    let ranges: Vec<String> = forward.children("range").map(range).collect::<Result<_, _>>()?;
    text.push_str(&if ranges.is_empty() { "all".to_owned() } else { ranges.join(",") });
    Ok(text)
}

fn range(view: View<'_>) -> Result<String, Error> {
    view.require("@start")?;
    let port = |place| -> Result<Option<u32>, Error> {
        match view.number::<u16>(place)? {
            Some(0) => Err(view.invalid(place, "there is no port 0")),
            port => Ok(port.map(u32::from)),
        }
    };
    let (start, end, to) = (port("@start")?.unwrap_or(0), port("@end")?, port("@to")?);
    let is_excluded = view.yes_no("@exclude")? == Some(true);
    let mut text = format!("{}{start}", if is_excluded { "~" } else { "" });
    if let Some(end) = end {
        text.push_str(&format!("-{end}"));
    }
    if let Some(to) = to {
        text.push_str(&format!(":{to}"));
        if let Some(last) = end.and_then(|end| (end + to).checked_sub(start)) {
            text.push_str(&format!("-{last}"));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use capscache_domain::Guest;

    use super::ports;
    use crate::view::Reader;

    #[test]
    fn ports_have_the_notation_of_passt() {
        let xml = "<domain type='kvm'><os><type>hvm</type></os><devices><interface type='user'>\
            <portForward proto='tcp' address='2001:db8::1:10'><range start='22' to='2022'/>\
            <range start='1000' end='1050'/><range start='1020' exclude='yes'/>\
            <range start='1030' end='1040' exclude='yes'/></portForward>\
            <portForward proto='udp' address='1.2.3.4' dev='eth0'>\
            <range start='5000' end='5020' to='6000'/></portForward>\
            <portForward proto='tcp'/></interface></devices></domain>";
        let guest = Guest::from_xml(xml).unwrap();
        let root = guest.to_element();
        let reader = Reader::new(&root, &guest);
        let interface = reader.root().child("devices").unwrap().child("interface").unwrap();
        let ports: Vec<_> = interface.children("portForward").map(|f| ports(f).unwrap()).collect();
        assert_eq!(
            ports,
            [
                "2001:db8::1:10/22:2022,1000-1050,~1020,~1030-1040",
                "1.2.3.4%eth0/5000-5020:6000-6020",
                "all",
            ]
        );
    }
}
