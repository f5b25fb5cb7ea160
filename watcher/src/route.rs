//! The route of a path: the directory entries that its resolution passes through.
//!
//! inotify reports changes in a directory, but not changes of the names on the route to it: neither a link
//! that gets another target, nor a parent that is renamed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The number of links that the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The resolution of a path, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Directories, and the name that is looked up in each, in this order: no link is among the
    /// directories. If a name does not exist, its directory is the last one.
    pub(crate) steps: Vec<(PathBuf, OsString)>,
    /// The file or directory at the end, by its path without links; `None` if nothing is there.
    pub(crate) end: Option<PathBuf>,
    /// The directory without search permission, if the route ends at one.
    pub(crate) closed: Option<PathBuf>,
}

impl Route {
    /// Resolves a path now.
    pub(crate) fn to(path: &Path) -> Route {
        let mut route = Route::default();
        let Ok(path) = std::path::absolute(path) else { return route };
        let mut left: VecDeque<OsString> = names(&path).collect();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            route.steps.push((here.clone(), name));
            let status = match fs::symlink_metadata(&next) {
                Ok(status) => status,
                Err(error) => {
                    if error.kind() == ErrorKind::PermissionDenied {
                        // No change in it is visible until the directory may be searched.
                        route.steps.pop();
                        route.closed = Some(here);
                    }
                    return route;
                }
            };
            if status.is_symlink() {
                links += 1;
                let Ok(target) = fs::read_link(&next) else { return route };
                if links > MOST_LINKS {
                    return route;
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                left = names(&target).chain(left).collect();
            } else if status.is_dir() || left.is_empty() {
                here = next;
            } else {
                return route;
            }
        }
        route.end = Some(here);
        route
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    };
    path.components().filter_map(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn steps(route: &Route, below: &Path) -> Vec<String> {
        let step = |(directory, name): &(PathBuf, OsString)| {
            let directory = directory.strip_prefix(below).ok()?;
            Some(format!("{}:{}", directory.display(), name.display()))
        };
        route.steps.iter().filter_map(step).collect()
    }

    #[test]
    fn a_route_has_every_directory_and_link_on_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/qemu"), "").unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink(root.join("bin/qemu"), root.join("link")).unwrap();
        let route = Route::to(&root.join("link"));
        assert_eq!(
            steps(&route, &root),
            [":link", ":bin", ":usr", "usr:bin", "usr/bin:qemu"],
            "the link, its target, and the links in that"
        );
        assert_eq!(route.steps[0], (PathBuf::from("/"), root.iter().nth(1).unwrap().to_owned()));
        assert_eq!(route.end, Some(root.join("usr/bin/qemu")));
    }

    #[test]
    fn the_route_of_a_missing_file_ends_at_the_first_missing_name() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let route = Route::to(&root.join("opt/qemu/bin/qemu"));
        assert_eq!((steps(&route, &root), route.end), (vec![":opt".to_owned()], None));
    }

    #[test]
    fn a_parent_directory_is_that_of_the_target_of_a_link() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a/b", root.join("link")).unwrap();
        assert_eq!(Route::to(&root.join("link/..")).end, Some(root.join("a")));
    }

    #[test]
    fn cyclic_links_and_files_on_the_route_end_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let route = Route::to(&root.join("loop"));
        assert_eq!(route.end, None);
        assert_eq!(route.steps.len(), MOST_LINKS + root.iter().count());
        fs::write(root.join("file"), "").unwrap();
        assert_eq!(Route::to(&root.join("file/qemu")).end, None);
    }
}
