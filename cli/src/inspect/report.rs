//! The report of an emulator's probes: passes, commands, queries left out, output.

use capscache::Capabilities;

use crate::output::command;
use crate::table::{BAD, Cell, FAINT, HEADING, Table};
use crate::text::Text;

pub(super) fn render(caps: &Capabilities) -> Text {
    let report = caps.report().unwrap_or_default();
    let mut passes = Table::new(&["PASS", "UNDER", "TIME", "RESTARTS", "FAILED"]);
    let mut commands = Table::new(&["COMMAND", "PASS", "UNDER", "COUNT", "TIME"]);
    let mut rows = Vec::new();
    let mut output = Text::new();
    for pass in &report.passes {
        let group = pass.source.group().map_or("?", capscache::Group::name);
        let accelerator = pass.source.accelerator().map_or("?", capscache::Accelerator::name);
        passes.row([
            group.into(),
            accelerator.into(),
            time(pass.micros),
            Cell::number(pass.restarts),
            Cell::styled(pass.failure.clone().unwrap_or_default(), BAD),
        ]);
        rows.extend(pass.commands.iter().map(|command| (group, accelerator, command)));
        if !pass.output_tail.trim().is_empty() {
            output.end();
            output.styled(HEADING, format_args!("Output of the emulator ({group}, {accelerator})"));
            output.end();
            for line in pass.output_tail.trim_end().lines() {
                output.blanks(2);
                output.styled(FAINT, line);
                output.end();
            }
        }
    }
    rows.sort_by_key(|(.., command)| std::cmp::Reverse(command.micros));
    for (group, accelerator, command) in rows {
        commands.row([
            command.execute.as_str().into(),
            group.into(),
            accelerator.into(),
            Cell::number(command.count),
            time(command.micros),
        ]);
    }
    let mut text = passes.render();
    if !commands.is_empty() {
        text.end();
        text.append(&commands.render());
    }
    let mut left_out = Table::new(&["LEFT OUT", "UNDER", "WHY"]);
    for query in &report.quarantined {
        left_out.row([
            command(&query.command, query.arguments.as_deref()).into(),
            query.source.accelerator().map_or("?", capscache::Accelerator::name).into(),
            format!("quarantined: {}", query.reason).into(),
        ]);
    }
    for query in &report.refused {
        left_out.row([
            command(&query.command, query.arguments.as_deref()).into(),
            query.source.accelerator().map_or("?", capscache::Accelerator::name).into(),
            format!("refused: {}", query.desc).into(),
        ]);
    }
    if !left_out.is_empty() {
        text.end();
        text.append(&left_out.render());
    }
    text.append(&output);
    text
}

fn time(micros: u64) -> Cell {
    Cell::number(format!("{}.{} ms", micros / 1000, micros % 1000 / 100))
}
