//! The parts that not every known release of libvirt reports.
//!
//! All parts are derived for each release; those that it does not report are then left out.

use super::section::Section;
use crate::release::Release;

/// A part that some releases report.
struct Part {
    /// The path: a section or feature, the list in it, a value of the list.
    path: &'static str,
    /// The first known release.
    first: Release,
    /// The last known release.
    last: Release,
}

/// Returns a part that is reported since a release.
const fn since(first: Release, path: &'static str) -> Part {
    Part { path, first, last: Release::NEWEST }
}

/// Returns a part that is not reported after a release.
const fn until(last: Release, path: &'static str) -> Part {
    Part { path, first: Release::OLDEST, last }
}

/// All other parts are reported by each release.
const PARTS: [Part; 22] = [
    since(Release::V10_0, "async-teardown"),
    since(Release::V10_0, "cpu/host-model/maxphysaddr"),
    since(Release::V10_0, "cpu/custom/riscv64"),
    since(Release::V10_0, "crypto"),
    since(Release::V10_0, "cpu/custom/vendor of s390"),
    since(Release::V11_3, "cpu/custom/blockers"),
    since(Release::V11_3, "cpu/custom/canonical"),
    since(Release::V11_3, "graphics/type/rdp"),
    since(Release::V11_3, "interface"),
    since(Release::V11_3, "launchSecurity"),
    since(Release::V11_3, "panic"),
    since(Release::V11_3, "ps2"),
    until(Release::V11_3, "filesystem/driverType/handle"),
    since(Release::V12_8, "firmwareFeatures"),
    since(Release::V12_8, "varstore"),
    since(Release::V12_8, "disk/bus/nvme"),
    since(Release::V12_8, "hostdev/iommufd"),
    since(Release::V12_8, "console"),
    // Other releases report it for that architecture alone.
    since(Release::V12_8, "s390-pv/other than s390"),
    since(Release::V12_8, "tdx"),
    since(Release::V12_8, "hyperv/defaults"),
    since(Release::V12_8, "launchSecurity/sectype/tdx"),
];

/// Returns true if a release reports a part.
pub(super) fn has(release: Release, path: &str) -> bool {
    let part = PARTS.iter().find(|part| part.path == path);
    part.is_none_or(|part| part.first <= release && release <= part.last)
}

/// Returns a section without what a release does not report; `None` if it does not report the section.
pub(super) fn reported(release: Release, mut section: Section) -> Option<Section> {
    let name = section.name;
    for lists in section.enums.iter_mut() {
        lists.retain(|list| has(release, &format!("{name}/{}", list.name)));
        for list in lists {
            let path = |value| format!("{name}/{}/{value}", list.name);
            list.values.retain(|value| has(release, &path(*value)));
        }
    }
    has(release, name).then_some(section)
}

#[cfg(test)]
mod tests {
    use super::super::section::Enumeration;
    use super::*;

    #[test]
    fn a_section_has_the_lists_and_values_of_its_release() {
        let lists = || {
            vec![
                Enumeration { name: "bus", values: vec!["scsi", "nvme"] },
                Enumeration { name: "model", values: vec!["virtio"] },
            ]
        };
        let disk = |release| reported(release, Section::new("disk", lists())).unwrap();
        assert_eq!(disk(Release::V12_8).enums, Some(lists()));
        assert_eq!(disk(Release::V11_3).enums.unwrap()[0].values, ["scsi"]);
        let hostdev = |release| {
            let lists = ["mode", "iommufd"].map(|name| Enumeration { name, values: vec![] });
            let section = reported(release, Section::new("hostdev", lists.to_vec())).unwrap();
            section.enums.unwrap().iter().map(|list| list.name).collect::<Vec<_>>()
        };
        assert_eq!(hostdev(Release::V11_3), ["mode"]);
        assert_eq!(hostdev(Release::V12_8), ["mode", "iommufd"]);
    }

    #[test]
    fn sections_are_reported_from_their_first_release_to_their_last() {
        let releases = |path| Release::ALL.map(|release| has(release, path));
        assert_eq!(releases("disk"), [true; 4]);
        assert_eq!(releases("crypto"), [false, true, true, true]);
        assert_eq!(releases("panic"), [false, false, true, true]);
        assert_eq!(releases("filesystem/driverType/handle"), [true, true, true, false]);
        let crypto = || Section { name: "crypto", enums: None };
        assert_eq!(reported(Release::V9_0, crypto()), None);
        assert_eq!(reported(Release::V10_0, crypto()), Some(crypto()));
    }
}
