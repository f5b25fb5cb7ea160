//! Finds the files that decide which program a wrapper script starts.
//!
//! A script is read as text, not run. Every word that may name a file is resolved: as a path, through `PATH`,
//! or relative to the directories in which the script may work. Variables are replaced by the values that the
//! script assigns to them. The result may have files that the script does not use: one too many costs a `stat`
//! and, when it changes, a probe. Decisions that a script makes only when it runs are not found here.

mod plain;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The number of bytes of a script that are read.
const MAX_SCRIPT_BYTES: u64 = 64 * 1024;

/// The number of files that are followed; further ones are left out.
const MAX_FILES: usize = 300;

/// The number of different words that are resolved.
const MAX_WORDS: usize = 5000;

/// The number of values of one variable that are followed, of replacements of variables in one word, and of
/// bytes of the result.
const MAX_VALUES: usize = 8;
const MAX_EXPANSIONS: usize = 64;
const MAX_WORD_BYTES: usize = 4096;

/// Words that a shell does not search for on `PATH`: reserved words and builtins (POSIX.1-2024,
/// XCU 2.4, 1.6, 2.15; bash's own).
const SHELL_WORDS: [&str; 71] = [
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "case",
    "cd",
    "command",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
    "x",
    "0",
    "1",
];

/// The files that a script resolves through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Files that exist, and paths at which no file exists.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Directories that it names.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Directories in which a command was searched for and not found, with the names of those commands: one
    /// that appears there would be found first.
    pub(crate) searched: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// A command was searched for on `PATH`, found or not.
    pub(crate) use_path: bool,
    /// A script may run further files: its text does not name them, or names more than are followed.
    pub(crate) is_incomplete: bool,
}

/// Finds the files that a program resolves through; none for one that is not a script. `variables` is the
/// environment of the program.
pub(crate) fn routes(program: &Path, variables: &[(OsString, OsString)]) -> Routes {
    let mut resolver = Resolver::new(variables);
    resolver.read_script(program);
    while let Some(file) = resolver.unread.pop_front() {
        resolver.read_script(&file);
    }
    resolver.routes.files.remove(program);
    let is_full = resolver.seen.len() >= MAX_FILES || resolver.words.len() >= MAX_WORDS;
    resolver.routes.is_incomplete |= is_full;
    resolver.routes
}

/// The environment of an emulator, as far as scripts use it: the `PATH` of this process, replaced and
/// extended by `further`.
pub(crate) fn environment(further: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> = further.to_vec();
    if !variables.iter().any(|(name, _)| name == "PATH") {
        variables.push(("PATH".into(), std::env::var_os("PATH").unwrap_or_default()));
    }
    variables
}

struct Resolver {
    routes: Routes,
    /// Every value of `PATH`, each with its directories in order.
    paths: BTreeSet<Vec<PathBuf>>,
    /// Values of variables; one that is assigned twice has both.
    variables: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Directories against which relative paths may be resolved.
    bases: BTreeSet<PathBuf>,
    /// Relative words with a slash, to be resolved against directories that are found later.
    relative: BTreeSet<Vec<u8>>,
    /// Words that were resolved, in the spelling of the scripts.
    words: BTreeSet<Vec<u8>>,
    seen: BTreeSet<PathBuf>,
    unread: VecDeque<PathBuf>,
}

impl Resolver {
    fn new(variables: &[(OsString, OsString)]) -> Resolver {
        let value = |value: &OsString| vec![value.as_bytes().to_vec()];
        Resolver {
            routes: Routes::default(),
            paths: BTreeSet::new(),
            variables: variables.iter().map(|(n, v)| (n.as_bytes().to_vec(), value(v))).collect(),
            bases: std::env::current_dir().into_iter().collect(),
            relative: BTreeSet::new(),
            words: BTreeSet::new(),
            seen: BTreeSet::new(),
            unread: VecDeque::new(),
        }
    }

    fn read_script(&mut self, path: &Path) {
        let Some(mut text) = text_of(path) else { return };
        let is_cut = u64::try_from(text.len()).is_ok_and(|read| read >= MAX_SCRIPT_BYTES);
        self.routes.is_incomplete |= is_cut || !plain::is_plain(&text);
        // A shell runs a script up to the data that is appended to it.
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
        }
        for path in [Some(path.to_owned()), fs::canonicalize(path).ok()].into_iter().flatten() {
            if let Some(directory) = path.parent() {
                self.add_base(directory);
            }
        }
        let lines = || {
            text.split(|byte| *byte == b'\n').enumerate().map(|(number, line)| {
                // The interpreter is in a line that is a comment to the script.
                let interpreter = (number == 0).then(|| line.strip_prefix(b"#!")).flatten();
                interpreter.unwrap_or_else(|| without_comment(line))
            })
        };
        for line in lines() {
            self.assign(line);
        }
        for path in self.expand(b"$PATH") {
            self.paths.insert(std::env::split_paths(OsStr::from_bytes(&path)).collect());
        }
        for line in lines() {
            for word in words(line) {
                let values = self.expand(&word);
                values.iter().for_each(|word| self.resolve_once(word));
            }
        }
    }

    /// Treats `NAME=VALUE` words of a line as assignments.
    fn assign(&mut self, line: &[u8]) {
        for word in line.split(|byte| byte.is_ascii_whitespace() || b";&|(".contains(byte)) {
            let Some(equals) = word.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (&word[..equals], &word[equals + 1..]);
            if !name.is_empty() && name.iter().all(|byte| is_name(*byte)) && !value.is_empty() {
                let values = self.variables.entry(name.to_vec()).or_default();
                let value: Vec<u8> =
                    value.iter().copied().filter(|byte| !b"\"'".contains(byte)).collect();
                if !values.contains(&value) && values.len() < MAX_VALUES {
                    values.push(value);
                }
            }
        }
    }

    /// Replaces the variables of a word by each of their values. A variable without a value leaves the text
    /// after it, which may be relative to any directory.
    fn expand(&self, word: &[u8]) -> Vec<Vec<u8>> {
        let mut expanded = Vec::new();
        let mut open = VecDeque::from([word.to_vec()]);
        // The values of variables may name further variables without end.
        for _ in 0..MAX_EXPANSIONS {
            let Some(word) = open.pop_front() else { break };
            let Some(start) = word.iter().position(|byte| *byte == b'$') else {
                expanded.push(word);
                continue;
            };
            if word.len() > MAX_WORD_BYTES {
                continue;
            }
            let (before, rest) = (&word[..start], &word[start + 1..]);
            let (name, default, after) = variable(rest);
            let mut values = self.variables.get(name).cloned().unwrap_or_default();
            if !default.is_empty() {
                values.push(default.to_vec());
            }
            if values.is_empty() {
                // `$D/bin/qemu`: relative to an unknown directory.
                let after = after.strip_prefix(b"/").filter(|_| start == 0).unwrap_or(after);
                open.push_back([before, after].concat());
            }
            open.extend(values.iter().map(|value| [before, value, after].concat()));
        }
        expanded
    }

    fn resolve_once(&mut self, word: &[u8]) {
        if self.words.len() < MAX_WORDS && self.words.insert(word.to_vec()) {
            self.resolve(word);
        }
    }

    fn resolve(&mut self, word: &[u8]) {
        if word.starts_with(b"/") {
            self.add_path(Path::new(OsStr::from_bytes(word)));
        } else if word.contains(&b'/') {
            if !word.iter().all(|byte| b"./".contains(byte)) && self.relative.len() < MAX_FILES {
                self.relative.insert(word.to_vec());
                let bases: Vec<PathBuf> = self.bases.iter().cloned().collect();
                for base in bases {
                    self.add_path(&base.join(OsStr::from_bytes(word)));
                }
            }
        } else if is_command(word) {
            self.search(word);
        }
    }

    /// Searches `PATH` for a command, as `execvp` does, and then the directories of the scripts.
    fn search(&mut self, word: &[u8]) {
        let name = OsStr::from_bytes(word);
        self.routes.use_path = true;
        let mut found = BTreeSet::new();
        for path in &self.paths {
            for directory in path {
                if crate::file::is_program(&directory.join(name)) {
                    found.insert(directory.join(name));
                    break;
                }
                if self.routes.searched.len() < MAX_FILES {
                    let searched = self.routes.searched.entry(directory.clone()).or_default();
                    searched.insert(name.to_owned());
                }
            }
        }
        if found.is_empty() {
            let beside = self.bases.iter().map(|base| base.join(name));
            found.extend(beside.filter(|file| file.is_file()));
        }
        found.iter().for_each(|file| self.add_path(file));
    }

    fn add_base(&mut self, directory: &Path) {
        if self.bases.len() >= MAX_FILES || !self.bases.insert(directory.to_owned()) {
            return;
        }
        let relative: Vec<Vec<u8>> = self.relative.iter().cloned().collect();
        for word in relative {
            self.add_path(&directory.join(OsStr::from_bytes(&word)));
        }
    }

    fn add_path(&mut self, path: &Path) {
        let path = &normalize(path);
        if self.seen.len() >= MAX_FILES || !self.seen.insert(path.clone()) {
            return;
        }
        match fs::metadata(path) {
            Ok(status) if status.is_dir() => {
                self.routes.directories.insert(path.clone());
                self.add_base(path);
            }
            Ok(status) if status.is_file() => {
                self.routes.files.insert(path.clone());
                self.unread.push_back(path.clone());
            }
            // A device or a pipe is not run.
            Ok(_) => {}
            Err(_) => drop(self.routes.files.insert(path.clone())),
        }
    }
}

/// The name of a variable after its `$`, its default value (`${NAME:-DEFAULT}`), and the text after it.
fn variable(rest: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let name_of = |text: &[u8]| text.iter().take_while(|byte| is_name(**byte)).count();
    let Some(inside) = rest.strip_prefix(b"{") else {
        let (name, after) = rest.split_at(name_of(rest));
        return (name, b"", after);
    };
    let end = inside.iter().position(|byte| *byte == b'}').unwrap_or(inside.len());
    let (name, operator) = inside[..end].split_at(name_of(&inside[..end]));
    let default: &[u8] = match operator.strip_prefix(b":").unwrap_or(operator) {
        [b'-' | b'=' | b'+', default @ ..] => default,
        _ => b"",
    };
    (name, default, inside.get(end + 1..).unwrap_or_default())
}

/// Removes `.` and repeated slashes from a path.
fn normalize(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// The beginning of a file, if it is text or a script with other data appended.
fn text_of(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    crate::file::open_regular(path).ok()?.take(MAX_SCRIPT_BYTES).read_to_end(&mut text).ok()?;
    (!text.contains(&0) || text.starts_with(b"#!")).then_some(text)
}

/// Cuts a line before a `#` that begins a word.
fn without_comment(line: &[u8]) -> &[u8] {
    let begins = |at: &usize| {
        line[*at] == b'#' && at.checked_sub(1).is_none_or(|at| line[at].is_ascii_whitespace())
    };
    let end = (0..line.len()).find(begins).unwrap_or(line.len());
    &line[..end]
}

/// Splits a line into words, without quotes and operators. Text in braces after a `$` stays in one word, and
/// text that is appended to the output of a command is relative to that. A file that output is written to
/// decides nothing and is left out.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    const BETWEEN: &[u8] = b"`=;&|()<>,:[]";
    const QUOTES: &[u8] = b"'\"";
    let mut words = vec![Vec::new()];
    let (mut before, mut braces, mut is_output) = (b' ', 0_usize, false);
    for &byte in line {
        let word = words.last_mut().expect("there is always a word");
        match byte {
            _ if QUOTES.contains(&byte) => continue,
            b'{' if before == b'$' => braces += 1,
            b'}' if braces > 0 => braces -= 1,
            b'/' if word.is_empty() && b")`".contains(&before) => {
                before = byte;
                continue;
            }
            _ if braces == 0 && (byte.is_ascii_whitespace() || BETWEEN.contains(&byte)) => {
                if is_output && !word.is_empty() {
                    word.clear();
                    is_output = false;
                }
                if byte == b'=' && word.iter().all(|byte| is_name(*byte)) {
                    word.clear();
                }
                is_output |= byte == b'>';
                words.push(Vec::new());
                before = byte;
                continue;
            }
            _ => {}
        }
        word.push(byte);
        before = byte;
    }
    if is_output {
        words.pop();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns whether a word may be the name of a command.
fn is_command(word: &[u8]) -> bool {
    let begins = word.first().is_some_and(|byte| is_name(*byte));
    let is_plain = word.iter().all(|byte| is_name(*byte) || b".+-".contains(byte));
    let is_number = word.iter().all(u8::is_ascii_digit);
    let is_builtin = std::str::from_utf8(word).is_ok_and(|word| SHELL_WORDS.contains(&word));
    begins && is_plain && !is_number && !is_builtin
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let root = self.path("");
            fs::write(&path, text.replace("@/", root.to_str().unwrap())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        /// The files found below this place, and whether `PATH`, which is `a` and `b` here, was used.
        fn found(&self, script: &Path) -> (Vec<String>, bool) {
            let path = std::env::join_paths([self.path("a"), self.path("b")]).unwrap();
            let routes = routes(script, &[("PATH".into(), path)]);
            let root = self.path("");
            let inside = |path: &PathBuf| {
                path.strip_prefix(&root).ok().map(|path| path.display().to_string())
            };
            let files = routes.files.iter().filter_map(inside).collect();
            (files, routes.use_path)
        }
    }

    #[test]
    fn a_program_is_found_in_each_form_in_which_a_script_can_name_it() {
        for (script, expected) in [
            ("exec @/q \"$@\"", &["q"][..]),
            ("exec @/./sub//q \"$@\"", &["sub/q"]),
            ("exec '@/q' -x", &["q"]),
            ("Q=@/q\nexec $Q \"$@\"", &["q"]),
            ("Q=\"@/q\"; exec \"${Q}\" \"$@\"", &["q"]),
            ("exec ${Q:-@/q} \"$@\"", &["q"]),
            ("exec \"${Q-@/q}\" \"$@\"", &["q"]),
            ("D=@/sub\nexec \"$D/q\" \"$@\"", &["sub/q"]),
            ("B=@/\nD=${B}sub\nexec $D/q \"$@\"", &["sub/q"]),
            ("cd @/sub; ./q \"$@\"", &["q", "sub/q"]),
            ("cd @/sub && exec ../q", &["sub/../q"]),
            ("exec \"$(dirname \"$0\")/q\" \"$@\"", &["q"]),
            ("exec \"${0%/*}/q\" \"$@\"", &["q"]),
            ("H=$(cd \"$(dirname \"$0\")\" && pwd)\nexec \"$H/sub/q\"", &["sub/q"]),
            ("exec qemu-x \"$@\"", &["b/qemu-x"]),
            ("exec \"$(command -v qemu-x)\" \"$@\"", &["b/qemu-x"]),
            ("exec /usr/bin/env qemu-x \"$@\"", &["b/qemu-x"]),
            (". @/sub/conf\nexec $Q", &["b/qemu-x", "sub/conf"]),
            ("[ -e @/flag ] && exec @/q", &["flag", "q"]),
            ("# see @/nothing\nexec @/q # @/nothing", &["q"]),
            ("os.execv(\"@/q\", ['q'] + sys.argv[1:])", &["q"]),
            ("os.execvp('qemu-x', sys.argv)", &["b/qemu-x"]),
            ("exec @/second \"$@\"", &["q", "second"]),
            ("echo >> @/nothing; exec @/q", &["q"]),
            ("exec @/q 2> '@/nothing'", &["q"]),
            ("exec @/q >@/nothing 2>&1", &["q"]),
        ] {
            let place = Place::new();
            for program in ["q", "sub/q", "b/qemu-x"] {
                place.file(program, "\x7fELF\0");
            }
            fs::create_dir(place.path("a")).unwrap();
            place.file("second", "#!/bin/sh\nexec @/q \"$@\"\n");
            place.file("sub/conf", "Q=qemu-x\n");
            let wrapper = place.file("wrapper", &format!("#!/bin/sh\n{script}\n"));
            let (found, _) = place.found(&wrapper);
            for file in expected {
                let normal = normalize(Path::new(file)).display().to_string();
                assert!(found.contains(&normal), "{script}: {file} is not among {found:?}");
            }
            assert!(!found.contains(&"nothing".to_owned()), "{script}: {found:?}");
        }
    }

    #[test]
    fn interpreters_are_found_and_a_program_that_is_not_a_script_has_no_routes() {
        let place = Place::new();
        let wrapper = place.file("wrapper", "#!/usr/bin/env -S python3\n");
        let found = routes(&wrapper, &environment(&[])).files;
        assert!(found.contains(Path::new("/usr/bin/env")), "{found:?}");
        let program = place.file("program", "\x7fELF\0/usr/bin/env");
        assert_eq!(routes(&program, &environment(&[])), Routes::default());
    }

    #[test]
    fn a_command_is_absent_from_each_directory_before_the_one_that_has_it() {
        let place = Place::new();
        place.file("b/qemu-x", "");
        fs::create_dir(place.path("a")).unwrap();
        let wrapper = place.file("wrapper", "exec qemu-x || qemu-y\n");
        let path = std::env::join_paths([place.path("a"), place.path("b")]).unwrap();
        let searched = routes(&wrapper, &[("PATH".into(), path)]).searched;
        let names = |directory: &str| {
            let names = searched.get(&place.path(directory)).unwrap().iter();
            names.map(|name| name.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names("a"), ["qemu-x", "qemu-y"]);
        assert_eq!(names("b"), ["qemu-y"]);
    }

    #[test]
    fn a_wrapper_with_an_absolute_path_does_not_search() {
        let place = Place::new();
        place.file("q", "");
        let wrapper = place.file("wrapper", "#!/bin/sh\nexec @/q \"$@\"\n");
        assert!(!place.found(&wrapper).1);
    }

    #[test]
    fn scripts_that_name_each_other_or_countless_files_are_resolved_up_to_a_limit() {
        let place = Place::new();
        let one = place.file("one", "#!/bin/sh\nexec @/two\n");
        place.file("two", "#!/bin/sh\nexec @/one\n");
        assert_eq!(place.found(&one).0, ["two"]);
        let many: String =
            (0..9999).map(|n| format!("/nowhere/{n}\nA{n}=$A{n}$A{n}$B\n")).collect();
        let many = place.file("many", &many);
        assert!(routes(&many, &[]).files.len() <= MAX_FILES);
        let words: String = (0..99_999).map(|n| format!("w{n} ./{n} $A{n} ")).collect();
        let files: Vec<_> = (0..9).map(|n| place.file(&format!("words{n}"), &words)).collect();
        let all: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
        let all = place.file("all", &all);
        assert!(routes(&all, &environment(&[])).files.len() <= MAX_FILES);
        let deep = place.file("deep", &format!("A=$A$A$A\nB=$A$A\n{}\n", "$A$B".repeat(2000)));
        drop(routes(&deep, &[]));
    }
}
