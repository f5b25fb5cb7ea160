//! The places of a guest in a root, and facts about the host that its command line depends on.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capscache_libvirt::CpuMap;

use super::{MAX_NAME_BYTES, Root, RootError, firmware};
use crate::host::{CharacterTls, Descriptor, FIRST_CID, Host, Spice, Vnc};
use crate::user::User;

/// The first number of the descriptors that are passed to an emulator.
const FIRST_DESCRIPTOR: i32 = 3;

impl Root {
    /// Returns the places of a guest in this root, and the environment of its emulator: a locale, `environment`, and
    /// the name of its user. Writes nothing.
    ///
    /// # Errors
    /// [`RootError::Name`].
    pub fn host(
        &self,
        name: &str,
        environment: Vec<(String, String)>,
        user: Option<&User>,
    ) -> Result<Host, RootError> {
        check(name)?;
        let guest_dir = self.path().join("run/guest").join(name);
        let user = match user {
            Some(user) => Some(user.name.clone()),
            None => std::env::var("USER").ok(),
        };
        let user = user.map(|user| ["USER", "LOGNAME"].map(|name| (name.to_owned(), user.clone())));
        let locale = ("LC_ALL".to_owned(), "C".to_owned());
        Ok(Host {
            emulator: PathBuf::new(),
            channel_dir: guest_dir.join("channel"),
            memory_dir: guest_dir.join("ram"),
            nvram_dir: self.path().join("lib/nvram"),
            cpu_map: Some(CpuMap::FOLDER.into()),
            firmware: firmware::descriptions,
            flash_pairs: firmware::pairs(),
            page_kib: u64::try_from(rustix::param::page_size() / 1024).unwrap_or(4),
            hugepages: hugepages(&format!("{:016x}-{name}", hash(self.path()))),
            now: SystemTime::now(),
            environment: std::iter::once(locale).chain(environment).collect(),
            user: user.into_iter().flatten().collect(),
            number,
            network: |_| None,
            nodes: nodes(),
            advised_nodes: |_, _| None,
            node_of_cpu,
            vsock_cid: FIRST_CID,
            virtiofsd: virtiofsd(),
            passt_prefix: guest_dir.join("passt"),
            usb_device,
            scsi_generic,
            probe: crate::images::probe,
            exists: |path| path.exists(),
            opens: |path| std::fs::File::options().read(true).write(true).open(path).is_ok(),
            is_cdrom,
            nbd_tls: None,
            vhost_without_kvm: false,
            allows_host_audio: false,
            variables: variables(),
            tpm_socket: guest_dir.join("swtpm.sock"),
            bus_socket: guest_dir.join("dbus.sock"),
            character_tls: CharacterTls::default(),
            vnc: Vnc::default(),
            spice: Spice::default(),
            render_node: render_node(),
            guest_dir,
        })
    }
}

/// Checks that a name can be that of a file.
fn check(name: &str) -> Result<(), RootError> {
    let is_file = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name != "." && name != "..";
    match is_file && !name.contains(['/', '\n', '\0']) {
        true => Ok(()),
        false => Err(RootError::Name { name: name.to_owned() }),
    }
}

/// Numbers descriptors in the order of the command line.
fn number(_: &Descriptor, before: usize) -> i32 {
    i32::try_from(before).map_or(i32::MAX, |before| before.saturating_add(FIRST_DESCRIPTOR))
}

/// Returns the variables of this process that are text.
fn variables() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Returns the names in a directory of sysfs; none if it is not there.
fn names(directory: &str) -> Vec<String> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().into_string().ok()).collect()
}

/// Returns the NUMA nodes, in order.
fn nodes() -> Vec<u32> {
    let names = names("/sys/devices/system/node");
    let number = |name: &String| name.strip_prefix("node")?.parse().ok();
    let mut nodes: Vec<u32> = names.iter().filter_map(number).collect();
    nodes.sort_unstable();
    nodes
}

/// Returns the NUMA node of a CPU.
fn node_of_cpu(cpu: u32) -> Option<u32> {
    let names = names(&format!("/sys/devices/system/cpu/cpu{cpu}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok())
}

/// Returns the bus and the device of the only USB device of a vendor and product.
fn usb_device(vendor: u32, product: u32) -> Option<(u32, u32)> {
    let names = names("/sys/bus/usb/devices");
    let mut found = names.iter().filter_map(|name| {
        let read = |file, radix| {
            let text = fs::read_to_string(format!("/sys/bus/usb/devices/{name}/{file}")).ok()?;
            u32::from_str_radix(text.trim(), radix).ok()
        };
        let is_it = read("idVendor", 16)? == vendor && read("idProduct", 16)? == product;
        is_it.then(|| Some((read("busnum", 10)?, read("devnum", 10)?))).flatten()
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Returns the character device of a SCSI device.
fn scsi_generic(adapter: &str, [bus, target, unit]: [u64; 3]) -> Option<PathBuf> {
    let host: u32 = adapter.strip_prefix("scsi_host")?.parse().ok()?;
    let device = format!("/sys/bus/scsi/devices/{host}:{bus}:{target}:{unit}/scsi_generic");
    names(&device).first().map(|name| PathBuf::from("/dev").join(name))
}

/// Returns true if a block device, or one that a link points to, is a CD-ROM drive.
fn is_cdrom(path: &Path) -> bool {
    let device = fs::canonicalize(path).ok();
    let name = device.and_then(|device| Some(device.strip_prefix("/dev").ok()?.to_owned()));
    name.is_some_and(|name| name.to_string_lossy().starts_with("sr"))
}

/// Returns the daemon of virtiofs: where distributions have it, last that of QEMU before 8.0.
fn virtiofsd() -> PathBuf {
    let usual = "/usr/libexec/virtiofsd";
    let paths = [usual, "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"];
    paths.into_iter().find(|path| Path::new(path).is_file()).unwrap_or(usual).into()
}

/// Returns the first GPU that renders.
fn render_node() -> Option<PathBuf> {
    let names = names("/dev/dri");
    let first = names.into_iter().filter(|name| name.starts_with("renderD")).min();
    first.map(|name| PathBuf::from("/dev/dri").join(name))
}

/// Returns a guest's directories on the mount points of hugetlbfs by the size of their pages in KiB, that of the default
/// size first.
fn hugepages(name: &str) -> Vec<(u64, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<_> = mounts.lines().filter_map(hugetlbfs).collect();
    if found.len() > 1 {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let default = memory.lines().find_map(|line| line.strip_prefix("Hugepagesize:"));
        let default = default.and_then(|size| size.trim().trim_end_matches(" kB").parse().ok());
        found.sort_by_key(|(size, _)| (Some(*size) != default, *size));
    }
    found.into_iter().map(|(size, mount)| (size, mount.join("capscache").join(name))).collect()
}

/// Returns a number of a root (FNV-1a), so that guests of several roots can have the same name on one hugetlbfs.
fn hash(root: &Path) -> u64 {
    let bytes = root.as_os_str().as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Parses a line of `/proc/self/mounts`, if it is a mount of hugetlbfs.
fn hugetlbfs(line: &str) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(' ');
    let (_, path, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if kind != "hugetlbfs" {
        return None;
    }
    let size = options.split(',').find_map(|option| option.strip_prefix("pagesize="))?;
    let (digits, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit {
        "K" => 1,
        "M" => 1 << 10,
        "G" => 1 << 20,
        _ => return None,
    };
    Some((digits.parse::<u64>().ok()?.checked_mul(factor)?, path.into()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let root = Root::new("/r/./x").unwrap();
        for name in ["", ".", "..", "a/b", "a\nb", "a\0b", &"n".repeat(201)] {
            let refused = root.host(name, Vec::new(), None).map(|host| host.guest_dir);
            assert!(matches!(refused, Err(RootError::Name { .. })), "{name:?}");
        }
        let host = root.host("..x", Vec::new(), None).unwrap();
        assert_eq!(host.guest_dir, Path::new("/r/x/run/guest/..x"));
    }

    #[test]
    fn roots_have_their_own_directories_of_hugepages() {
        assert_eq!(hash(Path::new("")), 0xcbf2_9ce4_8422_2325);
        assert_ne!(hash(Path::new("/a")), hash(Path::new("/b")));
    }

    #[test]
    fn mounts_of_hugepages_have_their_size() {
        let line = "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0";
        assert_eq!(hugetlbfs(line), Some((2048, "/dev/hugepages".into())));
        assert_eq!(hugetlbfs("tmpfs /tmp tmpfs rw,size=2M 0 0"), None);
    }
}
