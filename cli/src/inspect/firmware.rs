//! The firmware that machines of an emulator can use, from the descriptors of this host at present.

use std::collections::BTreeMap;

use capscache::Capabilities;
use capscache::firmware::{FirmwareDescriptor, FirmwareFile, FirmwareList};
use capscache::format::Machine;
use serde_json::{Value, json};

use crate::output::chain;
use crate::session::join;
use crate::table::{BAD, Cell, FAINT, Table, natural_key};
use crate::text::Text;

pub(super) fn render(caps: &Capabilities) -> Text {
    let list = FirmwareList::of_this_host();
    let arch = caps.arch();
    let mut table = Table::new(&["FIRMWARE", "INTERFACE", "MAPPING", "MACHINES", "FEATURES"]);
    for firmware in list.for_arch(arch) {
        let descriptor = &firmware.descriptor;
        let machines: Vec<_> = descriptor.machines(arch).collect();
        table.row([
            firmware.path.file_name().unwrap_or_default().to_string_lossy().into_owned().into(),
            join(&descriptor.interface_types, " ").into(),
            mapping(descriptor).into(),
            join(&machines, " ").into(),
            Cell::styled(join(&descriptor.features, " "), FAINT),
        ]);
    }
    let mut text = table.render();
    if text.is_blank() {
        text.line(format_args!("no firmware descriptor of this host is for {arch}"));
    }
    for error in &list.broken {
        text.styled(BAD, chain(error));
        text.end();
    }
    text
}

fn mapping(descriptor: &FirmwareDescriptor) -> String {
    let mapping = &descriptor.mapping;
    let filename = |file: &Option<FirmwareFile>| file.as_ref().map(|file| file.filename.clone());
    let values = [
        Some(mapping.device.clone()),
        mapping.mode.clone(),
        filename(&mapping.executable),
        filename(&mapping.nvram_template),
    ];
    join(&values.into_iter().flatten().collect::<Vec<_>>(), " ")
}

pub(super) fn json(caps: &Capabilities) -> Value {
    let list = FirmwareList::of_this_host();
    let mut names = BTreeMap::new();
    for accelerator in caps.accelerators().filter_map(|one| caps.accelerator(one).ok()) {
        let machines = accelerator.machines().map(Machine::name);
        names.extend(machines.map(|name| (natural_key(name), name)));
    }
    let firmware = list.for_arch(caps.arch()).map(|firmware| {
        let runs_on = |name: &&&str| firmware.descriptor.runs_on(caps.arch(), name);
        json!({
            "path": firmware.path.to_string_lossy(),
            "machines": names.values().filter(runs_on).collect::<Vec<_>>(),
            "descriptor": firmware,
        })
    });
    let broken = list
        .broken
        .iter()
        .map(|error| json!({"path": error.path().to_string_lossy(), "reason": chain(error)}));
    json!({"firmware": firmware.collect::<Vec<_>>(), "broken": broken.collect::<Vec<_>>()})
}
