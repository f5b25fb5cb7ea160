//! Checks that documents about the code are true.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(root, &mut files);
    let code: Vec<String> =
        files.iter().map(|path| fs::read_to_string(path).expect("text")).collect();
    let document = fs::read_to_string(root.join("docs/reliability.md")).expect("the document");
    let quoted = document.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted.filter(|name| name.matches('_').count() >= 3).collect();
    assert!(names.len() > 25, "{} tests are named", names.len());
    for name in names {
        let wanted = format!("fn {name}(");
        let attributes = code.iter().find_map(|text| {
            let (before, _) = text.split_once(&wanted)?;
            before.rsplit("\n\n").next()
        });
        let attributes = attributes.unwrap_or_else(|| panic!("no test is called {name}"));
        assert!(attributes.contains("#[test]"), "{name} is not a test");
        assert!(!attributes.contains("#[ignore"), "{name} is not run");
    }
}

/// Errors, tables and lines show paths with `Escaped`: `Path::display` passes every character of a name.
#[test]
fn every_path_in_a_message_is_escaped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for room in [
        "cache-format/src",
        "process/src",
        "probe/src",
        "src",
        "watcher/src",
        "libvirt/src",
        "service/src",
        "cli/src",
        "bindings/c/src",
        "bindings/python/src",
    ] {
        sources(&root.join(room), &mut files);
    }
    let is_test = |path: &Path| {
        path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
            || path.ends_with("session/fake.rs")
    };
    files.retain(|path| !is_test(path));
    assert!(files.len() > 60, "{} files", files.len());
    for path in files {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            let shows = line.contains(".display()") && !is_comment;
            assert!(!shows, "{}:{}: {line}", path.display(), number + 1);
        }
    }
}

/// `CONTRIBUTING.md` lists the files and folders that have unsafe code, each between backquotes.
#[test]
fn unsafe_code_is_only_where_the_rule_permits_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("CONTRIBUTING.md")).expect("the document");
    let (_, section) = document.split_once("## Unsafe code").expect("the rule");
    let section = section.split("\n## ").next().expect("text");
    let quoted = section.split('`').skip(1).step_by(2);
    let permitted: Vec<&str> = quoted.filter(|name| name.contains('/')).collect();
    assert!(permitted.len() >= 4, "{permitted:?}");
    let mut files = Vec::new();
    sources(root, &mut files);
    let mut used = vec![false; permitted.len()];
    for path in files {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut code = code.filter(|line| !line.contains('"'));
        if !code.any(|line| {
            ["unsafe {", "unsafe fn ", "unsafe impl "].iter().any(|word| line.contains(word))
        }) {
            continue;
        }
        let path = path.strip_prefix(root).expect("a file of the repository").with_extension("");
        // A module in a folder of its own is permitted with the folder.
        let at = permitted.iter().position(|place| path.starts_with(place.trim_end_matches(".rs")));
        used[at.unwrap_or_else(|| panic!("{} has unsafe code", path.display()))] = true;
    }
    for (place, used) in permitted.iter().zip(used) {
        assert!(used, "{place} has no unsafe code");
    }
}
