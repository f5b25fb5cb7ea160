use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::x86_64;

/// Creates an image that LUKS encrypts, of 1 MiB of data, by QEMU's `blockdev-create`.
///
/// A file beside the image holds the passphrase meanwhile.
pub fn create_luks(image: &Path, passphrase: &str) {
    let key = image.with_extension("key");
    fs::write(&key, passphrase).expect("a file");
    fs::File::create(image).expect("a file").set_len(4 << 20).expect("a sparse file");
    // Not a listening socket: QEMU may accept a client while it moves the monitor to its thread, and
    // then closes the connection.
    let mut creator = Command::new(x86_64())
        .args(["-S", "-nodefaults", "-display", "none", "-machine", "none", "-qmp", "stdio"])
        .arg("-object")
        .arg(format!("secret,id=key,file={}", key.display()))
        .arg("-blockdev")
        .arg(format!("driver=file,node-name=image,filename={}", image.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU");
    let mut monitor = creator.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(creator.stdout.take().expect("a pipe")).lines();
    let mut send = |text: &str, awaited: &str| {
        monitor.write_all(text.as_bytes()).expect("a monitor");
        let found = lines.by_ref().map_while(Result::ok).find(|line| line.contains(awaited));
        assert!(found.is_some(), "{text}");
    };
    send("{\"execute\":\"qmp_capabilities\"}", "return");
    send(
        "{\"execute\":\"blockdev-create\",\"arguments\":{\"job-id\":\"job\",\"options\":{\"driver\":\"luks\",\
         \"file\":\"image\",\"size\":1048576,\"key-secret\":\"key\",\"iter-time\":10}}}",
        "concluded",
    );
    send("{\"execute\":\"quit\"}", "return");
    assert!(creator.wait().expect("an end").success());
    fs::remove_file(&key).expect("a file");
    assert_eq!(fs::read(image).expect("a file")[..4], *b"LUKS");
}
