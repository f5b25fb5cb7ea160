//! The picture for a document.

use std::fmt::Write;

use capscache_domain::Guest;
use quick_xml::escape::escape;

use super::topology::{Family, Node, Topology};

// Lengths in pixels. A character of the font is 0.6 of its size wide, in all common monospaced fonts.
const ROW: usize = 22;
const HEADER: usize = 22;
const CHAR_TENTHS: usize = 72;
const SMALL_CHAR_TENTHS: usize = 60;
const PADDING: usize = 8;
const COLUMN_GAP: usize = 64;
const BOX_GAP: usize = 10;
const MARGIN: usize = 16;
const TITLE: usize = 36;
/// The space above and below the rows of a box without a heading: boxes of ports lie as close as rows.
const INSET: usize = 2;

/// The longest texts that are shown, in columns; the whole of a name is in the tooltip.
const MAX_NAME: usize = 48;
const MAX_NOTES: usize = 64;

/// The colours do not depend on the background: boxes have their own, and what is outside of them is of medium
/// brightness.
const STYLE: &str = "
text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2933}
.title{font-size:15px;font-weight:bold;fill:#7b8794}
.machine{fill:#7b8794}
.head{font-weight:bold;fill:#fff}
.address{font-weight:bold}
.note{font-size:10px;fill:#616e7c}
.line{fill:none;stroke-width:1.5}
.rule{stroke:#1f2933;stroke-opacity:.12}
";

/// Draws a guest as an SVG document: a box for each bus, with a row for each slot that is used, and a line from each
/// controller to its bus.
///
/// The bus of a PCIe port has one slot and no heading. Rows have the same content as the lines of [`tree`](super::tree).
/// The document refers to nothing outside of it and has no scripts; it is the same for the same guest.
pub fn svg(guest: &Guest) -> String {
    let topology = Topology::new(guest);
    let drawing = Drawing::new(&topology);
    let mut out = String::new();
    drawing.write(&topology, &mut out);
    out
}

/// A bus with its place.
struct Bus {
    node: usize,
    column: usize,
    top: usize,
    has_header: bool,
    /// The width of the addresses, in columns of text.
    address: usize,
    /// The controller's row, if it is in another box.
    from: Option<usize>,
}

struct Drawing {
    buses: Vec<Bus>,
    /// The left edge and the width of each column.
    columns: Vec<(usize, usize)>,
    width: usize,
    height: usize,
}

impl Drawing {
    fn new(topology: &Topology) -> Drawing {
        let mut buses: Vec<Bus> = Vec::new();
        // The end of each column, and whether it is a box with a heading.
        let mut ends: Vec<(usize, bool)> = Vec::new();
        // Buses still to be placed, the next one last: the node, its column, and the middle of the controller's row.
        let roots = topology.roots.iter().rev();
        let mut pending: Vec<_> = roots.map(|root| (*root, 0, None)).collect();
        while let Some((at, column, from)) = pending.pop() {
            let node = &topology.nodes[at];
            let has_header = !(node.is_port && from.is_some());
            let header = if has_header { HEADER } else { 0 };
            if ends.len() <= column {
                ends.resize(column + 1, (MARGIN + TITLE - BOX_GAP, true));
            }
            let (end, follows_header) = ends[column];
            let gap = if has_header || follows_header { BOX_GAP } else { 0 };
            // A row for the first device is level with the controller's.
            let level = from.map_or(0, |middle: usize| middle.saturating_sub(header + ROW / 2));
            let top = level.max(end + gap);
            let addresses = node.children.iter().map(|child| topology.nodes[*child].address.len());
            let address = addresses.max().unwrap_or(0);
            let bus = Bus { node: at, column, top, has_header, address, from };
            ends[column] = (top + bus.height(topology), has_header);
            for (row, child) in node.children.iter().enumerate().rev() {
                if !topology.nodes[*child].children.is_empty() {
                    pending.push((*child, column + 1, Some(bus.middle(row))));
                }
            }
            buses.push(bus);
        }
        let mut columns = vec![(MARGIN, 0); ends.len()];
        for bus in &buses {
            columns[bus.column].1 = columns[bus.column].1.max(bus.width(topology));
        }
        let mut left = MARGIN;
        for column in &mut columns {
            column.0 = left;
            left += column.1 + COLUMN_GAP;
        }
        let (name, machine) = &topology.title;
        let shown = |text: &str| text_columns(&shorten(text, MAX_NAME));
        let title = (shown(name) + 1) * 9 + shown(machine) * CHAR_TENTHS / 10;
        let width = left.saturating_sub(COLUMN_GAP).max(MARGIN + title) + MARGIN;
        let height = ends.iter().max().map_or(MARGIN + TITLE, |(end, _)| *end) + MARGIN;
        Drawing { buses, columns, width, height }
    }

    fn write(&self, topology: &Topology, out: &mut String) {
        let Drawing { width, height, .. } = self;
        let (name, machine) = &topology.title;
        let both = format!("{name} {machine}");
        // Writing to a string does not fail.
        _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
             <text x=\"{MARGIN}\" y=\"{}\" class=\"title\" xml:space=\"preserve\">{} \
             <tspan class=\"machine\" font-size=\"12\" font-weight=\"normal\">{}</tspan></text>",
            escape(&both),
            MARGIN + 15,
            escape(shorten(name, MAX_NAME)),
            escape(shorten(machine, MAX_NAME)),
        );
        for bus in &self.buses {
            self.write_line(bus, topology, out);
        }
        for bus in &self.buses {
            self.write_bus(bus, topology, out);
        }
        out.push_str("</svg>\n");
    }

    /// Draws the line from a controller to its bus. Such lines do not cross: they bend alike, and keep their order.
    fn write_line(&self, bus: &Bus, topology: &Topology, out: &mut String) {
        let Some(from) = bus.from else { return };
        let (left, width) = self.columns[bus.column - 1];
        let (start, end) = (left + width, self.columns[bus.column].0);
        let (middle, to) = (usize::midpoint(start, end), bus.entry());
        let (_, stroke) = colours(&topology.nodes[bus.node]);
        _ = writeln!(
            out,
            "<path class=\"line\" stroke=\"{stroke}\" d=\"M{start} {from}C{middle} {from} {middle} {to} {end} {to}\"/>"
        );
    }

    fn write_bus(&self, bus: &Bus, topology: &Topology, out: &mut String) {
        let node = &topology.nodes[bus.node];
        let (left, width) = self.columns[bus.column];
        let (fill, stroke) = colours(node);
        let inset = if bus.has_header { 0 } else { INSET };
        let (top, height) = (bus.top + inset, bus.height(topology) - 2 * inset);
        _ = writeln!(
            out,
            "<g class=\"bus\">\n<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"4\" \
             fill=\"{fill}\" stroke=\"{stroke}\"/>"
        );
        if bus.has_header {
            let (right, bottom) = (left + width, top + HEADER);
            _ = writeln!(
                out,
                "<path fill=\"{stroke}\" d=\"M{left} {bottom}V{}a4 4 0 0 1 4-4H{}a4 4 0 0 1 4 4V{bottom}Z\"/>\n\
                 <text x=\"{}\" y=\"{}\" class=\"head\">{}</text>",
                top + 4,
                right - 4,
                left + PADDING,
                top + 15,
                escape(header(node, bus.from.is_some())),
            );
        }
        for (row, child) in node.children.iter().enumerate() {
            let node = &topology.nodes[*child];
            let (middle, right) = (bus.middle(row), left + width - PADDING);
            let line = middle - ROW / 2;
            if row > 0 {
                let end = left + width;
                _ = writeln!(out, "<path class=\"rule\" d=\"M{left} {line}H{end}\"/>");
            }
            out.push_str("<g class=\"slot\">");
            let (name, notes) = (shorten(&node.name, MAX_NAME), shorten(&notes(node), MAX_NOTES));
            if name != node.name {
                _ = write!(out, "<title>{}</title>", escape(&node.name));
            }
            let (x, y) = (left + PADDING, middle + 4);
            if !node.address.is_empty() {
                let address = escape(&node.address);
                _ = write!(out, "<text x=\"{x}\" y=\"{y}\" class=\"address\">{address}</text>");
            }
            let x = x + bus.indent();
            _ = write!(out, "<text x=\"{x}\" y=\"{y}\">{}</text>", escape(&name));
            if !notes.is_empty() {
                let notes = escape(&notes);
                _ = write!(
                    out,
                    "<text x=\"{right}\" y=\"{y}\" class=\"note\" text-anchor=\"end\">{notes}</text>"
                );
            }
            out.push_str("</g>\n");
        }
        out.push_str("</g>\n");
    }
}

impl Bus {
    fn height(&self, topology: &Topology) -> usize {
        let header = if self.has_header { HEADER } else { 0 };
        header + topology.nodes[self.node].children.len() * ROW
    }

    /// Returns the middle of a row.
    fn middle(&self, row: usize) -> usize {
        self.top + if self.has_header { HEADER } else { 0 } + row * ROW + ROW / 2
    }

    /// Returns where the line from the controller ends.
    fn entry(&self) -> usize {
        if self.has_header { self.top + HEADER + ROW / 2 } else { self.middle(0) }
    }

    /// Returns the width of the addresses, with the space after them.
    fn indent(&self) -> usize {
        if self.address == 0 { 0 } else { (self.address + 2) * CHAR_TENTHS / 10 }
    }

    fn width(&self, topology: &Topology) -> usize {
        let node = &topology.nodes[self.node];
        let header = (text_columns(&header(node, self.from.is_some())) + 1) * CHAR_TENTHS / 10;
        let row = |child: &usize| {
            let node = &topology.nodes[*child];
            let name = text_columns(&shorten(&node.name, MAX_NAME)) * CHAR_TENTHS / 10;
            match text_columns(&shorten(&notes(node), MAX_NOTES)) * SMALL_CHAR_TENTHS / 10 {
                0 => name,
                notes => name + 3 * PADDING + notes,
            }
        };
        let rows = node.children.iter().map(row).max().unwrap_or(0);
        header.max(self.indent() + rows) + 2 * PADDING
    }
}

/// Returns the heading of a box: the bus, and the controller where no row shows it.
fn header(node: &Node, has_row: bool) -> String {
    let title = node.bus.as_ref().map_or(node.name.as_str(), |(_, title)| title);
    let mut header = title.to_owned();
    if !has_row && node.name != title {
        let name = node.name.strip_prefix("controller ").unwrap_or(&node.name);
        _ = write!(header, " · {name}");
        if !node.address.is_empty() {
            _ = write!(header, " · {}", node.address);
        }
    }
    if !has_row && !node.notes.is_empty() {
        _ = write!(header, " · {}", notes(node));
    }
    shorten(&header, MAX_NAME)
}

fn notes(node: &Node) -> String {
    node.notes.join(", ")
}

/// Returns the colours of a bus: for its rows, and for its heading and lines.
fn colours(node: &Node) -> (&'static str, &'static str) {
    match node.bus.as_ref().map_or(Family::Unplaced, |(family, _)| *family) {
        Family::Pci => ("#e3eefa", "#2f6fb0"),
        Family::Usb => ("#e2f3e8", "#2d8653"),
        Family::Storage => ("#fbeeda", "#a8690f"),
        Family::Character => ("#f0e8fa", "#7a4fb5"),
        Family::Memory => ("#e0f2f3", "#217f87"),
        Family::Ccw | Family::SpaprVio | Family::VirtioMmio | Family::Isa => ("#f9e6ec", "#ad3f66"),
        Family::Unplaced => ("#eceef1", "#6b7683"),
    }
}

/// Returns the text, or its start and an ellipsis.
fn shorten(text: &str, limit: usize) -> String {
    if text_columns(text) <= limit {
        return text.to_owned();
    }
    let mut columns = 1;
    let fits = |c: &char| {
        columns += char_columns(*c);
        columns <= limit
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

fn text_columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Returns the columns that a character needs: two for those of scripts whose characters are wide.
fn char_columns(c: char) -> usize {
    if ('\u{1100}'..'\u{1160}').contains(&c) || c >= '\u{2e80}' { 2 } else { 1 }
}
