//! A host that is the same everywhere.

use std::time::{Duration, UNIX_EPOCH};

use capscache_run::{Encrypted, Host, Root, SecretError, SecretId, SecretUsage, Secrets};

/// Returns the places of a guest on a host with two nodes and pages of 2 MiB.
pub(crate) fn host(name: &str) -> Host {
    let environment = vec![("PATH".to_owned(), "/usr/bin".to_owned())];
    let mut host = Root::new("/srv/root").unwrap().host(name, environment, None).unwrap();
    host.user = Vec::new();
    host.variables = Vec::new();
    host.now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    host.page_kib = 4;
    host.nodes = vec![0, 1];
    host.node_of_cpu = |cpu| Some(cpu / 4);
    host.hugepages = vec![(2048, "/dev/hugepages/guest".into())];
    host.render_node = Some("/dev/dri/renderD128".into());
    host.cpu_map = Some("/none".into());
    host.virtiofsd = "/usr/libexec/virtiofsd".into();
    host.probe = |_, _| Ok(None);
    host.opens = |_| true;
    host
}

/// Secrets that are all the same.
pub(crate) struct Same;

impl Secrets for Same {
    fn secret(&self, _: SecretUsage, _: SecretId<'_>) -> Result<Encrypted, SecretError> {
        self.encrypt(&[])
    }

    fn encrypt(&self, _: &[u8]) -> Result<Encrypted, SecretError> {
        Ok(Encrypted {
            data: "QUFBQUFBQUFBQUFBQUFBQQ==".to_owned(),
            iv: "AAECAwQFBgcICQoLDA0ODw==".to_owned(),
        })
    }
}
