//! The picture for a terminal.

use std::fmt::Write;

use capscache_domain::Guest;

use super::topology::{Node, Topology};

/// Draws a guest as a tree: one line for each device, below the controller or hub that it is on.
///
/// A line has the address in the notation [of the module](super#notation-of-addresses), the name, and in parentheses
/// what the controller's element says: chassis, port, NUMA node, and whether a device can be plugged in. Devices
/// without an address follow at the end. Texts of the guest are [escaped](capscache_format::Escaped). Each line ends
/// with a line feed.
pub fn tree(guest: &Guest) -> String {
    let topology = Topology::new(guest);
    let (name, machine) = &topology.title;
    let mut out = name.clone();
    if !machine.is_empty() {
        out.push_str(&format!("  ({machine})"));
    }
    out.push('\n');
    // Nodes still to be drawn, the next one last, with the lines in front of them.
    let mut pending: Vec<Line> = Vec::new();
    push(&topology, &topology.roots, "", &mut pending);
    while let Some(line) = pending.pop() {
        let node = &topology.nodes[line.node];
        let (corner, below) = if line.is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        write_node(&mut out, node, &line, corner);
        push(&topology, &node.children, &format!("{}{below}", line.before), &mut pending);
    }
    out
}

/// A line still to be drawn.
struct Line {
    node: usize,
    before: String,
    width: usize,
    is_last: bool,
}

/// Adds nodes side by side, whose addresses share a column.
fn push(topology: &Topology, nodes: &[usize], before: &str, pending: &mut Vec<Line>) {
    let width = |node: &usize| topology.nodes[*node].address.chars().count();
    let widest = nodes.iter().map(width).max().unwrap_or(0);
    for (at, node) in nodes.iter().enumerate().rev() {
        let is_last = at + 1 == nodes.len();
        pending.push(Line { node: *node, before: before.to_owned(), width: widest, is_last });
    }
}

fn write_node(out: &mut String, node: &Node, line: &Line, corner: &str) {
    let Line { before, width, .. } = line;
    out.push_str(before);
    out.push_str(corner);
    if *width > 0 && !node.address.is_empty() {
        // Writing to a string does not fail.
        _ = write!(out, "{:width$}  ", node.address);
    }
    out.push_str(&node.name);
    if !node.notes.is_empty() {
        _ = write!(out, "  ({})", node.notes.join(", "));
    }
    out.push('\n');
}
