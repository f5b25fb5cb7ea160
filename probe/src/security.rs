//! Security modules, which may refuse what file modes and capabilities allow.

use std::fmt;
use std::fs;

use capscache_format::Escaped;

/// The security modules of this host that are active and enforce their policy, as far as this process can
/// read.
///
/// `Display` is an addition to a message, and empty where none is active.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityModules {
    /// True if AppArmor is active.
    pub apparmor: bool,
    /// True if SELinux is active.
    pub selinux: bool,
    /// The AppArmor profile or SELinux context of this process.
    pub context: Option<String>,
}

impl SecurityModules {
    /// Reads which are active now: from `/sys/kernel/security/lsm` where that is mounted, else from the files of
    /// each module.
    pub(crate) fn active() -> SecurityModules {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let listed = read("/sys/kernel/security/lsm");
        let is_listed = |name| listed.trim().split(',').any(|module| module == name);
        let apparmor = is_listed("apparmor")
            || read("/sys/module/apparmor/parameters/enabled").starts_with('Y');
        // SELinux that is permissive only logs.
        let selinux = match read("/sys/fs/selinux/enforce").trim() {
            "" => is_listed("selinux"),
            enforce => enforce == "1",
        };
        let context = read("/proc/self/attr/current");
        let context = context.trim_matches(['\0', '\n']);
        let context =
            (apparmor || selinux).then_some(context).filter(|context| !context.is_empty());
        SecurityModules { apparmor, selinux, context: context.map(str::to_owned) }
    }
}

impl fmt::Display for SecurityModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.apparmor {
            f.write_str("; AppArmor is active here and may refuse it: see `journalctl -k`")?;
        }
        if self.selinux {
            f.write_str("; SELinux is active here and may refuse it: see `ausearch -m avc`")?;
        }
        match &self.context {
            Some(context) => write!(f, " (this process runs as {})", Escaped::new(context)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_active_module_is_named_with_its_log() {
        let none = SecurityModules::default();
        assert_eq!(none.to_string(), "");
        let apparmor = SecurityModules {
            apparmor: true,
            context: Some("docker-default (enforce)".into()),
            ..SecurityModules::default()
        };
        assert_eq!(
            apparmor.to_string(),
            "; AppArmor is active here and may refuse it: see `journalctl -k` (this process runs as \
             docker-default (enforce))"
        );
        let selinux = SecurityModules { selinux: true, ..SecurityModules::default() };
        assert!(selinux.to_string().ends_with("see `ausearch -m avc`"), "{selinux}");
    }
}
