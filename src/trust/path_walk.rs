//! The directories and links through which the kernel resolves a path.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The number of links that the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The resolution of a path.
///
/// inotify reports changes in a directory, and none of the names that lead to it, such as a link that is
/// replaced or a parent that is renamed: a watch of a path needs one for each step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathWalk {
    /// The directories that are searched, and the name that is searched for in each, in this order. No
    /// directory is a link. Where a name is absent, the last one is the directory in which it would appear.
    pub steps: Vec<(PathBuf, OsString)>,
    /// The file at the end, by its path without links; `None` if it is absent.
    pub end: Option<PathBuf>,
    /// The directory that this process may not search, if the walk ends there.
    pub unsearchable: Option<PathBuf>,
    /// True if the path leads to no file for another reason: it has more links than the kernel follows, such as
    /// those of a cycle, or a link that cannot be read.
    pub is_unresolvable: bool,
}

impl PathWalk {
    /// Resolves a path as it is now.
    pub fn of(path: &Path) -> PathWalk {
        let mut walk = PathWalk::default();
        let Ok(path) = std::path::absolute(path) else {
            walk.is_unresolvable = true;
            return walk;
        };
        let mut left: VecDeque<OsString> = names(&path).collect();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            walk.steps.push((here.clone(), name));
            let status = match fs::symlink_metadata(&next) {
                Ok(status) => status,
                Err(error) => {
                    if error.kind() == ErrorKind::PermissionDenied {
                        // Changes there cannot be detected until the directory may be searched.
                        walk.steps.pop();
                        walk.unsearchable = Some(here);
                    }
                    return walk;
                }
            };
            if status.is_symlink() {
                links += 1;
                let target = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS);
                let Some(target) = target else {
                    walk.is_unresolvable = true;
                    return walk;
                };
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                left = names(&target).chain(left).collect();
            } else if status.is_dir() || left.is_empty() {
                here = next;
            } else {
                return walk;
            }
        }
        walk.end = Some(here);
        walk
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

    fn steps(walk: &PathWalk, below: &Path) -> Vec<String> {
        let below_root = |(directory, name): &(PathBuf, OsString)| {
            let directory = directory.strip_prefix(below).ok()?;
            Some(format!("{}:{}", directory.display(), name.display()))
        };
        walk.steps.iter().filter_map(below_root).collect()
    }

    #[test]
    fn a_route_has_every_directory_and_link_on_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/qemu"), "").unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink(root.join("bin/qemu"), root.join("link")).unwrap();
        let walk = PathWalk::of(&root.join("link"));
        assert_eq!(
            steps(&walk, &root),
            [":link", ":bin", ":usr", "usr:bin", "usr/bin:qemu"],
            "the link, its target, and the links in that"
        );
        assert_eq!(walk.steps[0], (PathBuf::from("/"), root.iter().nth(1).unwrap().to_owned()));
        assert_eq!(walk.end, Some(root.join("usr/bin/qemu")));
    }

    #[test]
    fn the_route_of_a_missing_file_ends_at_the_first_missing_name() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let walk = PathWalk::of(&root.join("opt/qemu/bin/qemu"));
        assert_eq!((steps(&walk, &root), walk.end), (vec![":opt".to_owned()], None));
    }

    #[test]
    fn a_parent_directory_is_that_of_the_target_of_a_link() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a/b", root.join("link")).unwrap();
        assert_eq!(PathWalk::of(&root.join("link/..")).end, Some(root.join("a")));
    }

    #[test]
    fn cyclic_links_and_files_on_the_route_end_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let walk = PathWalk::of(&root.join("loop"));
        assert_eq!((&walk.end, walk.is_unresolvable), (&None, true));
        assert_eq!(walk.steps.len(), MOST_LINKS + root.iter().count());
        fs::write(root.join("file"), "").unwrap();
        assert_eq!(PathWalk::of(&root.join("file/qemu")).end, None);
    }
}
