//! Every flag that a reply can set: it is set with the reply, and not without it.

use capscache_format::{Accelerator, Tri};
use capscache_libvirt::{FLAGS, Flag, Release, Source, UnknownFlag, find, find_live, flag, flags};
use serde_json::{Value, json};

use crate::replies::{REFERENCE, Replies};

/// Flags that a reply does not set alone: they depend on the kernel, or on a hypervisor that is not probed.
const OF_THE_HOST: [&str; 2] = ["tdx-guest", "mshv"];

/// Adds the types on a path to a schema, and returns the name of the first one.
fn grow(schema: &mut Vec<Value>, path: &[&str]) -> String {
    let name = format!("#{}", schema.len());
    let index = schema.len();
    schema.push(Value::Null);
    let entry = match path {
        [] => json!({"meta-type": "object", "members": []}),
        [value, features @ ..] if value.starts_with('^') => {
            let features: Vec<&str> = features.iter().map(|feature| &feature[1..]).collect();
            let member = json!({"name": &value[1..], "features": features});
            json!({"meta-type": "enum", "members": [member], "values": []})
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
fn add_source(replies: &mut Replies, source: Source, with_gate: bool, release: Release) {
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
        Source::Flag(name) => {
            let first = find(name).unwrap().sources(release).next().unwrap();
            add_source(replies, first, with_gate, release);
        }
        Source::Before(version) => {
            let [major, minor] = [version / 1_000_000, version / 1000 % 1000 - 1];
            let qemu = json!({"major": major, "minor": minor, "micro": 99});
            replies.reply("query-version", json!({"qemu": qemu, "package": ""}));
        }
        Source::All(sources) => {
            sources.iter().for_each(|one| add_source(replies, *one, with_gate, release));
        }
        Source::Architecture(_) | Source::Without(_) | Source::Mshv => {}
    }
    replies.reply("query-sev-capabilities", sev());
    replies.reply("query-sgx-capabilities", json!({"sections": []}));
}

fn sev() -> Value {
    json!({"cbitpos": 51, "reduced-phys-bits": 1, "pdh": "p", "cert-chain": "c", "cpu0-id": "i"})
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
        Source::All([first, ..]) => arch_for(*first),
        _ => "x86_64",
    }
}

/// Returns true if an architecture sets a flag, alone or with others.
fn has_architecture(source: Source) -> bool {
    match source {
        Source::Architecture(_) => true,
        Source::All(sources) => sources.iter().any(|source| has_architecture(*source)),
        _ => false,
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
        | Source::Mshv
        | Source::Schema([])
        | Source::Flag(_)
        | Source::Without(_)
        | Source::Before(_)
        | Source::All(_)
        | Source::Architecture(_) => return None,
    })
}

/// The flags that a reply can set, each with one of its sources.
fn sources(release: Release) -> Vec<(&'static Flag, Source)> {
    let flags = FLAGS.iter().filter(|flag| !OF_THE_HOST.contains(&flag.name));
    flags.flat_map(|flag| flag.sources(release).map(move |source| (flag, source))).collect()
}

fn every_source_sets_its_flag(release: Release) {
    let is_set = |replies: &Replies, name| flags(&replies.entry(), release).get(name).unwrap();
    for (known, source) in sources(release) {
        let name = known.name;
        let arch = arch_for(source);
        let mut with = Replies::new(arch);
        add_source(&mut with, source, true, release);
        assert!(is_set(&with, name), "{release}: {name} by {source:?}");
        assert_eq!(flag(&with.entry(), name, release), Ok(Tri::Yes), "{name}");
        let without = Replies::new(if has_architecture(source) { "riscv64" } else { arch });
        assert!(!is_set(&without, name), "{release}: {name} by nothing");
        if let Some(near) = similar(source) {
            let mut with = Replies::new(arch);
            add_source(&mut with, near, true, release);
            assert!(!is_set(&with, name), "{release}: {name} by {near:?}");
        }
    }
}

#[test]
fn every_flag_of_9_0_is_set_by_each_of_its_sources_and_not_by_a_similar_one() {
    every_source_sets_its_flag(Release::V9_0);
}

#[test]
fn every_flag_of_10_0_is_set_by_each_of_its_sources_and_not_by_a_similar_one() {
    every_source_sets_its_flag(Release::V10_0);
}

#[test]
fn every_flag_of_11_3_is_set_by_each_of_its_sources_and_not_by_a_similar_one() {
    every_source_sets_its_flag(Release::V11_3);
}

#[test]
fn every_flag_of_12_8_is_set_by_each_of_its_sources_and_not_by_a_similar_one() {
    every_source_sets_its_flag(Release::V12_8);
}

#[test]
fn a_source_sets_no_flag_in_a_release_that_does_not_read_it() {
    for release in Release::ALL {
        for other in Release::ALL {
            for (known, source) in sources(other) {
                let is_alive = known.sources(release).next().is_some();
                // Others of its sources may be in the same reply.
                if is_alive || matches!(source, Source::Without(_)) {
                    continue;
                }
                let mut with = Replies::new(arch_for(source));
                add_source(&mut with, source, true, other);
                let set = flags(&with.entry(), release);
                assert_eq!(set.get(known.name), Some(false), "{release}: {}", known.name);
            }
        }
    }
}

#[test]
fn a_reply_to_a_query_that_libvirt_would_not_send_sets_no_flag() {
    let gated = |release| {
        let is_gated = |(known, source): &(&Flag, Source)| {
            let (mut with, mut without) = (Replies::new("x86_64"), Replies::new("x86_64"));
            add_source(&mut with, *source, true, release);
            add_source(&mut without, *source, false, release);
            let is_set = |replies: &Replies| flags(&replies.entry(), release).get(known.name);
            with.text() != without.text()
                && is_set(&with) == Some(true)
                && is_set(&without) == Some(false)
        };
        sources(release).into_iter().filter(is_gated).count()
    };
    // 49 properties, the CPU model `max`, and the flag that follows from one of the properties.
    assert_eq!(gated(Release::V11_3), 51);
    // Ten properties more.
    assert_eq!(gated(Release::V12_8), 61);
}

#[test]
fn the_table_has_each_name_once_and_each_release_its_flags() {
    let mut names: Vec<&str> = FLAGS.iter().map(|flag| flag.name).collect();
    let counts = Release::ALL.map(|release| {
        let known = FLAGS.iter().filter(|flag| flag.since <= release);
        (known.count(), FLAGS.iter().filter(|flag| flag.is_live(release)).count())
    });
    assert_eq!(counts, [(442, 244), (453, 228), (476, 238), (503, 262)], "known and set");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FLAGS.len());
}

#[test]
fn a_flag_of_several_sources_together_needs_each() {
    let is_set = |replies: &Replies, name| flags(&replies.entry(), Release::V9_0).get(name);
    let mut hpet = Replies::new("x86_64");
    assert_eq!(is_set(&hpet, "no-hpet"), Some(true));
    let parameters = json!([{"name": "hpet", "type": "bool"}]);
    let machine = json!({"option": "machine", "parameters": parameters});
    hpet.add("query-command-line-options", machine);
    assert_eq!(is_set(&hpet, "no-hpet"), Some(false), "the machine's own option is there");
    assert_eq!(is_set(&Replies::new("aarch64"), "no-hpet"), Some(false));
    let mut backup = Replies::new("x86_64");
    backup.add_command("blockdev-reopen");
    assert_eq!(is_set(&backup, "incremental-backup"), Some(false), "without bitmaps");
    let mut cache = Replies::new("riscv64");
    cache.add_command("query-cpu-model-expansion");
    assert_eq!(is_set(&cache, "cpu-cache"), Some(false), "not of x86");
    let mut unreported = Replies::new("x86_64");
    unreported.omit("query-command-line-options");
    assert_eq!(flag(&unreported.entry(), "no-hpet", Release::V9_0), Ok(Tri::Unknown));
}

#[test]
fn tdx_is_unknown_without_the_host() {
    let mut replies = Replies::new("x86_64");
    let is_tdx = |replies: &Replies| flag(&replies.entry(), "tdx-guest", Release::V12_8);
    assert_eq!(is_tdx(&replies), Ok(Tri::No));
    replies.add_type("tdx-guest");
    assert_eq!(is_tdx(&replies), Ok(Tri::Unknown));
    assert_eq!(flags(&replies.entry(), Release::V12_8).get("tdx-guest"), Some(false));
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
        assert_eq!(flag(&replies.entry(), name, REFERENCE), Ok(Tri::No), "{name}");
        replies.omit(command);
        assert_eq!(flag(&replies.entry(), name, REFERENCE), Ok(Tri::Unknown), "{name}");
    }
}

#[test]
fn an_unknown_name_is_reported_with_the_nearest_ones() {
    let error = |name| find_live(name, REFERENCE).unwrap_err();
    assert!(error("virtio-blok-ccw").to_string().contains("virtio-"));
    let error_text = error("virtio-blk").to_string();
    assert!(error_text.contains("the nearest are virtio-blk"), "{error_text}");
    let error_text = error("qxxl").to_string();
    assert!(error_text.contains("the nearest are qxl"), "{error_text}");
    let retired = error("vnc-colon");
    assert_eq!(retired, UnknownFlag::Retired { name: "vnc-colon", release: REFERENCE });
    assert!(retired.to_string().contains("retired it by 11.3"), "{retired}");
}

#[test]
fn a_flag_of_another_release_is_reported_with_the_releases() {
    assert!(find_live("iothread", Release::V9_0).is_ok());
    let retired = find_live("iothread", Release::V10_0).unwrap_err();
    assert_eq!(retired, UnknownFlag::Retired { name: "iothread", release: Release::V10_0 });
    let (release, since) = (Release::V9_0, Release::V12_8);
    let later = find_live("nvme", release).unwrap_err();
    assert_eq!(later, UnknownFlag::Later { name: "nvme", release, since });
    let expected =
        "libvirt 9.0 does not have it, and 12.8 does; name that release (--libvirt 12.8)";
    assert!(later.to_string().ends_with(expected), "{later}");
}
