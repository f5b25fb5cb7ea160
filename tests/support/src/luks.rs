use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{wait_until, x86_64};

/// Creates an image that LUKS encrypts, of 1 MiB of data, by QEMU's `blockdev-create`.
///
/// Files beside the image hold the socket and the passphrase meanwhile.
pub fn create_luks(image: &Path, passphrase: &str) {
    let (key, socket) = (image.with_extension("key"), image.with_extension("socket"));
    fs::write(&key, passphrase).expect("a file");
    fs::File::create(image).expect("a file").set_len(4 << 20).expect("a sparse file");
    let mut creator = Command::new(x86_64())
        .args(["-S", "-nodefaults", "-display", "none", "-machine", "none"])
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .arg("-object")
        .arg(format!("secret,id=key,file={}", key.display()))
        .arg("-blockdev")
        .arg(format!("driver=file,node-name=image,filename={}", image.display()))
        .stdin(Stdio::null())
        .spawn()
        .expect("QEMU");
    wait_until("it listens", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).expect("a monitor");
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let mut send = |text: &str, awaited: &str| {
        stream.write_all(text.as_bytes()).expect("a monitor");
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
