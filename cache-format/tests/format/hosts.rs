//! Entries that were written on a host with another byte order or word size.

use std::env;
use std::fs;
use std::path::Path;

use capscache_format::Entry;

#[test]
fn an_entry_of_another_host_is_read_and_written_byte_for_byte() {
    let Some(entries) = env::var_os("CAPSCACHE_ENTRIES") else {
        println!(
            "SKIPPED: CAPSCACHE_ENTRIES names no entries of another host: see make test-hosts"
        );
        return;
    };
    let copies = env::var_os("CAPSCACHE_COPIES");
    for path in env::split_paths(&entries) {
        let entry = Entry::open(fs::read(&path).unwrap()).unwrap();
        assert_eq!(entry.verify(), Ok(()), "{}", path.display());
        let written = entry.to_model().unwrap().encode().unwrap();
        if let Some(directory) = &copies {
            fs::write(Path::new(directory).join(path.file_name().unwrap()), &written).unwrap();
        }
        assert!(written == entry.bytes(), "{} is written differently here", path.display());
    }
}
