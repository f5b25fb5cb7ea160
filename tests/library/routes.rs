//! The files that a wrapper resolves through and that an emulator is loaded with, in any place: each change is
//! detected by the next lookup, and a decision that a wrapper makes when it runs by a lookup that starts it.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use capscache::format::InputKind;
use capscache::format::{Evidence, InputRef};
use capscache::{Cache, Lookup, Stale, Validation};
use tempfile::TempDir;
use test_support::{age, write_program};

const FIRST: &str = "/usr/bin/qemu-system-riscv32";
const SECOND: &str = "/usr/bin/qemu-system-or1k";

/// A directory with a cache, which is `@/` in scripts.
struct Place {
    root: TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().expect("a root");
        let cache = crate::open(root.path().join("cache")).expect("a cache");
        Place { root, cache }
    }

    /// A place where wrappers may write to these directories only.
    fn with_writable(names: &[&str]) -> Place {
        let root = tempfile::tempdir().expect("a root");
        let builder = Cache::builder(root.path().join("cache"));
        let builder = builder.writable(names.iter().map(|name| root.path().join(name)));
        let cache = builder.open().expect("a cache");
        Place { root, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let root = self.root.path().to_str().expect("text");
        write_program(&path, text.replace("@/", &format!("{root}/")).replace("$*", "\"$@\""));
        path
    }

    /// Writes a [`Place::script`] of an age at which its time stamps are relied on.
    fn old_script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.script(name, text);
        age(&path);
        path
    }

    fn copy(&self, of: &str, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let new = path.with_extension("new");
        fs::copy(of, &new).expect("a copy");
        fs::rename(new, &path).expect("a rename");
        path
    }

    fn arch(&self, emulator: &Path) -> String {
        self.cache.get(emulator).expect("answers").arch().to_owned()
    }

    fn stale(&self, emulator: &Path) -> Option<Stale> {
        stale(self.cache.lookup(emulator))
    }
}

fn stale(lookup: Result<Lookup, capscache::Error>) -> Option<Stale> {
    match lookup.expect("a lookup") {
        Lookup::Stale { reason: stale, .. } => Some(stale),
        Lookup::Hit(_) => None,
        other => panic!("neither a hit nor stale but {other:?}"),
    }
}

#[test]
fn each_step_that_a_wrapper_resolves_through_is_detected_when_it_leads_elsewhere() {
    type Change = fn(&Place);
    let relink: Change = |place| {
        fs::remove_file(place.path("current")).expect("a removal");
        symlink(SECOND, place.path("current")).expect("a link");
    };
    let shadow: Change = |place| drop(place.copy(SECOND, "a/qemu-x"));
    let cases: [(&str, &str, Change); 12] = [
        ("a link named in it", "#!/bin/sh\nexec @/current $*\n", relink),
        ("a link in a variable", "#!/bin/sh\nQ=@/current\nexec \"$Q\" $*\n", relink),
        ("a link in a default", "#!/bin/sh\nexec ${NOT_SET:-@/current} $*\n", relink),
        ("a relative link", "#!/bin/sh\ncd @/ && exec ./current $*\n", relink),
        ("a link beside it", "#!/bin/sh\nexec \"$(dirname \"$0\")/current\" $*\n", relink),
        ("another language", "#!/usr/bin/perl\nexec('@/current', @ARGV);\n", relink),
        ("an earlier directory of PATH", "#!/bin/sh\nPATH=@/a:@/b:$PATH\nexec qemu-x $*\n", shadow),
        ("a command by name", "#!/bin/sh\nPATH=@/a:@/b:$PATH exec env qemu-x $*\n", shadow),
        ("a second script", "#!/bin/sh\nexec @/second $*\n", |place| {
            place.script("second", &format!("#!/bin/sh\nexec {SECOND} $*\n"));
        }),
        ("a link in a second script", "#!/bin/sh\nexec @/third $*\n", relink),
        ("a sourced file", "#!/bin/sh\n. @/conf\nexec $Q $*\n", |place| {
            fs::write(place.path("conf"), format!("Q={SECOND}\n")).expect("a file");
        }),
        (
            "a file that appears",
            "#!/bin/sh\n[ -e @/flag ] && exec @/b/other $*\nexec @/current $*\n",
            |place| fs::write(place.path("flag"), "").expect("a file"),
        ),
    ];
    let places = cases.map(|(what, script, change)| {
        let place = Place::new();
        symlink(FIRST, place.path("current")).expect("a link");
        place.script("second", &format!("#!/bin/sh\nexec {FIRST} $*\n"));
        place.script("third", "#!/bin/sh\nexec @/current $*\n");
        fs::create_dir(place.path("a")).expect("a directory");
        place.copy(FIRST, "b/qemu-x");
        place.copy(SECOND, "b/other");
        fs::write(place.path("conf"), format!("Q={FIRST}\n")).expect("a file");
        let wrapper = place.script("wrapper", script);
        (what, change, place, wrapper)
    });
    age(&places[places.len() - 1].3);
    for (what, change, place, wrapper) in places {
        assert_eq!(place.arch(&wrapper), "riscv32", "{what}");
        assert_eq!(place.stale(&wrapper), None, "{what}");
        change(&place);
        let stale = place.stale(&wrapper).unwrap_or_else(|| panic!("{what} is a hit"));
        assert!(matches!(stale.input, InputKind::Route | InputKind::Executable), "{what}: {stale}");
        assert_eq!(place.arch(&wrapper), "or1k", "{what}");
        assert_eq!(place.stale(&wrapper), None, "{what}");
    }
}

#[test]
fn a_command_is_searched_for_on_the_path_of_the_prober() {
    let place = Place::new();
    let (a, b) = (place.path("a"), place.path("b"));
    fs::create_dir(&a).expect("a directory");
    place.copy(FIRST, "b/qemu-x");
    let wrapper = place.script("wrapper", "#!/bin/sh\nexec qemu-x $*\n");
    let with_path = |directories: &[&Path]| {
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let usual: Vec<PathBuf> = std::env::split_paths(&usual).collect();
        let all = directories.iter().map(|path| path.to_path_buf()).chain(usual);
        let path = std::env::join_paths(all).expect("a list");
        let builder = crate::builder(place.path("cache"));
        builder.environment([("PATH".into(), path)]).open().expect("a cache")
    };
    let both = with_path(&[&a, &b]);
    assert_eq!(both.get(&wrapper).expect("answers").arch(), "riscv32");
    // A caller with another PATH that leads to the same files gets the same answers, and probes nothing.
    assert_eq!(stale(with_path(&[&b]).lookup(&wrapper)), None);
    place.copy(SECOND, "a/qemu-x");
    assert_eq!(stale(both.lookup(&wrapper)).expect("stale").input, InputKind::Route);
    assert_eq!(
        stale(with_path(&[&a, &b]).lookup(&wrapper)).expect("stale").input,
        InputKind::Route
    );
    assert_eq!(both.get(&wrapper).expect("answers").arch(), "or1k");
    let stale = stale(with_path(&[&b]).lookup(&wrapper)).expect("stale");
    assert_eq!(stale.input, InputKind::Environment, "{stale}");
}

#[test]
fn answers_under_one_environment_are_not_used_under_another() {
    let place = Place::new();
    let emulator = Path::new("/usr/bin/qemu-system-avr");
    let with = |environment: &[(&str, &str)]| {
        let pairs = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        crate::builder(place.path("cache")).environment(pairs).open().expect("a cache")
    };
    let answers = with(&[("QEMU_MODULE_DIR", "/nowhere")]).get(emulator).expect("answers");
    assert!(answers.inputs().any(|input| input.kind == InputKind::Environment));
    for other in [&[][..], &[("QEMU_MODULE_DIR", "/elsewhere")]] {
        let stale = stale(with(other).lookup(emulator)).expect("stale");
        assert_eq!(stale.input, InputKind::Environment, "{stale}");
    }
    assert_eq!(stale(with(&[("QEMU_MODULE_DIR", "/nowhere")]).lookup(emulator)), None);
}

#[test]
fn a_decision_that_a_wrapper_makes_when_it_runs_is_detected_by_a_lookup_that_starts_it() {
    let place = Place::new();
    symlink(FIRST, place.path("current")).expect("a link");
    let wrapper = place.script("wrapper", "#!/bin/sh\nexec @/c?rrent $*\n");
    assert_eq!(place.arch(&wrapper), "riscv32");
    assert_eq!(stale(place.cache.lookup_with(&wrapper, Validation::Start)), None);
    fs::remove_file(place.path("current")).expect("a removal");
    symlink(SECOND, place.path("current")).expect("a link");
    assert_eq!(
        stale(place.cache.lookup_with(&wrapper, Validation::Thorough)),
        None,
        "no file shows it"
    );
    let found = stale(place.cache.lookup_with(&wrapper, Validation::Start)).expect("stale");
    assert_eq!((found.input, &*found.path), (InputKind::Executable, Path::new(FIRST)));
    assert_eq!(found.found, SECOND);
    fs::remove_file(place.path("current")).expect("a removal");
    let found = stale(place.cache.lookup_with(&wrapper, Validation::Start)).expect("stale");
    assert!(found.found.contains("it sent no QMP greeting"), "{found}");
}

/// The dynamic loader of this host's programs.
fn loader() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("a list");
    let paths = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    let is_loader = |path: &&str| {
        Path::new(path).file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld"))
    };
    paths.into_iter().find(is_loader).expect("a loader").into()
}

#[test]
fn an_emulator_that_a_loader_runs_is_the_executable_and_the_loader_a_route() {
    let place = Place::new();
    let emulator = place.copy(FIRST, "q");
    let script = format!("#!/bin/sh\nexec {} @/q $*\n", loader().display());
    let wrapper = place.old_script("wrapper", &script);
    let answers = place.cache.get(&wrapper).expect("answers");
    assert_eq!((answers.arch(), answers.executable()), ("riscv32", emulator.clone()));
    let routes = answers.inputs().filter(|input| input.kind == InputKind::Route);
    let routes: Vec<_> = routes.map(|input| String::from_utf8_lossy(input.name)).collect();
    assert!(routes.iter().any(|route| Path::new(&**route) == loader()), "{routes:?}");
    place.copy(SECOND, "q");
    assert_eq!(place.stale(&wrapper).expect("stale").path, emulator);
    assert_eq!(place.arch(&wrapper), "or1k");
}

#[test]
fn modules_are_searched_for_in_the_directory_in_the_environment_of_the_emulator() {
    let place = Place::new();
    fs::create_dir(place.path("m")).expect("a directory");
    let script = "#!/bin/sh\nexport QEMU_MODULE_DIR=@/m\nexec /usr/bin/qemu-system-x86_64 $*\n";
    let wrapper = place.script("wrapper", script);
    let answers = place.cache.get(&wrapper).expect("answers");
    let modules = answers.inputs().filter(|input| input.kind == InputKind::Modules);
    let modules: Vec<_> = modules.map(|input| String::from_utf8_lossy(input.name)).collect();
    if !Path::new("/usr/lib/x86_64-linux-gnu/qemu").is_dir() {
        println!("SKIPPED: QEMU for x86_64 has no modules here");
        return;
    }
    let own = place.path("m");
    assert!(modules.iter().any(|path| Path::new(&**path) == own), "{modules:?}");
    fs::write(place.path("m/hw-display-qxl.so"), "").expect("a module");
    let stale = place.stale(&wrapper).expect("stale");
    assert_eq!((stale.input, stale.path), (InputKind::Modules, own));
}

#[test]
fn an_emulator_in_its_own_mount_namespace_is_probed_each_time_although_its_file_is_the_same() {
    let place = Place::new();
    fs::create_dir(place.path("m")).expect("a directory");
    let script = "#!/bin/sh\n\
        exec unshare -m sh -c 'mount --bind @/m @/empty; exec \"$0\" \"$@\"' @/q $*\n";
    if !test_support::rights::can_confine_mounts() {
        return;
    }
    place.copy(FIRST, "q");
    fs::create_dir(place.path("empty")).expect("a directory");
    let wrapper = place.script("wrapper", script);
    let answers = place.cache.get(&wrapper).expect("answers");
    assert_eq!((answers.arch(), answers.executable()), ("riscv32", place.path("q")));
    let stale = place.stale(&wrapper).expect("its modules cannot be compared");
    assert_eq!(stale.input, InputKind::Executable, "{stale}");
}

#[test]
fn an_emulator_that_unpacks_itself_may_have_any_size_and_has_time_to_clean_up() {
    let place = Place::with_writable(&["log"]);
    fs::create_dir(place.path("log")).expect("a directory");
    // As large as a build with all targets. Sparse, so that it costs no space.
    let whole = place.copy(FIRST, "whole");
    let file = fs::File::options().write(true).open(&whole).expect("a file");
    file.set_len(300 << 20).expect("a length");
    let script = "#!/bin/sh\nd=$(mktemp -d)\ncp @/whole $d/q\n$d/q $*\nr=$?\nrm -rf $d\n\
                  echo \"$r $(ls $TMPDIR | wc -l)\" > @/log/cleaned\nexit $r\n";
    let wrapper = place.old_script("wrapper", script);
    assert_eq!(place.arch(&wrapper), "riscv32");
    let log = fs::read_to_string(place.path("log/cleaned")).expect("it was not killed");
    assert_eq!(log, "0 0\n");
}

#[test]
fn an_emulator_that_unpacks_itself_is_probed_each_time() {
    let place = Place::new();
    let script =
        format!("#!/bin/sh\nd=$(mktemp -d)\ncp {FIRST} $d/q\n$d/q $*\nr=$?\nrm -rf $d\nexit $r\n");
    let wrapper = place.old_script("wrapper", &script);
    for _ in 0..2 {
        let answers = place.cache.get(&wrapper).expect("answers");
        assert!(answers.answer(&"machine:virt".parse().expect("a query")).is_yes());
        let stale = place.stale(&wrapper).expect("no file to compare");
        assert_eq!(stale.input, InputKind::Executable);
    }
}

#[test]
fn a_library_beyond_the_loaders_cache_is_detected_in_every_searched_directory() {
    let ldd = Command::new("ldd").arg(FIRST).output().expect("ldd is installed");
    let ldd = String::from_utf8(ldd.stdout).expect("text");
    let zlib =
        ldd.split_whitespace().find(|word| word.contains("/libz.so")).expect("QEMU needs it");
    let cases = [
        ("LD_LIBRARY_PATH=@/lib", "lib/libz.so.1", "lib/libz.so.1"),
        ("LD_PRELOAD=@/lib/whatever", "lib/whatever", "lib/whatever"),
        ("LD_LIBRARY_PATH=@/earlier:@/lib", "lib/libz.so.1", "earlier/libz.so.1"),
        ("LD_LIBRARY_PATH=@/absent:@/lib", "lib/libz.so.1", "absent/libz.so.1"),
        ("LD_LIBRARY_PATH=@/lib", "lib/libz.so.1", "lib/glibc-hwcaps/x86-64-v2/libz.so.1"),
    ];
    for (setting, used, changed) in cases {
        let place = Place::new();
        fs::create_dir(place.path("earlier")).expect("a directory");
        let library = place.copy(zlib, used);
        let wrapper = place.script("wrapper", &format!("#!/bin/sh\n{setting} exec {FIRST} $*\n"));
        let answers = place.cache.get(&wrapper).expect("answers");
        let mapped: Vec<Evidence> = answers.inputs().map(InputRef::evidence).collect();
        let names = |evidence: &Evidence| match evidence {
            Evidence::Libraries { objects, .. } => objects.contains(&library),
            _ => false,
        };
        assert!(mapped.iter().any(names), "{setting}: {mapped:?}");
        assert_eq!(place.stale(&wrapper), None, "{setting}");
        let mut content = fs::read(zlib).expect("a library");
        content.push(0);
        fs::create_dir_all(place.path(changed).parent().expect("a parent")).expect("a directory");
        fs::write(place.path("new"), content).expect("a file");
        fs::rename(place.path("new"), place.path(changed)).expect("a rename");
        let stale = place.stale(&wrapper).unwrap_or_else(|| panic!("{setting} {changed}: a hit"));
        // A path in the script is a route as well.
        assert!(
            matches!(stale.input, InputKind::Libraries | InputKind::Route),
            "{setting}: {stale}"
        );
        place.cache.get(&wrapper).expect("answers");
        assert_eq!(place.stale(&wrapper), None, "{setting}");
    }
}

#[test]
fn a_library_that_is_replaced_while_the_emulator_has_it_mapped_is_probed_again() {
    let ldd = Command::new("ldd").arg(FIRST).output().expect("ldd is installed");
    let ldd = String::from_utf8(ldd.stdout).expect("text");
    let zlib =
        ldd.split_whitespace().find(|word| word.contains("/libz.so")).expect("QEMU needs it");
    // The replacement exists before the probe begins, so that no time stamp shows it.
    let place = Place::with_writable(&["lib", "log"]);
    fs::create_dir(place.path("log")).expect("a directory");
    place.copy(zlib, "lib/libz.so.1");
    let other = place.copy(zlib, "lib/aside");
    age(&other);
    let script = format!(
        "#!/bin/sh\necho >> @/log/starts\n(while ! grep -q @/lib/libz /proc/$$/maps; do :; done\n\
         mv @/lib/a?ide @/lib/libz.so.1) 2>/dev/null &\nLD_LIBRARY_PATH=@/lib exec {FIRST} $*\n"
    );
    let wrapper = place.old_script("wrapper", &script);
    place.cache.get(&wrapper).expect("answers");
    let starts = fs::read(place.path("log/starts")).expect("a log").len();
    assert_eq!(starts, 2, "the second probe had the new library from its start");
    assert_eq!(place.stale(&wrapper), None);
}

#[test]
fn a_list_of_preloaded_libraries_that_appears_is_detected() {
    let place = Place::new();
    let answers = place.cache.get("/usr/bin/qemu-system-avr").expect("answers");
    let list = b"/etc/ld.so.preload";
    assert!(answers.inputs().any(|input| input.kind == InputKind::Libraries && input.name == list));
    let (root, test) = (place.path("cache"), "routes::child_under_a_list_of_preloaded_libraries");
    // A library of the system, so that nothing else changes.
    let script = "mkdir -p $ROOT/../etc $ROOT/../work; \
                  mount -t overlay -o lowerdir=/etc,upperdir=$ROOT/../etc,workdir=$ROOT/../work none /etc; \
                  echo > /etc/ld.so.preload";
    let Some(mut child) = crate::child_after(script, test, &[("ROOT", &root)]) else { return };
    crate::succeeds(&mut child);
}

#[test]
#[ignore = "runs in a mount namespace of its own"]
fn child_under_a_list_of_preloaded_libraries() {
    let root = PathBuf::from(std::env::var_os("ROOT").expect("a variable"));
    let cache = crate::open(root).expect("a cache");
    let stale = stale(cache.lookup("/usr/bin/qemu-system-avr")).expect("stale");
    assert_eq!(stale.input, InputKind::Libraries, "{stale}");
}

/// Maps a file, dirties its last page, and changes its last byte when it gets a line.
const WRITER: &str = "\
import mmap, sys
file = open(sys.argv[1], 'r+b')
map = mmap.mmap(file.fileno(), 0)
map[-1] = map[-1]
print(flush=True)
sys.stdin.readline()
map[-1] ^= 1
print(flush=True)
";

#[test]
fn an_executable_that_is_written_through_a_dirty_map_is_detected_by_a_thorough_lookup() {
    let place = Place::new();
    let emulator = place.copy(FIRST, "q");
    // A file that is open for writing cannot be executed, but a loader can map it.
    let script = format!("#!/bin/sh\nexec {} @/q $*\n", loader().display());
    let wrapper = place.old_script("wrapper", &script);
    let mut python = Command::new("python3");
    python.args(["-c", WRITER]).arg(&emulator);
    python.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let Ok(mut writer) = python.spawn() else {
        println!("SKIPPED: there is no python3 to write through a map");
        return;
    };
    let mut output = std::io::BufReader::new(writer.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it maps the file");
    age(&emulator);
    assert_eq!(place.arch(&wrapper), "riscv32");
    let times = |path: &Path| {
        let status = fs::metadata(path).expect("a file");
        (status.mtime(), status.mtime_nsec(), status.ctime(), status.ctime_nsec())
    };
    let before = times(&emulator);
    writer.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it writes");
    output.read_line(&mut line).expect("it has written");
    if times(&emulator) == before {
        assert_eq!(place.stale(&wrapper), None, "no time stamp shows it");
    } else {
        println!(
            "SKIPPED: the page was written back meanwhile, and the time stamps show the change"
        );
    }
    let found = stale(place.cache.lookup_with(&wrapper, Validation::Thorough)).expect("stale");
    assert_eq!((found.input, &*found.path), (InputKind::Executable, &*emulator));
    writer.wait().expect("it ends");
}
