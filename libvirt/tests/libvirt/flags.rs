//! Every flag that a reply can set: it is set with the reply, and not without it.

use capscache_format::{Accelerator, Tri};
use capscache_libvirt::{FLAGS, Flag, Source, UnknownFlag, find, flag, flags};
use serde_json::{Value, json};

use crate::replies::Replies;

/// Adds the types on a path to a schema, and returns the name of the first one.
fn grow(schema: &mut Vec<Value>, path: &[&str]) -> String {
    let name = format!("#{}", schema.len());
    let index = schema.len();
    schema.push(Value::Null);
    let entry = match path {
        [] => json!({"meta-type": "object", "members": []}),
        [value] if value.starts_with('^') => {
            json!({"meta-type": "enum", "members": [{"name": &value[1..]}], "values": []})
        }
        [feature] if feature.starts_with('$') => {
            json!({"meta-type": "object", "members": [], "features": [&feature[1..]]})
        }
        [branch, rest @ ..] if branch.starts_with('+') => {
            let inner = grow(schema, rest);
            let variants = json!([{"case": &branch[1..], "type": inner}]);
            json!({"meta-type": "object", "members": [], "tag": "x", "variants": variants})
        }
        [member, rest @ ..] => {
            let inner = grow(schema, rest);
            json!({"meta-type": "object", "members": [{"name": member, "type": inner}]})
        }
    };
    schema[index] = entry;
    schema[index]["name"] = name.clone().into();
    name
}

fn schema_of(path: &str) -> Vec<Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut schema = Vec::new();
    let mut command = json!({"name": parts[0], "meta-type": "command"});
    match &parts[1..] {
        [] => {}
        [feature] if feature.starts_with('$') => command["features"] = json!([&feature[1..]]),
        [key, rest @ ..] => {
            schema.push(Value::Null);
            command[*key] = grow(&mut schema, rest).into();
            schema.remove(0);
        }
    }
    schema.push(command);
    // Every path has its own names.
    let text = serde_json::to_string(&schema).unwrap();
    serde_json::from_str(&text.replace("\"#", &format!("\"{path} #"))).unwrap()
}

/// Adds the reply that sets a flag, and the gate without which libvirt does not query it.
fn add_source(replies: &mut Replies, source: Source, with_gate: bool) {
    let device = |replies: &mut Replies, name: &str, property: Value| {
        if with_gate {
            open_gate(replies, name);
        }
        replies.add_property("device-list-properties", name, property);
    };
    let object = |replies: &mut Replies, name: &str, property: &str| {
        if with_gate {
            open_gate(replies, name);
        }
        replies.add_property("qom-list-properties", name, json!({"name": property}));
    };
    match source {
        Source::Kvm => replies.reply("query-kvm", json!({"enabled": true, "present": true})),
        Source::Hvf => *replies = replies.clone().under(Accelerator::Hvf),
        Source::Type(name) => replies.add_type(name),
        Source::Command(name) => replies.add_command(name),
        Source::Schema(paths) => {
            for entry in paths.iter().flat_map(|path| schema_of(path)) {
                replies.add("query-qmp-schema", entry);
            }
        }
        Source::Device(name, property) => device(replies, name, json!({"name": property})),
        Source::DisabledByDefault(name, property) => {
            device(replies, name, json!({"name": property, "default-value": false}));
        }
        Source::Object(name, property) => object(replies, name, property),
        Source::Machine(name, property) => {
            replies.add("query-machines", json!({"name": format!("{name}-8.2"), "alias": name}));
            let typename = match name {
                "none" | "generic-pc" => format!("{name}-machine"),
                name => format!("{name}-8.2-machine"),
            };
            object(replies, &typename, property);
        }
        Source::Option(name) => {
            replies.add("query-command-line-options", json!({"option": name, "parameters": []}));
        }
        Source::Parameter(name, parameter) => {
            let parameters = json!([{"name": parameter, "type": "string"}]);
            let option = json!({"option": name, "parameters": parameters});
            replies.add("query-command-line-options", option);
        }
        Source::Migration(name) => {
            let state = json!({"capability": name, "state": false});
            replies.add("query-migrate-capabilities", state);
        }
        Source::TpmModel(name) => replies.add("query-tpm-models", name.into()),
        Source::TpmType(name) => {
            replies.reply("query-tpm-models", json!([]));
            replies.add("query-tpm-types", name.into());
        }
        Source::CpuModel(name) => {
            if with_gate {
                replies.add_command("query-cpu-definitions");
            }
            replies.add("query-cpu-definitions", json!({"name": name}));
        }
        Source::Flag(name) => add_source(replies, first_source(find(name).unwrap()), with_gate),
        Source::Architecture(_) => {}
    }
    replies.reply("query-sev-capabilities", sev());
    replies.reply("query-sgx-capabilities", json!({"sections": []}));
}

fn sev() -> Value {
    json!({"cbitpos": 51, "reduced-phys-bits": 1, "pdh": "p", "cert-chain": "c", "cpu0-id": "i"})
}

fn first_source(flag: &Flag) -> Source {
    flag.sources[0]
}

/// Adds the type whose flag libvirt requires before it queries a type's properties.
fn open_gate(replies: &mut Replies, name: &str) {
    let types = [
        ("virtio-net", "virtio-net-pci"),
        ("virtio-scsi", "virtio-scsi-pci"),
        ("virtio-blk-ccw", "virtio-blk-ccw"),
        ("virtio-gpu-ccw", "virtio-gpu-ccw"),
        ("virtio-gpu", "virtio-gpu-pci"),
        ("max-x86_64-cpu", "max-x86_64-cpu"),
    ];
    let gate = types.iter().find(|(prefix, _)| name.starts_with(prefix));
    replies.add_type(gate.map_or(name, |(_, typename)| typename));
}

/// An architecture on which a source can set its flag.
fn arch_for(source: Source) -> &'static str {
    match source {
        Source::Machine("virt", _) => "aarch64",
        Source::Architecture(names) => names[0],
        _ => "x86_64",
    }
}

/// A similar source, which does not set the flag; `None` if there is none.
fn similar(source: Source) -> Option<Source> {
    let other = |name: &str| -> &'static str { format!("{name}-x").leak() };
    Some(match source {
        Source::Type(name) => Source::Type(other(name)),
        Source::Command(name) => Source::Command(other(name)),
        Source::Schema([first, rest @ ..]) => {
            let paths = std::iter::once(other(first)).chain(rest.iter().copied());
            Source::Schema(paths.collect::<Vec<_>>().leak())
        }
        Source::Device(name, property) => Source::Device(name, other(property)),
        Source::DisabledByDefault(name, property) => Source::Device(name, property),
        Source::Object(name, property) => Source::Object(name, other(property)),
        Source::Machine(name, property) => Source::Machine(name, other(property)),
        Source::Option(name) => Source::Option(other(name)),
        Source::Parameter(name, parameter) => Source::Parameter(name, other(parameter)),
        Source::Migration(name) => Source::Migration(other(name)),
        Source::TpmModel(name) => Source::TpmModel(other(name)),
        Source::TpmType(name) => Source::TpmType(other(name)),
        Source::CpuModel(name) => Source::CpuModel(other(name)),
        Source::Kvm
        | Source::Hvf
        | Source::Schema([])
        | Source::Flag(_)
        | Source::Architecture(_) => return None,
    })
}

#[test]
fn every_flag_is_set_by_each_of_its_sources_and_not_by_a_similar_one() {
    let (mut tried, mut nearly) = (0, 0);
    for known in FLAGS.iter() {
        for source in known.sources {
            let arch = arch_for(*source);
            let mut with = Replies::new(arch);
            add_source(&mut with, *source, true);
            assert!(flags(&with.entry()).get(known.name).unwrap(), "{} by {source:?}", known.name);
            assert_eq!(flag(&with.entry(), known.name), Ok(Tri::Yes), "{}", known.name);
            let without = match source {
                Source::Architecture(_) => Replies::new("x86_64"),
                _ => Replies::new(arch),
            };
            let entry = without.entry();
            assert!(!flags(&entry).get(known.name).unwrap(), "{} by nothing", known.name);
            if let Some(near) = similar(*source) {
                let mut with = Replies::new(arch);
                add_source(&mut with, near, true);
                assert!(
                    !flags(&with.entry()).get(known.name).unwrap(),
                    "{} by {near:?}",
                    known.name
                );
                nearly += 1;
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 297, "sources of libvirt 11.3");
    assert_eq!(nearly, 293, "all but KVM, HVF, a flag and an architecture");
}

#[test]
fn a_reply_to_a_query_that_libvirt_would_not_send_sets_no_flag() {
    let mut gated = 0;
    for known in FLAGS.iter() {
        for source in known.sources {
            let (mut with, mut without) = (Replies::new("x86_64"), Replies::new("x86_64"));
            add_source(&mut with, *source, true);
            add_source(&mut without, *source, false);
            if with.text() == without.text() || !flags(&with.entry()).get(known.name).unwrap() {
                continue;
            }
            let is_set = flags(&without.entry()).get(known.name).unwrap();
            gated += usize::from(!is_set);
        }
    }
    // 49 properties, the CPU model `max`, and the flag that follows from one of the properties.
    assert_eq!(gated, 51);
}

#[test]
fn the_table_has_each_name_once() {
    let mut names: Vec<&str> = FLAGS.iter().map(|flag| flag.name).collect();
    assert_eq!(names.len(), 476, "flags of libvirt 11.3");
    assert_eq!(FLAGS.iter().filter(|flag| !flag.sources.is_empty()).count(), 238);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 476);
}

#[test]
fn a_flag_without_a_reported_source_is_unknown() {
    let mut replies = Replies::new("x86_64");
    for (command, name) in [
        ("qom-list-types", "VGA"),
        ("query-qmp-schema", "vnc"),
        ("query-command-line-options", "spice"),
        ("query-migrate-capabilities", "migrate-rdma"),
        ("query-machines", "machine.virt.iommu"),
    ] {
        assert_eq!(flag(&replies.entry(), name), Ok(Tri::No), "{name}");
        replies.omit(command);
        assert_eq!(flag(&replies.entry(), name), Ok(Tri::Unknown), "{name}");
    }
}

#[test]
fn an_unknown_name_is_reported_with_the_nearest_ones() {
    let entry = Replies::new("x86_64").entry();
    let error = flag(&entry, "virtio-blok-ccw").unwrap_err();
    assert!(error.to_string().contains("virtio-"), "{error}");
    let error = flag(&entry, "virtio-blk").unwrap_err();
    assert!(error.to_string().contains("the nearest are virtio-blk"), "{error}");
    let error = flag(&entry, "qxxl").unwrap_err();
    assert!(error.to_string().contains("the nearest are qxl"), "{error}");
    let retired = flag(&entry, "vnc-colon").unwrap_err();
    assert_eq!(retired, UnknownFlag::Retired { name: "vnc-colon" });
    assert!(retired.to_string().contains("retired"), "{retired}");
}
