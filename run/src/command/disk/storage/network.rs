//! Storage in the network.

use serde_json::{Value, json};

use super::Storage;
use crate::command::character::tls;
use crate::command::disk::auth::{self, Auth};
use crate::command::disk::encryption::Encryption;
use crate::command::disk::hosts::{self, Hosts};
use crate::command::disk::iscsi::{Unit, portal};
use crate::command::disk::url;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// The places that options of a source depend on.
struct Source<'a, 's> {
    cx: &'s Context<'a>,
    view: View<'a>,
    /// The name of the node.
    node: &'s str,
    hosts: Hosts<'a>,
    auth: Option<Auth>,
}

/// Reads a source in the network.
pub(super) fn read<'a>(
    cx: &Context<'a>,
    view: View<'a>,
    outer: Option<View<'a>>,
    node: &str,
    encryption: Option<&Encryption<'_>>,
) -> Result<Storage, Error> {
    let protocol = view.require("@protocol")?;
    if view.peek("@name") == Some("") && protocol != "nbd" {
        return Err(view.invalid("@name", "it is empty"));
    }
    let hosts = Hosts::read(view, protocol)?;
    let auth = auth::read(cx, view, outer, protocol, node)?;
    let source = Source { cx, view, node, hosts, auth };
    if view.yes_no("@tls")? == Some(true) && protocol != "nbd" {
        return Err(view.invalid("@tls", "only nbd is encrypted by TLS"));
    }
    let mut objects: Vec<Props> = source.auth.iter().map(|auth| auth.object.clone()).collect();
    let props = match protocol {
        "nbd" => source.nbd(&mut objects)?,
        "rbd" => source.rbd(encryption)?,
        "gluster" => source.gluster()?,
        "iscsi" => source.iscsi()?,
        "http" | "https" | "ftp" | "ftps" => source.curl(protocol, &mut objects)?,
        "ssh" => source.ssh()?,
        "nfs" => source.nfs()?,
        _ => return Err(view.unsupported("@protocol", "QEMU does not have this protocol")),
    };
    Ok(Storage::new(props, objects))
}

impl Source<'_, '_> {
    fn username(&self) -> Option<&str> {
        self.auth.as_ref().map(|auth| auth.username.as_str())
    }

    fn secret(&self) -> Option<&str> {
        self.auth.as_ref().map(|auth| auth.id.as_str())
    }

    fn nbd(&self, objects: &mut Vec<Props>) -> Result<Props, Error> {
        let mut props = Props::device("nbd")
            .with("server", hosts::address(self.hosts.only(self.view)?))
            .with_some("export", self.view.text("@name").filter(|name| !name.is_empty()));
        if self.view.yes_no("@tls")? == Some(true) {
            props.set("tls-creds", self.add_tls(objects)?);
        }
        if let Some(name) = self.view.text("@tlsHostname") {
            if !self.cx.entry.schema().has("blockdev-add/arg-type/+nbd/tls-hostname").is_yes() {
                return Err(self.view.lacks("@tlsHostname", "the setting; remove it"));
            }
            props.set("tls-hostname", name);
        }
        let delay: Option<u32> = self.view.number("reconnect@delay")?;
        props.set_some("reconnect-delay", delay.filter(|delay| *delay > 0));
        Ok(props)
    }

    /// Adds the credentials of TLS, and returns their id.
    fn add_tls(&self, objects: &mut Vec<Props>) -> Result<String, Error> {
        let id = format!("obj{}_tls0", self.node);
        let Some(credentials) = &self.cx.host.nbd_tls else {
            return Err(self.view.unsupported("@tls", "the host has no certificates for NBD"));
        };
        let ids = tls::Ids { credentials: &id, user: &id };
        objects.extend(tls::objects(self.cx, self.view, credentials, ids, false)?);
        Ok(id)
    }

    fn rbd(&self, encryption: Option<&Encryption<'_>>) -> Result<Props, Error> {
        let (pool, image) = self.split_name()?;
        let servers = self.hosts.all().map(|host| hosts::inet(self.view, host));
        let servers = servers.collect::<Result<Vec<Value>, Error>>()?;
        Ok(Props::device("rbd")
            .with("pool", pool)
            .with("image", image)
            .with_some("snapshot", self.view.text("snapshot@name").filter(|name| !name.is_empty()))
            .with_some("conf", self.view.text("config@file").filter(|file| !file.is_empty()))
            .with_some("server", (!servers.is_empty()).then_some(servers))
            .with_some("encrypt", encryption.and_then(Encryption::storage_props))
            .with_some("user", self.username())
            .with_some("auth-client-required", self.auth.as_ref().map(|_| json!(["cephx", "none"])))
            .with_some("key-secret", self.secret()))
    }

    fn gluster(&self) -> Result<Props, Error> {
        /// The level of messages that libvirt sets.
        const DEBUG: u32 = 4;
        let (volume, path) = self.split_name()?;
        let servers: Vec<Value> = self.hosts.all().map(hosts::address).collect();
        Ok(Props::device("gluster")
            .with("volume", volume)
            .with("path", path)
            .with("server", servers)
            .with("debug", DEBUG))
    }

    /// Splits the name at the first slash.
    fn split_name(&self) -> Result<(&str, &str), Error> {
        let name = self.view.require("@name")?;
        let parts =
            name.split_once('/').filter(|(first, rest)| !first.is_empty() && !rest.is_empty());
        parts.ok_or_else(|| {
            self.view
                .invalid("@name", "it must name the pool or volume, and after a slash the image")
        })
    }

    fn iscsi(&self) -> Result<Props, Error> {
        let unit = Unit::read(self.view)?;
        let (name, port) = self.hosts.only(self.view)?.tcp(self.view)?;
        Ok(unit.node(self.view, &portal(name, port), self.username(), self.secret()))
    }

    fn curl(&self, protocol: &str, objects: &mut Vec<Props>) -> Result<Props, Error> {
        let is_http = protocol.starts_with("http");
        let host = self.hosts.only(self.view)?;
        let query = if is_http { self.view.text("@query") } else { None };
        let url = url::format(self.view, protocol, host, self.view.require("@name")?, query)?;
        let verify = if protocol.ends_with('s') { self.view.yes_no("ssl@verify")? } else { None };
        let cookies = if is_http { auth::cookies(self.cx, self.view, self.node)? } else { None };
        let cookie = cookies.map(|(id, object)| {
            objects.push(object);
            id
        });
        let positive = |place| Ok::<_, Error>(self.view.number(place)?.filter(|n: &u64| *n > 0));
        Ok(Props::device(protocol)
            .with("url", url)
            .with_some("username", self.username())
            .with_some("password-secret", self.secret())
            .with_some("sslverify", verify)
            .with_some("cookie-secret", cookie)
            .with_some("timeout", positive("timeout@seconds")?)
            .with_some("readahead", positive("readahead@size")?))
    }

    fn ssh(&self) -> Result<Props, Error> {
        // libvirt gives the list of hosts, and keys, to nbdkit only, which does not serve disks here. QEMU has a list of its
        // own, without which it connects to no host; keys, which it would not use, are not read.
        if let Some(hosts) = self.view.child("knownHosts") {
            hosts.require("@path")?;
        }
        let user = self.view.text("identity@username");
        Ok(Props::device("ssh")
            .with("path", self.view.require("@name")?)
            .with("server", hosts::inet(self.view, self.hosts.only(self.view)?)?)
            .with_some("user", self.username().or(user)))
    }

    fn nfs(&self) -> Result<Props, Error> {
        let host = self.hosts.only(self.view)?;
        let server = hosts::nfs(self.view, host)?;
        let id = |place| {
            let Some(text) = self.view.text(place) else { return Ok(None) };
            let digits = text.strip_prefix('+').unwrap_or(text);
            let id = digits.parse::<u32>();
            let what = "names of users are not resolved here; use a number";
            id.map(Some).map_err(|_| self.view.unsupported(place, what))
        };
        Ok(Props::device("nfs")
            .with("server", server)
            .with_some("path", self.view.text("@name"))
            .with_some("user", id("identity@user")?)
            .with_some("group", id("identity@group")?))
    }
}
