//! Sections as JSON: parts of the document of `export`, except for the firmware.

use anyhow::Result;
use capscache::{Accelerator, Capabilities, Group};
use capscache_libvirt::Release;
use serde_json::{Map, Value, json};

use super::List;

pub(super) fn list(caps: &Capabilities, list: List, release: Release) -> Result<Value> {
    let mut entry = serde_json::to_value(&**caps)?;
    let mut part = |key: &str| entry[key].take();
    Ok(match list {
        List::Machines => per_accelerator(part("accelerators"), "machines"),
        List::Cpus => per_accelerator(part("accelerators"), "cpu-definitions"),
        List::HostCpu => per_accelerator(part("accelerators"), "host-cpu"),
        List::Devices => part("devices"),
        List::Objects => part("objects"),
        List::Types => part("types"),
        List::Commands => part("commands"),
        List::Events => part("events"),
        List::Options => part("command-line-options"),
        List::Migration => part("migration-capabilities"),
        List::Tpm => json!({"tpm-models": part("tpm-models"), "tpm-types": part("tpm-types")}),
        List::Schema => part("schema"),
        List::Flags => capscache_libvirt::flags(caps, release).names().collect(),
        List::Firmware => super::firmware::json(caps),
        List::Report => json!({
            "passes": passes(caps),
            "refused": part("refused"),
            "quarantined": part("quarantined"),
        }),
    })
}

/// Returns `{kvm: …, tcg: …}` with the value of `key` under each accelerator.
fn per_accelerator(mut accelerators: Value, key: &str) -> Value {
    let all = accelerators.as_object_mut().into_iter().flatten();
    all.map(|(name, answers)| (name.clone(), answers[key].take())).collect::<Map<_, _>>().into()
}

fn passes(caps: &Capabilities) -> Value {
    let passes = caps.report().unwrap_or_default().passes;
    let pass = passes.iter().map(|pass| {
        let commands = pass.commands.iter().map(|command| {
            json!({
                "execute": command.execute,
                "count": command.count,
                "microseconds": command.micros,
            })
        });
        json!({
            "group": pass.source.group().map(Group::name),
            "accelerator": pass.source.accelerator().map(Accelerator::name),
            "microseconds": pass.micros,
            "restarts": pass.restarts,
            "failure": pass.failure,
            "output": pass.output_tail,
            "commands": commands.collect::<Value>(),
        })
    });
    pass.collect()
}
