//! The methods, their errors, and the rules of Varlink.

use capscache::Capabilities;
use capscache_service::interface::DESCRIPTION;
use serde_json::{Value, json};
use zlink::idl::Interface;

use crate::{Client, Dir, avr, emulator};

/// A description's comments, and the rest of it without the white space.
fn parts(description: &str) -> (Vec<String>, String) {
    let (comments, code): (Vec<_>, Vec<_>) =
        description.lines().partition(|line| line.trim_start().starts_with('#'));
    let comment = |line: &&str| line.trim().trim_start_matches('#').trim().to_owned();
    let code = code.concat().split_whitespace().collect();
    (comments.iter().map(comment).collect(), code)
}

fn standard(client: &mut Client, method: &str, parameters: Value) -> Value {
    let method = format!("org.varlink.service.{method}");
    client.send(&json!({"method": method, "parameters": parameters}));
    client.receive()
}

#[test]
fn the_published_description_is_what_introspection_returns() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    let info = standard(&mut client, "GetInfo", json!({"tea": 1}))["parameters"].take();
    assert_eq!(info["interfaces"], json!(["io.capscache.Cache", "org.varlink.service"]));
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let wanted = json!({"interface": "io.capscache.Cache"});
    let reply = standard(&mut client, "GetInterfaceDescription", wanted);
    let returned = reply["parameters"]["description"].as_str().expect("a description");
    assert_eq!(parts(returned), parts(DESCRIPTION));
    let interface = Interface::try_from(DESCRIPTION).expect("a description that zlink reads");
    let methods: Vec<_> = interface.methods().map(|method| method.name().to_string()).collect();
    assert_eq!(
        methods,
        ["GetInfo", "Get", "Query", "Export", "List", "Status", "Warm", "Invalidate", "Monitor"]
    );
}

#[test]
fn get_probes_a_missing_entry_and_passes_its_file() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    let info = client.call("GetInfo", json!({}));
    assert_eq!(info["root"], dir.root().to_str().unwrap());
    assert_eq!(info["format"], capscache::format::FORMAT_VERSION);

    let unknown = client.call("Get", json!({"emulator": avr(), "no_probe": true}));
    assert_eq!(unknown, json!({"state": "missing", "accelerators": [], "groups": []}));
    assert_eq!(client.call("List", json!({}))["entries"], json!([]));

    client.send(&json!({"method": "io.capscache.Cache.Get", "parameters": {"emulator": avr()}}));
    let (reply, files) = client.receive_with_descriptors();
    let got = &reply["parameters"];
    assert_eq!((&got["state"], &got["arch"]), (&"valid".into(), &"avr".into()), "{reply}");
    assert_eq!(got["accelerators"], json!(["tcg"]));
    assert_eq!(files.len(), 1);
    let file = std::fs::File::from(files.into_iter().next().unwrap());
    let passed = Capabilities::in_file(&file).expect("an entry");
    assert_eq!(passed.arch(), "avr");
    assert_eq!(passed.version().major, got["version"]["major"].as_u64().unwrap());
    let on_disk = std::fs::read(got["entry"].as_str().expect("a path")).expect("the entry");
    assert_eq!(passed.bytes(), on_disk);
    let write = std::io::Write::write(&mut &file, b"x").expect_err("it is passed for reading");
    assert_eq!(write.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
}

#[test]
fn get_fills_the_requested_groups() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    let groups =
        |client: &mut Client| client.call("List", json!({}))["entries"][0]["groups"].take();
    let got = client.call("Get", json!({"emulator": avr()}));
    assert_eq!((groups(&mut client), &got["groups"]), (json!(["core"]), &json!(["core"])));
    client.call("Get", json!({"emulator": avr(), "groups": ["objects"]}));
    assert_eq!(groups(&mut client), json!(["core", "objects"]));
    let got = client.call("Get", json!({"emulator": avr()}));
    assert_eq!(got["groups"], json!(["core", "objects"]), "the entry has more than was requested");
    let (error, facts) = client.error("Get", json!({"emulator": avr(), "groups": ["colours"]}));
    assert_eq!((error.as_str(), &facts["group"]), ("UnknownGroup", &"colours".into()));
    assert_eq!(facts["known"], json!(["core", "devices", "objects", "cpu-models"]));
}

#[test]
fn queries_are_answered_in_their_order_and_groups_are_filled_for_them() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let queries = [
        "machine:uno",
        "machine:q35",
        "schema:blockdev-add/arg-type/+file/aio",
        "property:loader.cpu-num",
        "property:loader.nothing",
        "machine:uno",
    ];
    let reply = service.call("Query", json!({"emulator": avr(), "queries": queries}));
    assert_eq!(reply["answers"], json!(["yes", "no", "yes", "yes", "no", "yes"]));
    let reply = service.call("Query", json!({"emulator": avr(), "queries": []}));
    assert_eq!(reply["answers"], json!([]));
}

#[test]
fn errors_are_typed_and_have_a_reason() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    let get = |client: &mut Client, emulator: &str| {
        let (error, facts) = client.error("Get", json!({"emulator": emulator}));
        let reason = facts["reason"].as_str().expect("a reason").to_owned();
        assert_eq!(facts["emulator"], emulator);
        (error, reason)
    };
    let (error, reason) = get(&mut client, "/nowhere/qemu");
    assert_eq!((error.as_str(), reason.as_str()), ("NoSuchEmulator", "No such file or directory"));
    // The second time from memory.
    for _ in 0..2 {
        let (error, reason) = get(&mut client, "/bin/true");
        assert_eq!(error, "NotAnEmulator");
        assert!(reason.contains("it sent no QMP greeting"), "{reason}");
    }
    assert_eq!(get(&mut client, "/usr").0, "NotAnEmulator");

    let (error, facts) =
        client.error("Query", json!({"emulator": avr(), "queries": ["machine:uno", "colour:red"]}));
    assert_eq!((error.as_str(), &facts["query"]), ("BadQuery", &"colour:red".into()));
    assert!(facts["reason"].as_str().unwrap().contains("kinds are machine, "), "{facts}");
    let (error, facts) = client.error("Export", json!({"emulator": avr(), "format": "tar"}));
    assert_eq!((error.as_str(), &facts["format"]), ("UnknownFormat", &"tar".into()));
    assert_eq!(client.call("GetInfo", json!({}))["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn exports_equal_those_of_the_command() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    for (format, part) in [("json", "\"arch\":\"x86_64\""), ("libvirt-xml", "<arch>x86_64</arch>")]
    {
        let parameters = json!({"emulator": emulator("x86_64"), "format": format});
        let reply = service.call("Export", parameters);
        let document = reply["document"].as_str().expect("a document");
        assert!(document.contains(part), "{format}");
        let export = ["export", &emulator("x86_64"), "--format", format];
        let printed = dir.command().args(export).output().unwrap();
        assert_eq!(document.trim_end(), String::from_utf8(printed.stdout).unwrap().trim_end());
    }
    let flags = json!({"emulator": emulator("x86_64"), "queries": ["flag:virtio-gpu"]});
    assert_eq!(service.call("Query", flags)["answers"], json!(["yes"]));
}

#[test]
fn list_and_status_equal_those_of_the_command() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let wrapper = dir.wrapper("qemu-system-mine", &avr());
    let mut client = service.connect();
    for emulator in [&avr(), &wrapper] {
        client.call("Get", json!({"emulator": emulator}));
    }
    assert_eq!(client.call("Status", json!({"emulator": wrapper})), json!({"state": "valid"}));
    dir.wrapper("qemu-system-mine", &emulator("rx"));
    let stale = client.call("Status", json!({"emulator": wrapper}));
    assert_eq!((&stale["state"], &stale["reason"]["input"]), (&"stale".into(), &"emulator".into()));
    assert_eq!(stale["reason"]["path"], wrapper.as_str());
    let thorough = client.call("Status", json!({"emulator": avr(), "thorough": true}));
    assert_eq!(thorough["state"], "valid");
    let missing = client.call("Status", json!({"emulator": emulator("rx")}));
    assert_eq!(missing, json!({"state": "missing"}));

    let entries = client.call("List", json!({}))["entries"].take();
    let printed = dir.command().args(["list", "--json"]).output().unwrap();
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let (entries, printed) = (entries.as_array().unwrap(), printed.as_array().unwrap());
    assert_eq!(entries.len(), 2);
    for (entry, printed) in entries.iter().zip(printed) {
        for key in ["emulator", "executable", "version", "package", "arch", "size", "state", "file"]
        {
            assert_eq!(entry[key], printed[key], "{key}");
        }
    }
}

#[test]
fn invalidated_entries_are_gone() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    client.call("Get", json!({"emulator": avr()}));
    let both = json!({"emulators": [avr(), emulator("rx")]});
    assert_eq!(client.call("Invalidate", both.clone())["dropped"], json!([avr()]));
    assert_eq!(client.call("Invalidate", both)["dropped"], json!([]));
    assert_eq!(client.call("Status", json!({"emulator": avr()}))["state"], "missing");
}

#[test]
fn unknown_parameters_are_ignored_by_every_method() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    let interface = Interface::try_from(DESCRIPTION).unwrap();
    for method in interface.methods() {
        let parameters = json!({
            "emulator": avr(), "queries": [], "format": "json", "emulators": [], "shade": {"of": 1},
        });
        let method = format!("io.capscache.Cache.{}", method.name());
        client.send(&json!({"method": method, "parameters": parameters, "more": true, "tea": 2}));
        let reply = client.receive();
        assert_eq!(reply["error"], Value::Null, "{method}: {reply}");
    }
}

#[test]
fn a_parameter_that_is_missing_or_of_the_wrong_type_is_named() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    for (method, parameters, wrong) in [
        ("Get", json!({}), "emulator"),
        ("Get", json!({"emulator": 1}), "emulator"),
        ("Get", json!({"emulator": avr(), "no_probe": "yes"}), "no_probe"),
        ("Query", json!({"emulator": avr(), "queries": ["machine:uno", 2]}), "queries"),
        ("Query", json!({"emulator": avr(), "queries": vec!["machine:uno"; 1025]}), "queries"),
        ("Export", json!({"emulator": avr()}), "format"),
        ("Status", json!(["emulator"]), "parameters"),
        ("Invalidate", json!({"emulators": vec!["/a"; 1025]}), "emulators"),
        ("Warm", json!({"emulators": vec!["/a"; 1025]}), "emulators"),
    ] {
        let (error, facts) = client.error(method, parameters.clone());
        assert_eq!((error.as_str(), &facts["parameter"]), ("InvalidParameter", &wrong.into()));
    }
    let reply = standard(&mut client, "GetInterfaceDescription", json!({}));
    assert_eq!(reply["parameters"]["parameter"], "interface", "{reply}");
    let wanted = json!({"interface": "io.capscache.Tea"});
    let reply = standard(&mut client, "GetInterfaceDescription", wanted);
    assert_eq!(reply["error"], "org.varlink.service.InterfaceNotFound");
}

#[test]
fn a_path_is_accepted_in_every_unambiguous_spelling_and_in_no_other() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    client.call("Get", json!({"emulator": avr()}));
    for spelled in ["//usr/bin/qemu-system-avr", "/usr/./bin//qemu-system-avr/."] {
        assert_eq!(client.call("Status", json!({"emulator": spelled}))["state"], "valid");
        assert_eq!(client.call("Get", json!({"emulator": spelled}))["arch"], "avr");
    }
    assert_eq!(client.call("List", json!({}))["entries"].as_array().unwrap().len(), 1);
    let long = format!("/{}", "a".repeat(4095));
    for (path, reason) in [
        ("relative/path", "it is relative"),
        ("", "it is relative"),
        ("/usr/lib/../bin/qemu-system-avr", "it has '..' in it"),
        (&long, "it has 4096 bytes, 4095 at most"),
    ] {
        for (method, parameters) in [
            ("Get", json!({"emulator": path})),
            ("Query", json!({"emulator": path, "queries": []})),
            ("Export", json!({"emulator": path, "format": "json"})),
            ("Status", json!({"emulator": path})),
            ("Warm", json!({"emulators": [avr(), path]})),
            ("Invalidate", json!({"emulators": [avr(), path]})),
        ] {
            let (error, facts) = client.error(method, parameters);
            assert_eq!((error.as_str(), &facts["emulator"]), ("BadPath", &path.into()), "{method}");
            assert!(facts["reason"].as_str().unwrap().starts_with(reason), "{facts}");
        }
    }
}

#[test]
fn methods_and_interfaces_that_do_not_exist_are_named() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    for (method, error, key, value) in [
        ("io.capscache.Cache.Brew", "MethodNotFound", "method", "io.capscache.Cache.Brew"),
        ("org.varlink.service.Brew", "MethodNotFound", "method", "org.varlink.service.Brew"),
        ("org.example.Tea.Brew", "InterfaceNotFound", "interface", "org.example.Tea"),
        ("Brew", "InterfaceNotFound", "interface", ""),
    ] {
        client.send(&json!({"method": method, "parameters": {}}));
        let reply = client.receive();
        assert_eq!(reply["error"], format!("org.varlink.service.{error}"), "{reply}");
        assert_eq!(reply["parameters"][key], value);
    }
}

#[test]
fn calls_that_were_sent_together_are_answered_in_order_and_oneway_ones_not_at_all() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    let query = |query: &str| {
        let parameters = json!({"emulator": avr(), "queries": [query]});
        json!({"method": "io.capscache.Cache.Query", "parameters": parameters})
    };
    let mut oneway = query("machine:uno");
    oneway["oneway"] = true.into();
    let unknown = json!({"method": "io.capscache.Cache.Brew", "oneway": true});
    let messages =
        [query("machine:uno"), oneway, unknown, query("machine:none"), query("device:none")];
    let bytes: Vec<u8> =
        messages.iter().flat_map(|message| (message.to_string() + "\0").into_bytes()).collect();
    std::io::Write::write_all(&mut client.stream, &bytes).unwrap();
    let answers: Vec<_> =
        (0..3).map(|_| client.receive()["parameters"]["answers"][0].take()).collect();
    assert_eq!(answers, ["yes", "yes", "no"].map(Value::from));
}

#[test]
fn no_method_upgrades_its_connection() {
    let dir = Dir::new();
    let service = dir.serve(&[]);
    let mut client = service.connect();
    client.send(&json!({"method": "io.capscache.Cache.GetInfo", "upgrade": true}));
    let reply = client.receive();
    assert_eq!(reply["error"], "org.varlink.service.InvalidParameter");
    assert_eq!(reply["parameters"]["parameter"], "upgrade");
}
